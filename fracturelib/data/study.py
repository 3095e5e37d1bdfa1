"""A study as a plain value: one stack of slices, what a voxel measures, and how it lies in the patient."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fracturelib._io.files import InputError

MAX_SLICES = 2000
MAX_VOXELS = 50_000_000  # 200 MB as float32
MOST_STRETCH = 20  # the longer side of a pixel, in shorter ones
BLACK, WHITE = 0.5, 99.8  # percentiles of a study's values that become black and white
PLANES = ("sagittal", "coronal", "axial")  # by the axis of the patient along which the slices lie: x, y, z


@dataclass(frozen=True, eq=False)
class Study:
    """A stack of slices in the order in which they lie in the patient.

    Where the file says how it lies, a sagittal study has slices from the patient's right to the left, so that the first
    is the outer side of a right knee and the inner side of a left one; rows from head to foot, columns from front to
    back.

    Attributes
    ----------
    pixels : (slices, height, width) uint8 or float32
        uint8 as it is to be shown, float32 in whatever numbers the scanner gives.
    slice_mm : float
        From the centre of a slice to that of the next, in mm; NaN if unknown.
    pixel_mm : float
        Side of a pixel, in mm; NaN if unknown.
    laterality : str
        L, R, or empty if unknown.
    plane : str
        One of `PLANES`, or empty if unknown.
    notes : tuple of str
        What a reader should know: gaps, doubles, what was left out; each goes after the study's name.
    """

    pixels: NDArray[np.uint8] | NDArray[np.float32]
    slice_mm: float = float("nan")
    pixel_mm: float = float("nan")
    laterality: str = ""
    plane: str = ""
    notes: tuple[str, ...] = ()


def require_volume(name: str, shape: tuple[int, ...]) -> None:
    """Raise InputError for a shape that no stack of slices has, or too large a one."""
    if len(shape) != 3:
        shown = " x ".join(map(str, shape)) or "one number"
        raise InputError(f"{name}: an array of {shown}; expected slices x height x width")
    if not 1 <= shape[0] <= MAX_SLICES or min(shape[1:]) < 16 or np.prod(shape, dtype=np.float64) > MAX_VOXELS:
        said = f"{shape[0]} slices of {shape[1]} x {shape[2]} pixels"
        most = f"1 to {MAX_SLICES} of at least 16 x 16, and at most {MAX_VOXELS:,} voxels"
        raise InputError(f"{name}: {said}; expected {most}")


def to_grey(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.uint8]:
    """A study's values as grey values: (s, h, w) -> (s, h, w) uint8.

    uint8 stays as it is. Else the 0.5th percentile of the whole study is black and the 99.8th white, the same for all
    slices: numbers of MRI have no unit, and a few bright voxels must not make the rest dark.

    Examples
    --------
    >>> grey = to_grey(np.linspace(0, 4000, 2 * 16 * 16).reshape(2, 16, 16).astype(np.float32))
    >>> int(grey.min()), int(grey.max()), grey.dtype
    (0, 255, dtype('uint8'))
    """
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, np.uint8)
    low, high = np.percentile(pixels, [BLACK, WHITE])
    grey = np.empty(pixels.shape, np.uint8)
    for one, result in zip(pixels, grey, strict=True):  # slice by slice, so that no second volume is needed
        result[:] = np.clip(np.round((one.astype(np.float64) - low) * (255 / max(high - low, 1e-12))), 0, 255)
    return grey


def square_size(height: int, width: int, row_mm: float, column_mm: float) -> tuple[int, int]:
    """Height and width with square pixels, as fine as the finer of what rows and columns measure."""
    fine = min(row_mm, column_mm)
    if not (fine > 0 and max(row_mm, column_mm) > 1.01 * fine):  # also where they are not known
        return height, width
    return round(height * row_mm / fine), round(width * column_mm / fine)


def square_pixels(
    name: str, pixels: NDArray[np.uint8] | NDArray[np.float32], row_mm: float, column_mm: float
) -> tuple[NDArray[np.uint8] | NDArray[np.float32], float]:
    """Slices with square pixels, and the side of one in mm; InputError with the study's name if they are too many."""
    height, width = square_size(pixels.shape[1], pixels.shape[2], row_mm, column_mm)
    if (height, width) == pixels.shape[1:]:
        return pixels, column_mm
    if not (np.isfinite([row_mm, column_mm]).all() and max(row_mm, column_mm) < MOST_STRETCH * min(row_mm, column_mm)):
        raise InputError(f"{name}: pixels of {row_mm:g} x {column_mm:g} mm; expected sides that are nearly alike")
    require_volume(name, (len(pixels), height, width))
    resized = [cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in pixels]
    return np.stack(resized), min(row_mm, column_mm)


def resample_study(study: Study, *, shape: tuple[int, int] | tuple[int, int, int]) -> NDArray[np.uint8]:
    """A study in another matrix, about its centre; its longer side fills that of the matrix.

    Parameters
    ----------
    study : Study
    shape : (height, width) or (slices, height, width)
        Of the result; without slices, each slice stays. Other numbers of slices are interpolated between neighbours.

    Returns
    -------
    (slices, height, width) uint8
        Black where there is no image.

    Raises
    ------
    InputError
        If a side is under 1.

    Examples
    --------
    >>> study = Study(np.full((20, 256, 200), 9, np.uint8))
    >>> resample_study(study, shape=(128, 128)).shape
    (20, 128, 128)
    """
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise InputError(f"shape is {shape}; expected (height, width) or (slices, height, width), each at least 1")
    grey = to_grey(study.pixels)
    if len(shape) == 3 and shape[0] != len(grey):
        grey = _between(grey, shape[0])
    height, width = shape[-2:]
    scale = max(height, width) / max(grey.shape[1:])
    if (height, width) == grey.shape[1:] and abs(scale - 1) < 1e-6:
        return grey
    if scale < 1:  # a blur that leaves nothing finer than the new pixels can show
        grey = np.stack([cv2.GaussianBlur(one, (0, 0), 0.5 * float(np.sqrt(scale**-2 - 1))) for one in grey])
    move = [(n - 1) / 2 - scale * (m - 1) / 2 for n, m in ((width, grey.shape[2]), (height, grey.shape[1]))]
    matrix = np.array([[scale, 0, move[0]], [0, scale, move[1]]])
    return np.stack([cv2.warpAffine(one, matrix, (width, height)) for one in grey]).astype(np.uint8)


def _between(grey: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """So many slices, at even steps from the first to the last, each mixed of its two neighbours."""
    at = np.linspace(0, len(grey) - 1, count) if count > 1 else np.array([(len(grey) - 1) / 2])
    below = np.minimum(at.astype(int), max(0, len(grey) - 2))
    share = (at - below)[:, None, None]
    above = np.minimum(below + 1, len(grey) - 1)
    return np.asarray(np.round(grey[below] * (1 - share) + grey[above] * share), np.uint8)
