"""Is the heat map right? Maps against the outlines of fractures."""

import cv2
import numpy as np
from numpy.typing import NDArray

from fracturelib._files import InputError


def peak(heat: NDArray[np.float32]) -> tuple[int, int] | None:
    """Row and column of the strongest evidence, (h, w) -> two int; None if there is none."""
    if not np.max(heat, initial=0.0) > 0:
        return None
    row, column = np.unravel_index(int(np.argmax(heat)), heat.shape)
    return int(row), int(column)


def grown(mask: NDArray[np.uint8], tolerance: int) -> NDArray[np.uint8]:
    """The places within `tolerance` pixels of a mask: (h, w) of 0 and 1 -> the same."""
    if tolerance <= 0:
        return (np.asarray(mask) > 0).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * tolerance + 1, 2 * tolerance + 1))
    return np.asarray(cv2.dilate((np.asarray(mask) > 0).astype(np.uint8), disc), dtype=np.uint8)


def peak_in_mask(heat: NDArray[np.float32], mask: NDArray[np.uint8], *, tolerance: int = 0) -> bool:
    """The pointing game (Zhang et al. 2018, doi 10.1007/s11263-017-1059-x): does the peak lie in the fracture?

    Parameters
    ----------
    heat : (h, w) float32
        Evidence; a map without any is a miss.
    mask : (h, w) of 0 and 1
    tolerance : int
        Pixels beside the mask that still count.
    """
    if heat.shape != mask.shape:
        raise InputError(f"heat has shape {heat.shape}; expected that of the mask, {mask.shape}")
    place = peak(heat)
    return place is not None and bool(grown(mask, tolerance)[place])


def energy_in_mask(heat: NDArray[np.float32], mask: NDArray[np.uint8]) -> float:
    """Share of the evidence that lies in the fracture, 0..1 (Wang et al. 2020, doi 10.1109/CVPRW50498.2020.00020).

    A map without evidence has none in the fracture: 0.
    """
    if heat.shape != mask.shape:
        raise InputError(f"heat has shape {heat.shape}; expected that of the mask, {mask.shape}")
    positive = np.clip(heat, 0, None)
    total = float(positive.sum())
    return float(positive[np.asarray(mask) > 0].sum()) / total if total > 0 else 0.0
