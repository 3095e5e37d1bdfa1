"""TIFF: what its tags say before any pixel is read, and the kinds that Pillow cannot read or would cut to 8 bits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from fracturelib._io.files import InputError, printable
from fracturelib.data.pixels import MAX_DEEP, MAX_PIXELS, blocks, luma, require_size, to_8_bits

WIDTH, HEIGHT, BITS, PHOTOMETRIC, ORIENTATION, SAMPLES, PLANAR = 256, 257, 258, 262, 274, 277, 284

TILE_WIDTH, TILE_HEIGHT, EXTRA, SAMPLE_FORMAT = 322, 323, 338, 339

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
STRAIGHT_ALPHA = 2
MAX_TAGS = 4096
SIGNED = 2


@dataclass(frozen=True)
class Tiff:
    """The tags of the first image: sides as stored, bits of a sample, and what the samples are."""

    width: int
    height: int
    bits: int
    samples: int
    photometric: int
    apart: bool  # one plane for each colour
    orientation: int
    alpha: bool
    tile: int  # pixels of a tile, 0 for strips
    several: bool
    signed: bool

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as stored."""
        return self.width, self.height

    @property
    def deep(self) -> bool:
        """Whether Pillow would refuse it, or cut its colours to 8 bits."""
        grey = self.samples == 1 and self.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO)
        colour = self.samples in (3, 4) and self.photometric == RGB
        return self.bits in (16, 32, 64) and (grey or colour) and not (self.apart and self.samples > 1)

    def require(self, path: Path) -> None:
        """Raise InputError if the pixels, or one tile of them, would be too many."""
        require_size(path, self.width, self.height)
        if self.tile > MAX_PIXELS:
            raise InputError(f"{printable(path)}: tiles of {self.tile:,} pixels; expected at most {MAX_PIXELS:,}")
        size = self.width * self.height * self.samples * self.bits // 8
        if self.deep and size > MAX_DEEP:
            raise InputError(f"{printable(path)}: {size:,} bytes of pixels; expected at most {MAX_DEEP:,}")
        if self.bits <= 8 and self.signed:
            raise InputError(f"{printable(path)}: a TIFF of signed {self.bits}-bit samples; expected unsigned ones")
        if self.bits > 8 and self.samples > 1 and not self.deep:
            kind = f"{self.samples} samples of {self.bits} bits{', one plane each' if self.apart else ''}"
            raise InputError(f"{printable(path)}: a TIFF of {kind}, which is not read; expected grey, RGB or RGBA")


def read_tiff(file: BinaryIO) -> Tiff:
    """The tags of the first image of an open file, which is left at its beginning."""
    head = file.read(8)
    big = 43 in head[2:4]  # BigTIFF
    head += file.read(8) if big else b""
    tags = ImageFileDirectory_v2(head)
    file.seek(tags.next)
    if int.from_bytes(file.read(8 if big else 2), "little" if head[:2] == b"II" else "big") > MAX_TAGS:
        raise ValueError(f"more than {MAX_TAGS:,} tags")
    file.seek(tags.next)
    tags.load(file)
    file.seek(0)

    def one(tag: int, missing: int) -> int:
        value = tags.get(tag, missing)
        return int(value[0] if isinstance(value, tuple) else value)

    bits = tags.get(BITS, (1,))
    return Tiff(
        width=one(WIDTH, 0),
        height=one(HEIGHT, 0),
        bits=max(map(int, bits if isinstance(bits, tuple) else (bits,))),
        samples=one(SAMPLES, 1),
        photometric=one(PHOTOMETRIC, WHITE_IS_ZERO),
        apart=one(PLANAR, 1) == 2,
        orientation=one(ORIENTATION, 1),
        alpha=one(EXTRA, 0) == STRAIGHT_ALPHA,
        tile=one(TILE_WIDTH, 0) * one(TILE_HEIGHT, 0),
        several=tags.next != 0,
        signed=one(SAMPLE_FORMAT, 1) == SIGNED,
    )


def decode_deep(path: Path, tiff: Tiff) -> NDArray[np.uint8]:
    """The grey values of a `deep` TIFF, turned as it says: (h, w) uint8."""
    values = unchanged(path)
    if values.shape[:2] != (tiff.size[::-1] if tiff.orientation not in (5, 6, 7, 8) else tiff.size):
        raise ValueError("its pixels are not as many as its tags say")
    if values.ndim == 2:
        return to_8_bits(values, white_is_zero=tiff.photometric == WHITE_IS_ZERO)
    return deep_colour(values, alpha=tiff.alpha)


def unchanged(path: Path) -> NDArray[Any]:
    """The samples of a file in their own type, (h, w) or (h, w, 3 or 4) as BGR and BGRA."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # it would print what it cannot read
    values = cv2.imdecode(np.memmap(path, np.uint8, "c"), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise ValueError("its pixels cannot be read")
    return np.asarray(values)


def deep_colour(values: NDArray[Any], *, alpha: bool) -> NDArray[np.uint8]:
    """BGR or BGRA of more than 8 bits as grey values; what is transparent is black: (h, w, 3 or 4) -> (h, w) uint8."""
    grey = luma(values, order=(2, 1, 0))
    if alpha and values.shape[2] == 4:
        opaque = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
        for rows in blocks(*grey.shape):
            grey[rows] *= values[rows, :, 3] / np.float32(opaque)
    return to_8_bits(np.round(grey).astype(values.dtype) if values.dtype.kind in "ui" else grey)
