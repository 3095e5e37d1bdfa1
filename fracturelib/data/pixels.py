"""What every decoder keeps to: how large an image may be, what it hands back, and how values become grey."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracturelib._io.files import InputError, printable

MAX_BYTES = 512 * 2**20  # of a file: more than 100 million pixels of 16-bit colour would need is never read
MAX_PIXELS = 100_000_000
MAX_DEEP = 256 * 2**20  # bytes of pixels that are more than one each, which are held twice for a while
MIN_SIDE = 16
FIRST_OF_SEVERAL = "holds more than one page or frame; the first was taken"
BLOCK = 1 << 22  # pixels that are worked on at once, so that wide intermediate types stay small


@dataclass(frozen=True)
class Decoded:
    """An image and what a reader should know of it.

    Attributes
    ----------
    grey : (height, width) uint8
    notes : tuple of str
        Such as `FIRST_OF_SEVERAL`; each goes after a file's name.
    """

    grey: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


def noted(notes: Mapping[str, Sequence[str]], *, nouns: tuple[str, str] = ("image", "images")) -> list[str]:
    """One line for each kind of note, with how many images have it and some of their names: file -> its notes."""
    files: dict[str, list[str]] = {}
    for file, said in notes.items():
        for note in said:
            files.setdefault(note, []).append(printable(file))
    return [
        f"{len(named)} {nouns[len(named) > 1]}: {note} ({', '.join(named[:3])}{', ...' if len(named) > 3 else ''})"
        for note, named in files.items()
    ]


def require_size(path: Path, width: int, height: int, *, most: int = MAX_PIXELS) -> None:
    """Raise InputError for more pixels than an image may have, or a side that is too short."""
    name = printable(path)
    if width * height > most:
        raise InputError(f"{name}: {width} x {height} pixels; expected at most {most:,} in all")
    if min(width, height) < MIN_SIDE:
        raise InputError(f"{name}: {width} x {height} pixels; expected at least {MIN_SIDE} x {MIN_SIDE}")


def one_line(error: BaseException) -> str:
    """What an error says, on one line that fits a terminal; its kind if it says nothing."""
    lines = str(error).strip().splitlines()
    return printable(lines[0].strip())[:200] if lines else type(error).__name__


def blocks(height: int, width: int) -> Iterator[slice]:
    """Rows in bands of about `BLOCK` pixels."""
    step = max(1, BLOCK // max(1, width))
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def to_8_bits(values: NDArray[Any], *, white_is_zero: bool = False) -> NDArray[np.uint8]:
    """Numbers of any type as grey values: (h, w) -> (h, w) uint8.

    0 is black, and the smallest power of two that holds the brightest value is white, or 1 for fractions from 0 to 1,
    of which a resampling may have made some a little larger.
    Where there are negative values, the darkest is black and the brightest white.
    """
    low, high = values.min(initial=0), values.max(initial=0)
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("pixels that are not numbers")
    grey = np.empty(values.shape, np.uint8)
    for rows in blocks(*values.shape):
        part = values[rows].astype(np.float64)
        if low < 0:
            part = np.round((part / 2 - float(low) / 2) / (float(high) / 2 - float(low) / 2) * 255)
        elif values.dtype.kind == "f" and high <= 1.1:
            part = np.round(np.minimum(part, 1) * 255)
        else:
            part = part / 2.0 ** (max(8, int(high).bit_length()) - 8)
        grey[rows] = part.astype(np.uint8)
    return 255 - grey if white_is_zero else grey


def luma(colours: NDArray[Any], *, order: tuple[int, int, int] = (0, 1, 2)) -> NDArray[np.float32]:
    """ITU-R 601 luma in the numbers of the colours: (h, w, 3 or more) -> (h, w) float32; `order` places R, G, B."""
    grey = np.empty(colours.shape[:2], np.float32)
    red, green, blue = order
    for rows in blocks(*colours.shape[:2]):
        part = colours[rows].astype(np.float64)
        grey[rows] = (299 * part[..., red] + 587 * part[..., green] + 114 * part[..., blue]) / 1000
    return grey
