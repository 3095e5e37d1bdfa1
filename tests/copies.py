"""Copies of images, of every kind that a published set may hold, with the truth of who is a copy of whom."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]
KINDS = (
    "identical", "encoded", "resized", "stretched", "cropped", "brightness", "inverted", "truncated",
    "mirrored", "turned", "rotated", "mixed",
)  # fmt: skip


def _lighter(image: Grey, rng: np.random.Generator) -> Grey:
    gamma, gain, lift = rng.uniform(0.7, 1.4), rng.uniform(0.6, 1.2), rng.uniform(-15, 40)
    return np.clip(255 * (image / 255.0) ** gamma * gain + lift, 0, 255).astype(np.uint8)


def _scaled(image: Grey, across: float, down: float) -> Grey:
    smaller = across * down < 1
    return cv2.resize(image, None, fx=across, fy=down, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def _cropped(image: Grey, rng: np.random.Generator, most: float = 0.08) -> Grey:
    top, bottom, left, right = rng.uniform(0, most, 4)
    height, width = image.shape
    return image[round(top * height) : round((1 - bottom) * height), round(left * width) : round((1 - right) * width)]


def rotated(image: Grey, degrees: float, *, expand: bool) -> Grey:
    """Turned about its centre, with black corners."""
    return np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC, expand=expand))


def altered(image: Grey, kind: str, rng: np.random.Generator) -> Grey:
    """The image as a copy of a kind has it."""
    match kind:
        case "resized":
            scale = rng.choice([0.5, 0.7, 1.4, 2.0])
            return _scaled(image, scale, scale)
        case "stretched":
            return cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
        case "cropped":
            return _cropped(image, rng)
        case "brightness":
            return _lighter(image, rng)
        case "inverted":
            return 255 - image
        case "mirrored":
            return image[:, ::-1] if rng.uniform() < 0.7 else image[::-1]
        case "turned":
            return np.rot90(image, int(rng.integers(1, 4)))
        case "rotated":
            return rotated(image, rng.uniform(5, 355), expand=bool(rng.uniform() < 0.5))
        case "mixed":
            image = image[:, ::-1] if rng.uniform() < 0.5 else image
            image = rotated(_cropped(image, rng, 0.05), rng.uniform(-45, 45), expand=False)
            return _lighter(_scaled(image, 0.8, 0.8), rng)
    return image


def plant(source: Path, target: Path, kind: str, rng: np.random.Generator) -> Path:
    """Leave a copy of a kind of a JPEG file beside `target` and return its path."""
    if kind == "identical":
        shutil.copyfile(source, target)
    elif kind == "truncated":
        data = source.read_bytes()
        target.write_bytes(data[: int(len(data) * rng.uniform(0.5, 0.95))])
    else:
        with Image.open(source) as image:
            radiograph = np.asarray(image.convert("L"))
        quality = int(rng.integers(25, 60)) if kind == "encoded" else int(rng.integers(75, 95))
        Image.fromarray(np.ascontiguousarray(altered(radiograph, kind, rng))).save(target, quality=quality)
    return target


def planted(
    images: Sequence[Path], folder: Path, *, each: int, kinds: Sequence[str] = KINDS, seed: int = 0
) -> pd.DataFrame:
    """Copies of `each` images of each kind: columns kind, source, copy (paths)."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = rng.choice(len(images), each * len(kinds), replace=False)
    rows = []
    for i, number in enumerate(chosen):
        kind = kinds[i % len(kinds)]
        rows.append((kind, images[number], plant(images[number], folder / f"{kind}-{i:04d}.jpg", kind, rng)))
    return pd.DataFrame(rows, columns=["kind", "source", "copy"])
