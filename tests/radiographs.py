"""Made-up images and folders for the tests: small, fast, and with a truth that a network can learn."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from fracturelib.data.coco import Annotation, write_coco


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


def crossed_folder(root: Path, seed: int = 0) -> Path:
    """Noise of 500 pixels, with a thin bright cross in every other image that a square of 64 pixels hardly shows.

    It is outlined. All images are of one region.
    """
    rng = np.random.default_rng(seed)
    rows, outlines = [], {}
    for i in range(40):
        image = rng.integers(60, 120, (420, 500), dtype=np.uint8)
        split, label = ("train" if i < 28 else "val" if i < 36 else "test"), i % 2
        file = f"{split}/{('Not Fractured', 'Fractured')[label]}/{seed}-{i}.jpg"
        if label:
            x, y = (int(v) for v in rng.integers(60, 360, 2))
            image[y : y + 40, x + 18 : x + 22] = 255
            image[y + 18 : y + 22, x : x + 40] = 255
            box = np.array([[x, y], [x + 40, y], [x + 40, y + 40], [x, y + 40]], float)
            outlines[file] = [Annotation((box,), (x, y, 40, 40))]
        save(image, root / file, quality=95)
        rows.append({"file": file, "split": split, "label": label, "group": f"p{i}", "width": 500, "height": 420})
    frame = pd.DataFrame(rows).assign(region="hand")
    frame.to_csv(root / "manifest.csv", index=False)
    write_coco(root / "annotations.json", frame, outlines)
    return root
