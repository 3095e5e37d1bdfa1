"""From a file to grey values, or one line that says why not."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fracturelib._io.files import InputError, printable
from fracturelib.data.containers import require_container, require_few_scans, require_progressive
from fracturelib.data.dicom import decode_dicom, dicom_size, is_dicom
from fracturelib.data.pixels import (
    FIRST_OF_SEVERAL,
    MAX_BYTES,
    MAX_PIXELS,
    MIN_SIDE,
    Decoded,
    blocks,
    noted,
    one_line,
    require_size,
    to_8_bits,
)
from fracturelib.data.tiff import Tiff, decode_deep, deep_colour, read_tiff, unchanged

__all__ = [
    "FORMATS", "MAX_PIXELS", "MIN_SIDE", "TURNED", "Decoded", "decode", "image_size", "noted",
    "orientation", "read_grey",
]  # fmt: skip
DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima"})
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")  # Pillow knows many more, some of which start other programs
BEGINNINGS = {
    b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"BM": "BMP", b"RIFF": "WebP",
    b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF",
}  # fmt: skip
ORIENTATION = 0x0112
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
DAMAGED_EXIF = "its EXIF data are damaged; shown as it is stored, not turned"


def read_grey(path: str | Path) -> NDArray[np.uint8]:
    """Read an image as grey values, (height, width) uint8: `decode` without its notes."""
    return decode(path).grey


def decode(path: str | Path) -> Decoded:
    """Read an image as grey values, its EXIF orientation applied.

    Colour is turned into luma (ITU-R 601); transparent parts are black. More than 8 bits are scaled by the smallest
    power of two that holds the brightest value. DICOM is shown as it says itself (`decode_dicom`). What a file is, its
    first bytes say, not its name. Of several pages or frames the first is taken.

    Parameters
    ----------
    path : str or Path
        JPEG, PNG, BMP, TIFF or WebP; DICOM where pydicom is installed.

    Raises
    ------
    InputError
        If the file is missing, empty, over 512 MiB, truncated, not an image, under 16 pixels (a side) or over 100
        million (in all); each before it is read.
    """
    path = Path(path)
    head = _head(path)
    if _is_dicom(path, head):
        return decode_dicom(path)
    with path.open("rb") as file, _named(path, "damaged or truncated", "expected a whole image"):
        tiff = _tags(path, file, head)
        if tiff and tiff.deep:
            return Decoded(decode_deep(path, tiff), (FIRST_OF_SEVERAL,) * tiff.several)
        with _opened(path, file, head) as image:
            image.load()
            turned, notes = _orientation(image)
            grey = _upright(_grey(image, path, tiff), turned)
            several = getattr(image, "is_animated", False)
    return Decoded(grey, notes + (FIRST_OF_SEVERAL,) * bool(several))


def image_size(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels, EXIF orientation applied, from the header alone."""
    path = Path(path)
    head = _head(path)
    if _is_dicom(path, head):
        return dicom_size(path)
    with path.open("rb") as file, _named(path, "damaged or truncated", "expected a whole image"):
        if tiff := _tags(path, file, head):
            # Pillow gives the size of a TIFF as it is stored in some versions, and as it is shown in others.
            return tiff.size[::-1] if tiff.orientation in TURNED else tiff.size
        with _opened(path, file, head) as image:
            return image.size[::-1] if _orientation(image)[0] in TURNED else image.size


def orientation(path: str | Path) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 if the file says nothing, or nothing that can be read."""
    path = Path(path)
    try:
        head = _head(path)
        with path.open("rb") as file, _named(path, "damaged", "expected an image"):
            if tiff := _tags(path, file, head):
                return tiff.orientation if 1 <= tiff.orientation <= 8 else 1
            with _opened(path, file, head) as image:
                return _orientation(image)[0]
    except (InputError, OSError):
        return 1


def _head(path: Path) -> bytes:
    """The first 132 bytes of a file that may be read."""
    name = printable(path)
    try:
        if not path.is_file():
            raise InputError(f"{name}: no such file; expected an image")
        size = path.stat().st_size
        if size == 0:
            raise InputError(f"{name}: empty (0 bytes); expected an image")
        if size > MAX_BYTES:
            raise InputError(f"{name}: {size:,} bytes; expected an image of at most {MAX_BYTES:,}")
        with path.open("rb") as file:
            return file.read(132)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{name}: {reason[:1].lower()}{reason[1:]}; expected an image") from None


def _is_dicom(path: Path, head: bytes) -> bool:
    return is_dicom(head) or (path.suffix.lower() in DICOM_SUFFIXES and not _kind(head))


def _kind(head: bytes) -> str:
    """Which of the promised formats the first bytes are of; empty if of none."""
    return next((kind for beginning, kind in BEGINNINGS.items() if head.startswith(beginning)), "")


@contextmanager
def _named(path: Path, what: str, expected: str) -> Iterator[None]:
    """Whatever a decoder raises becomes one line that names the file; what it warns of is not printed."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.filterwarnings("ignore", module=r"PIL\b")
            yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{printable(path)}: {what} ({one_line(error)}); {expected}") from None


def _tags(path: Path, file: BinaryIO, head: bytes) -> Tiff | None:
    """The tags of a TIFF, within the limits; None for another format."""
    if _kind(head) != "TIFF":
        return None
    tiff = read_tiff(file)
    tiff.require(path)
    return tiff


def _opened(path: Path, file: BinaryIO, head: bytes) -> Image.Image:
    """The image of an open file, no pixel of it read yet, its size within the limits."""
    require_container(path, file, head)
    # From the open file, not by its name: by name Pillow maps uncompressed TIFFs, and scrambles those that are turned.
    try:
        image: Image.Image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        kind = _kind(head)
        wrong = f"a damaged {kind}, or one of a kind that is not read" if kind else "not an image"
        raise InputError(f"{printable(path)}: {wrong}; expected JPEG, PNG, TIFF, BMP, WebP or DICOM") from None
    except Image.DecompressionBombError:
        raise InputError(f"{printable(path)}: too large; expected at most {MAX_PIXELS:,} pixels") from None
    require_size(path, *image.size)
    if image.info.get("progressive"):
        require_progressive(path, image.width * image.height * len(image.getbands()))
        require_few_scans(printable(path), path.read_bytes(), image.width * image.height)
    return image


def _orientation(image: Image.Image) -> tuple[int, tuple[str, ...]]:
    """The EXIF orientation, 1 to 8, that is still to be applied, and a note if it cannot be had."""
    if image.format == "PNG":
        image.load()  # EXIF may come after the pixels
    try:
        exif = image.getexif()
        value = int(exif.get(ORIENTATION) or 1)
        if value != 1 and image.format != "TIFF":
            exif.tobytes()  # where another entry makes no sense, this one is not believed either
    except Exception:  # metadata raise whatever their parser happens to stumble over
        return 1, (DAMAGED_EXIF,)
    return (value if 1 <= value <= 8 else 1), ()


def _upright(grey: NDArray[np.uint8], direction: int) -> NDArray[np.uint8]:
    if direction == 1:
        return grey
    grey = grey.T if direction in TURNED else grey
    rows, columns = direction in (3, 4, 7, 8), direction in (2, 3, 6, 7)
    return np.ascontiguousarray(grey[:: -1 if rows else 1, :: -1 if columns else 1])


def _grey(image: Image.Image, path: Path, tiff: Tiff | None) -> NDArray[np.uint8]:
    transparent = image.info.get("transparency")
    if image.mode == "L":
        if not isinstance(transparent, int):
            return np.asarray(image)
        # Of 1, 2 or 4 bits Pillow stretches all but this one.
        most = 2 ** min(_byte(path, 24), 8) - 1 if image.format == "PNG" else 255
        grey = np.asarray(image)
        return np.where(grey == transparent * 255 // most, 0, grey).astype(np.uint8)
    if image.format == "BMP" and image.mode == "1" and _byte(path, 28) != 1 and _byte(path, 14) >= 40:
        # Of 8-bit indices into black and white Pillow makes bits, and reads each byte as eight pixels.
        values = unchanged(path)
        return values if values.ndim == 2 else np.ascontiguousarray(values[..., 0])
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        values = np.where(values == transparent, 0, values) if isinstance(transparent, int) else values
        return to_8_bits(values, white_is_zero=tiff is not None and tiff.photometric == 0)
    if image.format == "PNG" and _byte(path, 24) == 16:
        return deep_colour(unchanged(path), alpha=True)  # Pillow would take the upper 8 bits, black if 12 are used
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or transparent is not None:
        return _on_black(image)
    if image.mode == "CMYK":
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))


def _on_black(image: Image.Image) -> NDArray[np.uint8]:
    """What is transparent is black; in bands, since each pixel takes twelve bytes on the way."""
    grey = np.empty((image.height, image.width), np.uint8)
    for rows in blocks(image.height, image.width):
        colour = image.crop((0, rows.start, image.width, rows.stop)).convert("RGBA")
        black = Image.new("RGBA", colour.size, (0, 0, 0, 255))
        grey[rows] = np.asarray(Image.alpha_composite(black, colour).convert("L"))
    return grey


def _byte(path: Path, place: int) -> int:
    with path.open("rb") as file:
        return file.read(place + 1)[place]
