"""From a file to grey values, or one line that says why not."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fracturelib._files import InputError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".dcm", ".dicom"})
DICOM_SUFFIXES = frozenset({".dcm", ".dicom"})
MAX_PIXELS = 100_000_000
MIN_SIDE = 16
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
ORIENTATION = 0x0112


def read_grey(path: str | Path) -> NDArray[np.uint8]:
    """Read a film as grey values, its EXIF orientation applied.

    Colour is turned into luma (ITU-R 601); transparent parts are black. More than 8 bits are scaled by the
    smallest power of two that holds the brightest value. DICOM is shown through its own window, MONOCHROME1 inverted.

    Parameters
    ----------
    path : str or Path
        JPEG, PNG, BMP, TIFF or WebP; DICOM where pydicom is installed.

    Returns
    -------
    (height, width) uint8

    Raises
    ------
    InputError
        If the file is missing, empty, truncated, not an image, under 16 or over 100 million pixels (a side, in all).
    """
    path = Path(path)
    _require_content(path)
    if path.suffix.lower() in DICOM_SUFFIXES or _is_dicom(path):
        return _read_dicom(path)
    with _open(path) as image:
        try:
            turned = ImageOps.exif_transpose(image)
            return _grey(turned)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise InputError(f"{path}: damaged or truncated ({_first_line(error)}); expected a whole image") from None


def image_size(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels, EXIF orientation applied, from the header alone (DICOM is read whole)."""
    path = Path(path)
    _require_content(path)
    if path.suffix.lower() in DICOM_SUFFIXES or _is_dicom(path):
        height, width = _read_dicom(path).shape
        return width, height
    with _open(path) as image:
        width, height = image.size
        return (height, width) if image.getexif().get(ORIENTATION) in TURNED else (width, height)


def orientation(path: str | Path) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 if the file says nothing."""
    try:
        with Image.open(path) as image:
            value = int(image.getexif().get(ORIENTATION) or 1)
    except (OSError, SyntaxError, ValueError):
        return 1
    return value if 1 <= value <= 8 else 1


def _require_content(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected an image")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: empty (0 bytes); expected an image")


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _open(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
    except UnidentifiedImageError:
        raise InputError(f"{path}: not an image; expected JPEG, PNG, TIFF, BMP, WebP or DICOM") from None
    except Image.DecompressionBombError:
        raise InputError(f"{path}: too large to be a film; expected at most {MAX_PIXELS:,} pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError, OverflowError) as error:
        raise InputError(f"{path}: damaged ({_first_line(error)}); expected an image") from None
    try:
        _require_size(path, *image.size)
    except InputError:
        image.close()
        raise
    return image


def _require_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise InputError(f"{path}: {width} x {height} pixels; expected at most {MAX_PIXELS:,} in all")
    if min(width, height) < MIN_SIDE:
        raise InputError(f"{path}: {width} x {height} pixels; expected at least {MIN_SIDE} x {MIN_SIDE}")


def _grey(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode == "L":
        return np.asarray(image)
    if image.mode.startswith("I") or image.mode == "F":
        return _to_8_bits(np.asarray(image))
    if image.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in image.info:
        colour = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colour.size, (0, 0, 0, 255)), colour)
    elif image.mode == "CMYK":
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))


def _to_8_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    if not np.isfinite(values).all():
        raise ValueError("pixels that are not numbers")
    values = np.clip(values, 0, None)
    if values.dtype.kind == "f" and values.max(initial=0) <= 1:
        return np.round(values * 255).astype(np.uint8)
    bits = max(8, int(values.max(initial=0)).bit_length())
    return (values.astype(np.float64) / 2 ** (bits - 8)).astype(np.uint8)


def _read_dicom(path: Path) -> NDArray[np.uint8]:
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut, apply_voi_lut
    except ImportError:
        raise InputError(f"{path}: DICOM needs pydicom; expected `pip install pydicom` to have been run") from None
    try:
        dataset = pydicom.dcmread(path)
        width, height = int(dataset.Columns), int(dataset.Rows)
        _require_size(path, width, height)
        if int(dataset.get("NumberOfFrames") or 1) != 1:
            raise InputError(f"{path}: {dataset.NumberOfFrames} frames; expected a single film")
        stored = dataset.pixel_array
        if stored.ndim == 3:
            return np.asarray(Image.fromarray(stored).convert("L"))
        values = np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
        if "VOILUTSequence" in dataset:
            values = np.asarray(apply_voi_lut(stored, dataset), dtype=np.float64)
            low, high = values.min(), values.max()
        else:
            low, high = _window(dataset, values)
        grey = np.clip((values - low) / max(high - low, 1e-9), 0, 1) * 255
        inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
        return np.round(255 - grey if inverted else grey).astype(np.uint8)
    except InputError:
        raise
    except Exception as error:  # pydicom raises many kinds for damaged files
        raise InputError(f"{path}: a DICOM file that cannot be shown ({_first_line(error)})") from None


def _window(dataset: Any, values: NDArray[np.float64]) -> tuple[float, float]:
    """The grey values shown as black and white: DICOM PS3.3 C.11.2.1.2 where there is a window, else all of them."""
    centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if centre is None or width is None:
        return float(values.min()), float(values.max())
    centre = float(centre[0] if hasattr(centre, "__len__") else centre)
    width = float(width[0] if hasattr(width, "__len__") else width)
    if width < 1:
        return float(values.min()), float(values.max())
    low = centre - 0.5 - (width - 1) / 2
    return low, low + max(width - 1, 1)
