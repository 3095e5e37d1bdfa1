"""Copies of studies, of every kind that a set may hold, with the truth of who is a copy of whom."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

Volume = NDArray[np.uint8]
KINDS = ("noise", "crop", "reversed", "mixed", "slices", "slice")


def noisy(volume: Volume, rng: np.random.Generator, *, least: float = 4, most: float = 12) -> Volume:
    """With other noise, as strong as that of a scanner twice as fast, and other brightness."""
    gain, sigma = rng.uniform(0.8, 1.15), rng.uniform(least, most)
    signal = volume * gain + rng.normal(0, sigma, volume.shape)
    return np.clip(np.hypot(signal, rng.normal(0, sigma, volume.shape)), 0, 255).astype(np.uint8)


def cropped(volume: Volume, rng: np.random.Generator) -> Volume:
    """Without up to an eighth of each side and up to three slices at each end; half of them in the old matrix again."""
    slices, height, width = volume.shape
    top, bottom, left, right = (rng.uniform(0, 0.125, 4) * [height, height, width, width]).astype(int)
    first, last = rng.integers(0, 4, 2)
    cut = volume[first : slices - last, top : height - bottom, left : width - right]
    if rng.random() < 0.5:
        return np.ascontiguousarray(cut)
    return np.stack([cv2.resize(np.ascontiguousarray(one), (width, height)) for one in cut]).astype(np.uint8)


def altered(volume: Volume, kind: str, rng: np.random.Generator) -> Volume:
    """The study as a copy of a kind has it."""
    match kind:
        case "noise":
            return noisy(volume, rng)
        case "crop":
            return cropped(volume, rng)
        case "reversed":
            return np.ascontiguousarray(volume[::-1])
        case "mixed":
            return noisy(cropped(volume, rng)[::-1], rng)
        case "slices":  # a third of the slices, as a study of its own
            third = len(volume) // 3
            first = int(rng.integers(0, len(volume) - third + 1))
            return noisy(volume[first : first + third], rng)
        case "slice":  # one of those in the middle
            first = int(rng.integers(len(volume) // 4, 3 * len(volume) // 4))
            return noisy(volume[first : first + 1], rng)
    raise ValueError(kind)


def plant(knees: Path, folder: Path, *, copies: int, seed: int = 0) -> dict[tuple[str, str], str]:
    """A set of studies in splits, some of them twice, as files of two splits; the pairs, and of which kind each is."""
    rng = np.random.default_rng(seed)
    table = pd.read_csv(knees / "manifest.csv")
    table = table[["file", "split", "label", "group", "slices", "height", "width"]]
    rows, planted = [], {}
    for place in rng.permutation(len(table))[:copies]:
        row = table.iloc[int(place)]
        kind = KINDS[len(planted) % len(KINDS)]
        volume = altered(np.load(knees / row["file"]), kind, rng)
        split = str(rng.choice([s for s in ("train", "val", "test") if s != row["split"]]))
        name = f"{split}/{'Torn' if row['label'] else 'Whole'}/Z{int(rng.integers(10**8)):08d}.npy"
        rows.append((name, split, row["label"], f"Z{len(planted)}", *volume.shape))
        planted[str(row["file"]), name] = kind
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, volume)
    for file in table["file"]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(knees / file, folder / file)
    pd.concat([table, pd.DataFrame(rows, columns=table.columns)]).to_csv(folder / "manifest.csv", index=False)
    return planted
