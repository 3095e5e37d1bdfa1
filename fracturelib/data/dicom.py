"""DICOM as grey values, by the standard's own pipeline: stored values, modality LUT, VOI LUT or window, polarity."""

import warnings
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fracturelib._io.files import InputError, printable
from fracturelib.data.containers import require_few_scans
from fracturelib.data.lookup_tables import Grey, keeps_bits
from fracturelib.data.pixels import FIRST_OF_SEVERAL, MAX_DEEP, Decoded, blocks, luma, one_line, require_size

INSTALL = 'pip install ".[dicom]"'  # in the project's folder
HEADER_BYTES = 8 * 2**20  # of elements that are read, pixels and what is passed over not counted
MAX_INFLATED = 128 * 2**20  # of a deflated data set
PIXELS = 0x7FE00010
COLOURS: tuple[str, ...] = ("RGB", "YBR_FULL", "YBR_FULL_422")  # pydicom makes RGB of them
EXPLICIT = (b"UI", b"UL", b"CS", b"DA", b"LO", b"OB", b"SH")
USED = (
    "SOPClassUID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
    "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit", "DoubleFloatPixelPaddingValue",
    "DoubleFloatPixelPaddingRangeLimit",
    "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence",
    "VOILUTFunction", "WindowCenter", "WindowWidth", "PresentationLUTShape", "PaletteColorLookupTableUID",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData", "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData", "SegmentedBluePaletteColorLookupTableData",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "PixelData", "FloatPixelData", "DoubleFloatPixelData",
)  # fmt: skip
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
WHOLE = (
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation",
)  # fmt: skip


def is_dicom(head: bytes) -> bool:
    """Whether the first 132 bytes are those of a DICOM file, with its preamble or, as old archives wrote, without."""
    if head[128:132] == b"DICM":
        return True
    group, element = head[:2], head[2:4]
    return group in (b"\x02\0", b"\x08\0") and element[1:] == b"\0" and head[4:6] in EXPLICIT


def decode_dicom(path: Path) -> Decoded:
    """Read DICOM as grey values; of several frames the first.

    The modality LUT or rescale comes first, then the first VOI LUT, else the first window, else the darkest value is
    black and the brightest white. MONOCHROME1 and the presentation LUT shape INVERSE turn black and white about. Pixel
    padding is black. Colours become luma.

    Raises
    ------
    InputError
        If it holds no image, is damaged, or needs a decoder that is not installed.
    """
    with dicom_errors(path), np.errstate(all="ignore"):  # what is not finite is refused, and not warned of
        require_header(path, read_elements(path, pixels=False))
        dataset = read_elements(path, pixels=True)
        frames = _frames(dataset)
        _complete(dataset)
        return Decoded(_grey(dataset, _stored(path, dataset)), (FIRST_OF_SEVERAL,) if frames > 1 else ())


def dicom_values(path: Path, frames: Sequence[int] = (0,)) -> list[NDArray[np.float32]]:
    """The numbers of each of these frames after the modality LUT, before any window: (h, w) float32.

    Raises
    ------
    InputError
        As `decode_dicom`, or if it has colours.
    """
    with dicom_errors(path), np.errstate(all="ignore"):
        require_header(path, read_elements(path, pixels=False))
        dataset = read_elements(path, pixels=True)
        _complete(dataset)
        for name in GROUPS:
            dataset.get(name)  # read once, not for each frame
        found, whole = [], dict(dataset.items())
        for frame in frames:
            dataset.clear()  # what applies to one frame alone must not stay for the next
            dataset.update(whole)
            _frames(dataset, frame)
            stored = _stored(path, dataset, frame)
            if stored.ndim != 2:
                raise ValueError("colours; expected numbers of one channel")
            found.append(Grey(dataset).measured(stored))
        return found


def dicom_size(path: Path) -> tuple[int, int]:
    """Width and height from the header."""
    with dicom_errors(path):
        dataset = read_elements(path, pixels=False)
        require_header(path, dataset)
        return int(dataset.Columns), int(dataset.Rows)


class dicom_errors:  # noqa: N801, as contextlib's are called
    """What pydicom and its decoders raise, which may be anything, becomes one line; what they warn of is not shown."""

    def __init__(self, path: Path) -> None:
        self.name, self.warned = printable(path), warnings.catch_warnings()

    def __enter__(self) -> None:
        self.warned.__enter__()
        warnings.filterwarnings("ignore", module=r"pydicom\b")

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.warned.__exit__(kind, error, trace)
        if isinstance(error, ModuleNotFoundError) and str(error.name).startswith("pydicom"):
            raise InputError(f"{self.name}: DICOM needs pydicom; expected `{INSTALL}` to have been run") from None
        if isinstance(error, Exception) and not isinstance(error, InputError):
            reason = one_line(error)
            expected = "" if "; expected" in reason else "; expected a header and pixels that agree"
            raise InputError(f"{self.name}: a DICOM file that cannot be shown ({reason}){expected}") from None


class _Metered:
    """A file of which only so much is read: a header of millions of elements would fill the memory."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.left = file, HEADER_BYTES
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size if 0 <= size <= self.left else self.left + 1)
        self.left -= len(data)
        if self.left < 0:
            raise ValueError(f"a header of more than {HEADER_BYTES:,} bytes")
        return data


def read_elements(path: Path, *, pixels: bool, more: Sequence[str] = ()) -> Any:
    """The elements in `USED` and `more`, those of the pixels and what follows them only on demand."""
    from pydicom.filereader import read_dataset, read_file_meta_info, read_partial
    from pydicom.tag import Tag
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

    used: list[Any] = [Tag(name) for name in (*USED, *more)]

    def stop(tag: int, *_: object) -> bool:
        return tag >= 0x7FE00000 and not (pixels and tag <= PIXELS)

    with path.open("rb") as file:
        if file.read(132)[128:] == b"DICM":
            meta = read_file_meta_info(path)
            if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
                file.seek(144 + int(meta.FileMetaInformationGroupLength))
                plain = BytesIO(_inflated(file.read()))
                source: Any = plain if pixels else _Metered(plain)
                dataset: Any = read_dataset(source, False, True, stop_when=stop, specific_tags=used)
                dataset.file_meta, meta.TransferSyntaxUID = meta, ExplicitVRLittleEndian
                return dataset
        file.seek(0)
        source = file if pixels else _Metered(file)
        return read_partial(source, stop_when=stop, force=True, specific_tags=used)


def _inflated(data: bytes) -> bytes:
    opened = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = opened.decompress(data, MAX_INFLATED)
    if not opened.eof:
        raise ValueError(f"deflated data that are cut off, or more than {MAX_INFLATED:,} bytes")
    return plain


def require_header(path: Path, dataset: Any) -> None:
    """Raise InputError unless it is an image, and one that is not too large."""
    name = printable(path)
    if "Rows" not in dataset or "Columns" not in dataset:
        if kind := str(getattr(dataset.get("SOPClassUID"), "name", "")):
            raise InputError(f"{name}: DICOM without an image ({printable(kind)[:80]}); expected a radiograph")
        if getattr(dataset, "preamble", b"") is None:
            raise InputError(f"{name}: not an image; expected JPEG, PNG, TIFF, BMP, WebP or DICOM")
        raise ValueError("neither Rows nor Columns")
    require_whole(dataset)
    for side in ("Rows", "Columns"):
        if dataset.get(side) in (None, ""):
            raise ValueError(f"{side} is empty; expected one whole number")
    width, height = int(dataset.Columns), int(dataset.Rows)
    require_size(path, width, height)
    bytes_each = int(dataset.get("SamplesPerPixel") or 1) * int(dataset.get("BitsAllocated") or 16) / 8
    if not 0 < width * height * bytes_each <= MAX_DEEP:
        raise InputError(f"{name}: {width * height * bytes_each:,.0f} bytes of pixels; expected at most {MAX_DEEP:,}")


def require_whole(dataset: Any) -> None:
    """Raise ValueError unless what counts something in a header is one whole number, and sequences hold items."""
    from pydicom.sequence import Sequence as Items

    for name in USED:
        if name.endswith("Sequence") and not isinstance(dataset.get(name), Items | None):
            raise ValueError(f"{name} is {str(dataset.get(name))[:40]!r}; expected items")
    for name in WHOLE:
        try:
            said = dataset.get(name)
            whole = said in (None, "") or isinstance(said, int)
        except (ValueError, OverflowError):  # which are pydicom's of a text that is no number
            said, whole = dataset.get_item(name).value, False
        if not whole:
            raise ValueError(f"{name} is {str(said)[:40]!r}; expected one whole number")


def functional_groups(dataset: Any, frame: int) -> Iterator[Any]:
    """What holds for a frame: the groups of all frames, and then its own."""
    shared, own = (dataset.get(name) or [] for name in GROUPS)
    yield from [*shared[:1], *own[frame : frame + 1]]


def _frames(dataset: Any, frame: int = 0) -> int:
    """How many frames there are; what applies to this one is put where it is for a single one."""
    for item in functional_groups(dataset, frame):
        for inner in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for values in (item.get(inner) or [])[:1]:
                dataset.update({element.tag: element for element in values if element.keyword in USED})
    return int(dataset.get("NumberOfFrames") or 1)


def _complete(dataset: Any) -> None:
    """Fill in what is left out where it can mean one thing only."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if not any(dataset.get(name) for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise ValueError("no pixels")
    if not isinstance(kind := dataset.get("PhotometricInterpretation", ""), str | None):
        raise ValueError(f"PhotometricInterpretation is {str(kind)[:40]!r}; expected one word")
    if dataset.get("NumberOfFrames") in (None, ""):
        dataset.pop("NumberOfFrames", None)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    allocated = int(dataset.get("BitsAllocated") or 16)
    usual = {
        "SamplesPerPixel": samples,
        "BitsAllocated": allocated,
        "BitsStored": allocated,
        "PixelRepresentation": 0,
        "PhotometricInterpretation": "MONOCHROME2" if samples == 1 else "RGB",
    }
    usual |= {"PlanarConfiguration": 0} if samples > 1 else {}
    for name, value in usual.items():
        if dataset.get(name) in (None, ""):
            setattr(dataset, name, value)
    if dataset.get("HighBit") in (None, ""):
        dataset.HighBit = dataset.BitsStored - 1
    if int(dataset.HighBit) >= int(dataset.BitsAllocated):
        raise ValueError(f"HighBit is {dataset.HighBit}; expected less than the {dataset.BitsAllocated} bits allocated")
    if not dataset.file_meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _stored(path: Path, dataset: Any, frame: int = 0) -> NDArray[Any]:
    """A frame as pydicom decodes it, YBR turned into RGB: (h, w) or (h, w, samples)."""
    from pydicom.encaps import get_frame
    from pydicom.pixels import get_decoder, pixel_array

    from fracturelib.data import dicom_decoders

    syntax, name = dataset.file_meta.TransferSyntaxUID, printable(path)
    if not syntax.is_encapsulated:  # where pydicom clears unused bits, it takes the value to be in the lowest ones
        return np.asarray(pixel_array(dataset, index=frame, correct_unused_bits=False))
    decoders = dicom_decoders.plugins(syntax, int(dataset.SamplesPerPixel))
    if not decoders:
        expected = "expected JPEG, JPEG-LS, JPEG 2000, RLE or uncompressed ones"
        raise InputError(f"{name}: its pixels are {syntax.name}; {expected}")
    _require_frame(
        path, dataset, get_frame(dataset.PixelData, frame, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    )
    available = [plugin for plugin in decoders if plugin in get_decoder(syntax).available_plugins]
    reason = ""
    for plugin in available:
        try:
            return np.asarray(
                pixel_array(dataset, index=frame, decoding_plugin=plugin, correct_unused_bits=not keeps_bits(syntax))
            )
        except Exception as error:  # of any kind; a RuntimeError begins with words about plugins
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            if dicom_decoders.CONTRADICTS in reason:
                break
    if "imagecodecs" in decoders and "imagecodecs" not in available:
        needed = f"{syntax.name} needs a decoder that is not installed"
        raise InputError(f"{name}: {needed}; expected `{INSTALL}` to have been run")
    raise ValueError(reason)


def _require_frame(path: Path, dataset: Any, frame: bytes) -> None:
    """Raise InputError if the compressed frame would become larger than its header says."""
    from pydicom.uid import RLELossless

    pixels = dataset.Rows * dataset.Columns
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        starts = [int(n) for n in np.frombuffer(frame[4:64], "<u4") if n] + [len(frame)]
        for start, stop in pairwise(starts):
            if stop - start > 2 * pixels + 1024 or _rle_length(frame[start:stop], 2 * pixels) > 2 * pixels:
                raise ValueError(f"its data are of more than the {pixels:,} pixels in its header")
    elif size := _frame_size(frame):
        require_size(path, *size)
        if size != (dataset.Columns, dataset.Rows):
            given, said = (f"{width} x {height}" for width, height in (size, (dataset.Columns, dataset.Rows)))
            raise ValueError(f"its data are of {given} pixels, its header says {said}")
        require_few_scans(printable(path), frame, pixels)


def _rle_length(data: bytes, limit: int) -> int:
    """How many bytes run-length coded data become; counted only where that could be more than `limit`."""
    if 64 * len(data) <= max(limit, 1 << 26):
        return 0
    at = total = 0
    while at < len(data) and total <= limit:
        head = data[at]
        total += head + 1 if head < 128 else 257 - head if head > 128 else 0
        at += head + 2 if head < 128 else 2 if head > 128 else 1
    return total


def _frame_size(frame: bytes) -> tuple[int, int] | None:
    """Width and height in the header of JPEG, JPEG-LS (the start of frame) or JPEG 2000 (the SIZ segment)."""

    def number(at: int, size: int) -> int:
        return int.from_bytes(frame[at : at + size], "big")

    if frame[:4] == b"\xff\x4f\xff\x51":
        return number(8, 4) - number(16, 4), number(12, 4) - number(20, 4)
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 9 < len(frame) and frame[at] == 0xFF:
        kind = frame[at + 1]
        if kind == 0xF7 or (0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC)):
            return number(at + 7, 2), number(at + 5, 2)
        at += 1 if kind == 0xFF else 2 + number(at + 2, 2)
    return None


def _grey(dataset: Any, stored: NDArray[Any]) -> NDArray[np.uint8]:
    if stored.ndim == 2:
        return Grey(dataset).of(stored)
    if stored.shape[2] != 3:
        raise ValueError(f"{stored.shape[2]} samples of a pixel; expected 1 or 3")
    kind, known = str(dataset.PhotometricInterpretation), COLOURS
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        known += ("YBR_ICT", "YBR_RCT")  # of JPEG 2000
    if kind not in known or dataset.PixelRepresentation == 1:
        sign = "signed " if dataset.PixelRepresentation == 1 else ""
        raise ValueError(f"three {sign}samples of a pixel as {kind}; expected unsigned ones as {', '.join(known)}")
    stored = Grey(dataset).without_unused(stored)
    if stored.dtype == np.uint8 and dataset.BitsStored == 8:
        return np.asarray(Image.fromarray(stored).convert("L"))
    shown, bits = luma(stored), min(dataset.BitsStored, 8 * stored.dtype.itemsize)
    grey = np.empty(shown.shape, np.uint8)
    for rows in blocks(*shown.shape):
        grey[rows] = np.clip(np.round(shown[rows] / (2.0**bits - 1) * 255), 0, 255)
    return grey
