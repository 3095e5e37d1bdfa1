"""Change the image and watch the score: slow, but it asks the network itself, not its gradients."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fracturelib._io.files import InputError
from fracturelib.explain.gradcam import GradCAM, Maps, choose_logit
from fracturelib.explain.overlay import upsample

Progress = Callable[[float], Any]
BASELINES = ("mean", "blur")
BATCH = 32  # changed images in one pass


def logits_of(model: nn.Module, batches: Iterable[Tensor], target: str | int = "fractured") -> Iterator[Tensor]:
    """The chosen logit of images, batch by batch: (n, channels, h, w) Tensors -> (n,) float32 Tensors.

    Modes are as they were when the last batch is done. Raises InputError if a logit is not finite.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        for batch in batches:
            with torch.inference_mode():
                found = choose_logit(model(batch), target).float()
            if not bool(torch.isfinite(found).all()):
                raise InputError("the logit of a changed image is not finite; expected a number")
            yield found
    finally:
        for module, training in modes.items():
            module.training = training


def score_cam(
    model: nn.Module,
    layer: nn.Module,
    x: Tensor,
    target: str | int = "fractured",
    *,
    progress: Progress | None = None,
) -> Maps:
    """Each channel weighs what the logit gains where it alone lets the image through (Wang et al. 2020).

    doi 10.1109/CVPRW50498.2020.00020. Needs one forward pass a channel.

    Parameters
    ----------
    model, layer
        As for `GradCAM`.
    x : (1, channels, h, w) float32 Tensor
    target : str or int
    progress : callable, optional
        Told the proportion that is done, 0..1.

    Returns
    -------
    (h', w') float32 ndarray
        A mean of activations, weighted by a softmax of logits: not in logit units.
    """
    if len(x) != 1:
        raise InputError(f"x holds {len(x)} images; expected one")
    with GradCAM(model, layer) as cam:
        activation = next(iter(cam.evidence(x, target).values()))[0][0]  # (k, h', w')
    low, high = activation.amin(dim=(1, 2), keepdim=True), activation.amax(dim=(1, 2), keepdim=True)
    masks = (activation - low) / (high - low).clamp_min(1e-12)
    masks = nn.functional.interpolate(masks[:, None], size=x.shape[2:], mode="bilinear", align_corners=False)
    parts = masks.split(BATCH)
    scores = []
    for i, found in enumerate(logits_of(model, (x * part for part in parts), target)):
        scores.append(found)
        if progress is not None:
            progress((i + 1) / len(parts))
    plain = next(logits_of(model, [torch.zeros_like(x)], target))
    weights = torch.softmax(torch.cat(scores) - plain, dim=0)
    # A channel that is the same everywhere lets everything through, or nothing: it says nothing about where.
    weights = torch.where((high - low).flatten() > 0, weights, 0)
    raw = (weights[:, None, None] * activation).sum(dim=0)
    return raw.relu().numpy()


def occlusion(
    model: nn.Module,
    x: Tensor,
    target: str | int = "fractured",
    *,
    side: int = 32,
    stride: int = 16,
    progress: Progress | None = None,
) -> Maps:
    """How much of the logit is lost when a square is covered by the image's mean (Zeiler & Fergus 2014).

    doi 10.1007/978-3-319-10590-1_53.

    Parameters
    ----------
    model : nn.Module
    x : (1, channels, h, w) float32 Tensor
    target : str or int
    side, stride : int
        Of the square, and from one place to the next, in pixels.
    progress : callable, optional
        Told the proportion that is done, 0..1.

    Returns
    -------
    (rows, columns) float32 ndarray, in logit units
        At each place of the square, mean over the squares that cover it, on a grid of `stride`.
    """
    if len(x) != 1:
        raise InputError(f"x holds {len(x)} images; expected one")
    height, width = x.shape[2:]
    if not 1 <= stride <= side <= min(height, width):
        raise InputError(f"side is {side}, stride {stride}; expected 1 <= stride <= side <= {min(height, width)}")
    tops = sorted({*range(0, height - side + 1, stride), height - side})
    lefts = sorted({*range(0, width - side + 1, stride), width - side})
    places = [(top, left) for top in tops for left in lefts]
    whole = float(next(logits_of(model, [x], target))[0])
    lost = np.zeros((height, width), np.float64)
    times = np.zeros((height, width), np.int64)
    done = 0
    for found in logits_of(model, _covered(x, places, side), target):
        for loss in (whole - found).tolist():
            top, left = places[done]
            lost[top : top + side, left : left + side] += loss
            times[top : top + side, left : left + side] += 1
            done += 1
        if progress is not None:
            progress(done / len(places))
    grid = (max(1, round(width / stride)), max(1, round(height / stride)))
    heat = cv2.resize((lost / np.maximum(times, 1)).astype(np.float32), grid, interpolation=cv2.INTER_AREA)
    return np.maximum(heat, 0)


def _covered(x: Tensor, places: list[tuple[int, int]], side: int) -> Iterator[Tensor]:
    """An image with a square (top, left) covered by its mean, for each of the places, `BATCH` at a time."""
    fill = x.mean(dim=(2, 3), keepdim=True)
    for start in range(0, len(places), BATCH):
        images = x.repeat(len(places[start : start + BATCH]), 1, 1, 1)
        for image, (top, left) in zip(images, places[start:], strict=False):
            image[:, top : top + side, left : left + side] = fill[0]
        yield images


def without(x: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """Images with a rectangle (top, left, height, width, in pixels) covered by each image's mean: a copy."""
    top, left, height, width = box
    covered = x.clone()
    covered[:, :, top : top + height, left : left + width] = x.mean(dim=(2, 3), keepdim=True)
    return covered


def ordered_curves(
    model: nn.Module,
    x: Tensor,
    heat: Maps,
    *,
    steps: int,
    baseline: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Deletion and insertion (Petsiuk et al. 2018, arXiv 1806.07421): pixels go, or come, in the order of the map.

    Parameters
    ----------
    model : nn.Module
    x : (1, channels, h, w) float32 Tensor
    heat : (h', w') float32
        Enlarged to the image; ties are broken by position.
    steps : int
    baseline : str
        What stands where nothing is shown: the image's "mean", or the image after a strong "blur".

    Returns
    -------
    share, deletion, insertion : (steps + 1,) float64
        Proportion of pixels that went or came, and the logit then. A good map makes the first fall and the second rise
        soon.
    """
    height, width = x.shape[2:]
    order = np.argsort(-upsample(heat, (height, width)).ravel(), kind="stable")
    if baseline == "mean":
        empty = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    else:
        sigma = max(height, width) / 16
        blurred = [cv2.GaussianBlur(channel.numpy(), (0, 0), sigma) for channel in x[0]]
        empty = torch.from_numpy(np.stack(blurred))[None]
    share = np.linspace(0, 1, steps + 1)
    gone = torch.zeros(steps + 1, 1, height * width, dtype=torch.bool)
    for i, part in enumerate(share):
        gone[i, 0, torch.from_numpy(order[: round(part * len(order))].copy())] = True
    gone = gone.reshape(-1, 1, height, width)
    deleted, inserted = torch.where(gone, empty, x), torch.where(gone, x, empty)
    deletion, insertion = (torch.cat(list(logits_of(model, part.split(8)))) for part in (deleted, inserted))
    return share, deletion.double().numpy(), insertion.double().numpy()
