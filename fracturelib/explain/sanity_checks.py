"""Does a map depend on what the network learnt? The maps of many images, and networks that forget."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fracturelib._io.files import InputError
from fracturelib.explain.gradcam import GradCAM, Maps
from fracturelib.explain.overlay import upsample
from fracturelib.models.classifier import Classifier, batches

BATCH = 32  # images in one pass; no map depends on it


def image_maps(
    classifier: Classifier, images: NDArray[np.uint8], layer: nn.Module, *, method: str = "Grad-CAM"
) -> Maps:
    """The maps of many images, at the images' size: images (n, size, size) uint8 -> (n, size, size) float32.

    Parameters
    ----------
    classifier : Classifier
    images : (n, size, size) uint8
    layer : nn.Module
        A part of `classifier.model`.
    method : str
        As for `GradCAM`.
    """
    found = [np.empty((0, *images.shape[1:]), np.float32)]
    with GradCAM(classifier.model, layer) as cam:
        for chunk in batches(images, BATCH):
            coarse = cam(classifier.tensor(chunk), method=method)
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


def untrained(classifier: Classifier, *, seed: int = 0) -> Classifier:
    """The same network before any training."""
    return replace(classifier, model=randomised(classifier.model, learnt_parts(classifier.model), seed=seed))


def cascade(classifier: Classifier, *, seed: int = 0) -> Iterator[tuple[str, Classifier]]:
    """The network losing its memory from the logits back to the image (Adebayo et al. 2018, arXiv 1810.03292).

    Yields the name of the part that was randomised last, and a copy in which it and all later ones are.

    Examples
    --------
    >>> from fracturelib.models import SmallCNN
    >>> classifier = Classifier(SmallCNN(), {"name": "small_cnn"}, 64, 0.5, 0.25)
    >>> [name for name, forgetful in cascade(classifier)]
    ['head', 'stage4', 'stage3', 'stage2', 'stage1']
    """
    parts = learnt_parts(classifier.model)
    for i, name in enumerate(parts):
        yield name, replace(classifier, model=randomised(classifier.model, parts[: i + 1], seed=seed))
