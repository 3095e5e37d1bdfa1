"""Images as squares: grey, padded, resized once, and kept in one array so that an epoch never decodes a JPEG."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fracturelib._io.cache import kept_arrays, new_array
from fracturelib._io.files import InputError, cache_dir
from fracturelib._io.threads import in_threads
from fracturelib.data.decode import FORMATS, read_grey

__all__ = ["Geometry", "in_colour", "load_images", "read_grey", "square_geometry", "to_square"]
COLOURFUL = 8.0  # grey levels between the channels, in the mean; a sepia tint is a little less
SQUARE_VERSION = 2  # a part of the cache's key: raise it when the squares change


@dataclass(frozen=True)
class Geometry:
    """How an image lies in its square.

    Attributes
    ----------
    width, height : int
        Of the image, in pixels.
    size : int
        Side of the square, in pixels.
    scale : float
        Square pixels for one image pixel.
    left, top : int
        Columns and rows of padding before the image.
    """

    width: int
    height: int
    size: int
    scale: float
    left: int
    top: int

    @property
    def inside(self) -> tuple[int, int]:
        """Width and height of the image in the square, in pixels."""
        return max(1, round(self.width * self.scale)), max(1, round(self.height * self.scale))

    def to_square(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Image coordinates to square coordinates: (k, 2) x, y -> (k, 2)."""
        w, h = self.inside
        factor = np.array([w / self.width, h / self.height])
        return np.asarray(points, dtype=np.float64) * factor + [self.left, self.top]

    def to_image(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Square coordinates to image coordinates: (k, 2) x, y -> (k, 2)."""
        w, h = self.inside
        factor = np.array([self.width / w, self.height / h])
        return (np.asarray(points, dtype=np.float64) - [self.left, self.top]) * factor


def square_geometry(width: int, height: int, size: int) -> Geometry:
    """The longest side becomes `size`; the image is centred, with black beside it."""
    scale = size / max(width, height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    return Geometry(width, height, size, scale, (size - w) // 2, (size - h) // 2)


def to_square(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """An image in its square: (h, w) uint8 -> (size, size) uint8, padded with 0.

    Examples
    --------
    >>> to_square(np.full((40, 80), 200, np.uint8), 32).shape
    (32, 32)
    """
    geometry = square_geometry(image.shape[1], image.shape[0], size)
    smaller = geometry.scale < 1
    return _place(image, geometry, cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def _place(image: NDArray[np.uint8], geometry: Geometry, interpolation: int) -> NDArray[np.uint8]:
    w, h = geometry.inside
    square = np.zeros((geometry.size, geometry.size), np.uint8)
    resized = cv2.resize(np.ascontiguousarray(image), (w, h), interpolation=interpolation)
    square[geometry.top : geometry.top + h, geometry.left : geometry.left + w] = resized
    return square


def in_colour(path: Path) -> bool:
    """Whether a picture that `decode` reads has colours, as far as a small copy of it tells; DICOM has none."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.mode not in ("RGB", "RGBA", "P", "CMYK", "YCbCr"):
                return False
            image.thumbnail((64, 64))
            small = np.asarray(image.convert("RGB"), dtype=np.float64)
    except Exception:  # a decoder raises anything; then it is nothing that has colours
        return False
    return float(np.ptp(small, axis=2).mean()) > COLOURFUL


def load_images(folder: str | Path, files: Sequence[str], *, size: int, progress: bool = False) -> NDArray[np.uint8]:
    """Images as squares, decoded once and then read from one cached array.

    Parameters
    ----------
    folder : str or Path
    files : sequence of str
        Relative to `folder`; their order is the order of the result.
    size : int
        Side of the squares, in pixels.
    progress : bool
        Show a bar while decoding.

    Returns
    -------
    (len(files), size, size) uint8
        A memory map (changes stay in memory): it may be larger than memory.

    Raises
    ------
    InputError
        Naming the first image that cannot be read.
    NoRoomError
        Naming the cache's folder and the bytes that the squares need.
    """
    folder = Path(folder)
    if not files:
        return np.zeros((0, size, size), np.uint8)
    cached = cache_dir() / f"squares-{_content_key(folder, files, size)}.npy"
    return kept_arrays([cached], lambda: _decode_all(folder, files, size, cached, progress), mode="c")[0]


def _content_key(folder: Path, files: Sequence[str], size: int) -> str:
    key = hashlib.sha256(f"{SQUARE_VERSION} {size}".encode())
    for digest in in_threads(lambda file: _digest(folder / file), files):
        key.update(digest)
    return key.hexdigest()[:24]


def _digest(path: Path) -> bytes:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected an image") from None


def _decode_all(folder: Path, files: Sequence[str], size: int, target: Path, progress: bool) -> None:
    shape = (len(files), size, size)
    with new_array(target, np.uint8, shape) as append:
        for square in in_threads(
            lambda file: to_square(read_grey(folder / file), size), files,
            desc="decoding", unit="image", progress=progress,
        ):  # fmt: skip
            append(square)
