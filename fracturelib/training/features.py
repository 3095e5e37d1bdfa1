"""Frozen features: computed once for each image, and kept, so that what stands on them trains in seconds."""

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from fracturelib._io.cache import kept_arrays, new_array
from fracturelib._io.files import cache_dir
from fracturelib.models.classifier import normalised
from fracturelib.models.efficientnet_lite import CHANNELS, fold, pretrained_lite0
from fracturelib.models.localizer import LocalizingNetwork

MEAN = STD = 0.5  # of the input of the ImageNet weights
FEATURES_VERSION = 2
PARTS = ("middle", "fine", "whole")


@dataclass(frozen=True)
class Features:
    """Frozen features of images, each a pair: of the images as they are, and mirrored. They stay on disk until read.

    Attributes
    ----------
    middle : two (n, c, 2 g, 2 g) float16
    fine : two (n, c', g, g) float16
    whole : two (n, c'') float32
    rows : (m,) int64, optional
        Which of them these are, in which order; all if not given.
    """

    middle: tuple[NDArray[np.float16], NDArray[np.float16]]
    fine: tuple[NDArray[np.float16], NDArray[np.float16]]
    whole: tuple[NDArray[np.float32], NDArray[np.float32]]
    rows: NDArray[np.int64] | None = None

    def of(self, images: NDArray[np.int64]) -> "Features":
        """Those of some images."""
        return replace(self, rows=images if self.rows is None else self.rows[images])

    def read(self, images: NDArray[np.int64], mirrored: NDArray[np.int64], *, whole: bool) -> tuple[Tensor, ...]:
        """Of some images, each as it is (0) or mirrored (1): middle, fine and, if wanted, whole features, float32."""
        chosen = images if self.rows is None else self.rows[images]
        return tuple(
            torch.from_numpy(np.stack([pair[m][i] for m, i in zip(mirrored, chosen, strict=True)]).astype(np.float32))
            for pair in (self.middle, self.fine, self.whole)[: 3 if whole else 2]
        )


def frozen_features(model: LocalizingNetwork, images: NDArray[np.uint8], *, progress: bool = False) -> Features:
    """The features of images, from the cache if they were computed before: (n, size, size) uint8.

    The cache's name depends on the images and on the weights.
    """
    key = _key(images)
    key.update(getattr(model, "name", "").encode())  # others may have the same weights
    for name, value in model.state_dict().items():
        if name.startswith(("stage", "grey")):
            key.update(value.numpy().tobytes())
    found = []
    for mirrored in (0, 1):
        paths = [cache_dir() / f"features-{key.hexdigest()}-{mirrored}-{part}.npy" for part in PARTS]
        make = partial(_compute, model, images, bool(mirrored), paths, progress)
        found.append(kept_arrays(paths, make))
    plain, mirror = found
    return Features((plain[0], mirror[0]), (plain[1], mirror[1]), (plain[2], mirror[2]))


def whole_features(images: NDArray[np.uint8], *, progress: bool = False) -> NDArray[np.float32]:
    """What ImageNet's features make of each image as a whole, cached: (n, s, s) uint8 -> (n, 1280) float32."""
    path = cache_dir() / f"features-{_key(images).hexdigest()}-imagenet.npy"

    def compute() -> None:
        features = fold(pretrained_lite0()).eval().to(memory_format=torch.channels_last)
        with new_array(path, np.float32, (len(images), CHANNELS)) as append:
            for start in tqdm(range(0, len(images), 8), desc="features", unit="batch", disable=not progress):
                with torch.inference_mode():
                    x = normalised(torch.from_numpy(np.ascontiguousarray(images[start : start + 8])), MEAN, STD)
                    append(features(x.expand(-1, 3, -1, -1)).mean(dim=(2, 3)).numpy())

    return np.array(kept_arrays([path], compute)[0])


def _key(images: NDArray[np.uint8]) -> "hashlib.blake2b":
    key = hashlib.blake2b(f"{FEATURES_VERSION} {images.shape}".encode(), digest_size=12)
    for image in images:
        key.update(image.tobytes())
    return key


def _compute(
    model: LocalizingNetwork, images: NDArray[np.uint8], mirrored: bool, paths: list[Path], progress: bool
) -> None:
    model = model.eval().to(memory_format=torch.channels_last)
    n, grid = len(images), images.shape[1] // 16
    channels = model.channels
    with (
        new_array(paths[0], np.float16, (n, channels[0], 2 * grid, 2 * grid)) as middle,
        new_array(paths[1], np.float16, (n, channels[1], grid, grid)) as fine,
        new_array(paths[2], np.float32, (n, channels[2])) as whole,
    ):
        bar = tqdm(total=n, desc="features", unit="image", disable=not progress)
        for start in range(0, n, 8):
            radiographs = torch.from_numpy(np.ascontiguousarray(images[start : start + 8]))
            with torch.inference_mode():
                found = model.features(normalised(radiographs.flip(2) if mirrored else radiographs, MEAN, STD))
            for append, part in zip((middle, fine, whole), found, strict=True):
                append(part.numpy())
            bar.update(len(radiographs))
        bar.close()
