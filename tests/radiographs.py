"""Made-up images and folders for the tests: small, fast, and with a truth that a network can learn."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def radiograph(seed: int, *, fractured: bool = False, width: int = 48, height: int = 64) -> NDArray[np.uint8]:
    """A bright shaft on a dark ground, (height, width) uint8; a fracture is a dark gap across it."""
    rng = np.random.default_rng(seed)
    image = rng.normal(40, 6, (height, width))
    left = width // 3 + int(rng.integers(-3, 4))
    image[4:-4, left : left + width // 3] += 120
    if fractured:
        row = int(rng.integers(height // 4, 3 * height // 4))
        image[row : row + 4, left : left + width // 3] -= 100
    return np.clip(image, 0, 255).astype(np.uint8)


def save(image: NDArray[np.generic], path: Path, **options: object) -> Path:
    """Write a picture, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def plain_folder(
    root: Path,
    *,
    splits: dict[str, int],
    names: tuple[str, str] = ("not fractured", "fractured"),
    size: tuple[int, int] = (48, 64),
) -> Path:
    """Class folders with `splits[split]` images in each class, no manifest."""
    seed = 0
    for split, count in splits.items():
        for label, name in enumerate(names):
            for i in range(count):
                seed += 1
                image = radiograph(seed, fractured=bool(label), width=size[0], height=size[1])
                save(image, root / split / name / f"image{i:03d}.jpg", quality=90)
    return root
