"""Made-up studies: noise, and in the torn ones a bright square through two slices."""

from pathlib import Path

import numpy as np
import pandas as pd

from fracturelib.training.train import Images


def volumes(n: int, seed: int, *, slices: int = 8, size: int = 48) -> tuple[Images, np.ndarray]:
    """Every other one torn, and the masks of the squares, bool of the same shape."""
    rng = np.random.default_rng(seed)
    images = rng.integers(60, 120, (n, slices, size, size)).astype(np.uint8)
    labels = np.arange(n) % 2
    masks = np.zeros(images.shape, bool)
    for image, mask, label in zip(images, masks, labels, strict=True):
        k, (row, column) = rng.integers(slices // 4, slices - slices // 4 - 1), rng.integers(12, size - 22, 2)
        if label:
            mask[k : k + 2, row : row + 10, column : column + 10] = True
            image[mask] = 210
    return Images(images, labels.astype(np.int64)), masks


def study_set(folder: Path, *, train: int = 48, val: int = 16, test: int = 16) -> pd.DataFrame:
    """A study set of such volumes, some a slice or two shorter."""
    rows = []
    for seed, (split, n) in enumerate({"train": train, "val": val, "test": test}.items()):
        studies, _ = volumes(n, seed)
        for i, (volume, label) in enumerate(zip(studies.images, studies.labels, strict=True)):
            file = f"{split}/{('Whole', 'Torn')[label]}/{split}{i:03}.npy"
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            kept = volume[: len(volume) - (0, 0, 1, 1, 2, 2)[i % 6]] if not label else volume
            np.save(folder / file, kept)
            rows.append((file, split, label, f"{split}{i:03}", *kept.shape, 4.0, 1.2, ("none", "complete")[label]))
    columns = ["file", "split", "label", "group", "slices", "height", "width", "slice_mm", "pixel_mm", "tear"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.to_csv(folder / "manifest.csv", index=False)
    return frame
