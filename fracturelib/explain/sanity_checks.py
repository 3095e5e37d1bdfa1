"""Does a map depend on what the network learnt? Networks that forget, and how alike two maps are."""

import copy
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import nn

from fracturelib._io.files import InputError
from fracturelib.explain.gradcam import GradCAM, Maps
from fracturelib.explain.overlay import highest_of, upsample
from fracturelib.metrics.bootstrap import Groups, group_codes
from fracturelib.models.classifier import Classifier, batches


def image_maps(
    classifier: Classifier,
    images: NDArray[np.uint8],
    layer: nn.Module,
    *,
    method: str = "Grad-CAM",
    relu: bool = True,
    batch: int = 32,
) -> Maps:
    """The maps of many images, at the images' size: images (n, size, size) uint8 -> (n, size, size) float32.

    Parameters
    ----------
    classifier : Classifier
    images : (n, size, size) uint8
    layer : nn.Module
        A part of `classifier.model`.
    method, relu
        As for `GradCAM`.
    batch : int
        Images in one pass; no map depends on it.
    """
    found = [np.empty((0, *images.shape[1:]), np.float32)]
    with GradCAM(classifier.model, layer) as cam:
        for chunk in batches(images, batch):
            coarse = cam(classifier.tensor(chunk), method=method, relu=relu)
            found.append(np.stack([upsample(heat, images.shape[1:3]) for heat in coarse]))
    return np.concatenate(found)


def randomised(model: nn.Module, parts: Sequence[str], *, seed: int = 0) -> nn.Module:
    """A copy of a network in which some parts are as before any training.

    Parameters
    ----------
    model : nn.Module
    parts : sequence of str
        Names of children, such as "head" or "stage4"; each layer within is initialised anew, running statistics
        of batch normalisation included.
    seed : int
        What a part becomes depends on it, the part's name and nothing else. The global random state is left as it was.
    """
    children = dict(model.named_children())
    changed = copy.deepcopy(model)
    for name in parts:
        if name not in children:
            raise InputError(f"part is {name!r}; expected one of {', '.join(children)}")
        with torch.random.fork_rng():
            torch.manual_seed(seed * 1_000_003 + list(children).index(name))
            for module in getattr(changed, name).modules():
                reset = getattr(module, "reset_parameters", None)
                if callable(reset):
                    reset()
    return changed


def learnt_parts(model: nn.Module) -> list[str]:
    """The children that hold learnt weights, from the logits back to the image; not the network of a closer look."""
    found = [name for name, child in model.named_children() if any(True for _ in child.parameters())]
    return [name for name in found[::-1] if name != "closer"]


def cascade(model: nn.Module, *, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """The network losing its memory from the logits back to the image (Adebayo et al. 2018, arXiv 1810.03292).

    Yields the name of the part that was randomised last, and a copy in which it and all later ones are.
    """
    gone: list[str] = []
    for name in learnt_parts(model):
        gone.append(name)
        yield name, randomised(model, gone, seed=seed)


def rank_correlation(a: Maps, b: Maps) -> float:
    """Spearman's correlation of two maps' pixels, -1..1, equal ones sharing their ranks: (h, w), (h, w) -> float.

    A map that is the same everywhere says nothing about any order: 0.

    Examples
    --------
    >>> a = np.arange(6.0).reshape(2, 3).astype(np.float32)
    >>> round(rank_correlation(a, -a), 2)
    -1.0
    """
    if a.shape != b.shape:
        raise InputError(f"b has shape {b.shape}; expected that of a, {a.shape}")
    for one in (a, b):
        highest_of(one)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a.ravel(), b.ravel()).statistic)


def ssim(a: Maps, b: Maps, *, span: float = 1.0, sigma: float = 1.5) -> float:
    """Structural similarity of two maps, at most 1 (Wang et al. 2004, doi 10.1109/TIP.2003.819861).

    Parameters
    ----------
    a, b : (h, w) float
        At least 11 x 11 at the usual sigma.
    span : float
        Of the values: 1 for maps in 0..1.
    sigma : float
        Of the Gaussian window, in pixels; it is cut off at 3.5 sigma.

    Returns
    -------
    float
        Mean over the places where the window fits.
    """
    radius = int(3.5 * sigma + 0.5)
    if a.shape != b.shape:
        raise InputError(f"b has shape {b.shape}; expected that of a, {a.shape}")
    if a.ndim != 2 or min(a.shape) < 2 * radius + 1:
        raise InputError(f"a has shape {a.shape}; expected at least {2 * radius + 1} x {2 * radius + 1} pixels")
    for one in (a, b):
        highest_of(one)
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)

    def local(values: NDArray[np.float64]) -> NDArray[np.float64]:
        blurred = cv2.GaussianBlur(values, (2 * radius + 1, 2 * radius + 1), sigma)
        return np.asarray(blurred[radius : values.shape[0] - radius, radius : values.shape[1] - radius])

    mx, my = local(x), local(y)
    vx, vy, both = local(x * x) - mx * mx, local(y * y) - my * my, local(x * y) - mx * my
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    above = (2 * mx * my + c1) * (2 * both + c2)
    return float((above / ((mx * mx + my * my + c1) * (vx + vy + c2))).mean())


def strangers(groups: Groups | None, images: int, *, n: int, seed: int = 0) -> NDArray[np.int64]:
    """Random pairs of images of different patients: (n, 2) int64. What two maps have in common without any cause."""
    codes = group_codes(groups, images)
    if len(np.unique(codes)) < 2:
        raise InputError(f"groups has {len(np.unique(codes))} patient; expected at least two")
    rng = np.random.default_rng(seed)
    pairs = np.empty((0, 2), np.int64)
    while len(pairs) < n:
        drawn = rng.integers(0, images, (2 * n, 2))
        pairs = np.concatenate([pairs, drawn[codes[drawn[:, 0]] != codes[drawn[:, 1]]]])
    return pairs[:n]


def curve_area(share: NDArray[np.float64], curve: NDArray[np.float64]) -> float:
    """Area under a deletion or insertion curve by the trapezoid rule: the mean logit on the way, (steps,) -> float."""
    return float(np.trapezoid(curve, share))
