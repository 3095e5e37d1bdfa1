"""Masks of fractures on the square that a network sees."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib._io.files import InputError
from fracturelib.data.coco import fracture_mask
from fracturelib.data.dataset import load_annotations
from fracturelib.data.images import _place, square_geometry


def mask_to_square(mask: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """A mask in its square, by nearest neighbour: (h, w) of 0 and 1 -> (size, size) uint8 of 0 and 1.

    A fracture too thin for the new grid would vanish; a mask that was not empty keeps at least its centre.
    """
    geometry = square_geometry(mask.shape[1], mask.shape[0], size)
    square = _place((np.asarray(mask) > 0).astype(np.uint8), geometry, cv2.INTER_NEAREST)
    if mask.any() and not square.any():
        y, x = (np.mean(axis) for axis in np.nonzero(mask))
        column, row = np.floor(geometry.to_square(np.array([[x + 0.5, y + 0.5]]))[0]).astype(int)
        square[min(row, size - 1), min(column, size - 1)] = 1
    return square


def outlines(folder: Path, frame: pd.DataFrame, size: int, *, needed: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the images of train and of val: two (n, size, size) uint8 of 0 and 1.

    All are empty where none are `needed`.

    Raises
    ------
    InputError
        If the folder has no annotations.
    """
    annotations = load_annotations(folder) if needed else {}
    if needed and not set(annotations) & set(frame["file"]):
        why = "none of its annotations is of an image in it" if annotations else "has no annotations.json"
        raise InputError(f"{folder}: {why}; expected outlines of fractures to teach where, or --no-outlines")
    found = []
    for split in ("train", "val"):
        part = frame[frame["split"] == split]
        masks = np.zeros((len(part), size, size), np.uint8)
        for i, row in enumerate(part.to_dict("records")):
            if row["file"] in annotations:
                mask = fracture_mask(annotations[row["file"]], width=row["width"], height=row["height"])
                masks[i] = mask_to_square(mask, size)
        found.append(masks)
    return found[0], found[1]
