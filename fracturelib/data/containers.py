"""Limits that a file's container keeps to before a decoder opens it: each would cost minutes, or the memory."""

from pathlib import Path
from typing import BinaryIO

from fracturelib._io.files import InputError, printable
from fracturelib.data.pixels import MAX_DEEP, require_size

MAX_SCANNED = 4_000_000_000  # pixels times scans of a progressive JPEG, of which cameras and programs make 6 to 12
MAX_PROGRESSIVE = 200_000_000  # samples of a progressive JPEG, each of which takes two bytes until the last scan
MAX_EXIF = 2**20  # bytes
MAX_SEGMENTS = 4096  # before the pixels of a JPEG, which Pillow reads one by one
MAX_JUNK = 2**16  # bytes between two segments, which it passes over one by one
MAX_CHUNKS = 2**17  # of a PNG
MAX_WEBP = 40_000_000  # pixels; its decoder takes 16 bytes for each, and takes them as the file is opened


def require_container(path: Path, file: BinaryIO, head: bytes) -> None:
    """Raise InputError for an open file, left at its beginning, that is beyond what its format needs."""
    if head.startswith(b"\xff\xd8"):
        _require_segments(path, file)
    elif head.startswith(b"\x89PNG"):
        _require_chunks(path, file)
    elif head.startswith(b"BM") and len(head) > 34:
        _require_bmp(path, head)
    elif head[8:12] == b"WEBP" and (size := _webp_size(head)):
        require_size(path, *size, most=MAX_WEBP)
    file.seek(0)


def require_few_scans(name: str, data: bytes, pixels: int) -> None:
    """Raise InputError for a progressive JPEG that goes over its pixels so often that it would take minutes."""
    scans = data.count(b"\xff\xda")
    if scans * pixels > MAX_SCANNED:
        raise InputError(f"{name}: a JPEG of {scans:,} scans of {pixels:,} pixels; expected a dozen")


def require_progressive(path: Path, samples: int) -> None:
    """Raise InputError for a progressive JPEG whose coefficients would fill the memory."""
    if samples > MAX_PROGRESSIVE:
        raise InputError(
            f"{printable(path)}: a progressive JPEG of {samples:,} samples; expected at most {MAX_PROGRESSIVE:,}"
        )


def _require_segments(path: Path, file: BinaryIO) -> None:
    """Of a JPEG: not too many segments, EXIF data that Pillow can join, and no wide gap between two of them."""
    at, total = 2, 0
    for _ in range(MAX_SEGMENTS):
        file.seek(at)
        marker = file.read(10)
        if marker[:1] != b"\xff":
            junk = (marker + file.read(MAX_JUNK)).find(b"\xff")
            if junk < 0 and len(marker) == 10:
                raise InputError(f"{printable(path)}: {MAX_JUNK:,} bytes that are no JPEG; expected a whole image")
            at += max(junk, 1)
            if junk < 0:
                return
            continue
        if len(marker) < 10 or marker[1] in (0xD9, 0xDA):
            return
        length = int.from_bytes(marker[2:4], "big")
        total += length if marker[1] == 0xE1 and marker[4:] == b"Exif\0\0" else 0
        if total > MAX_EXIF:
            raise InputError(f"{printable(path)}: more than {MAX_EXIF:,} bytes of EXIF data; expected a few thousand")
        at += 1 if marker[1] == 0xFF else 2 + length
    raise InputError(f"{printable(path)}: more than {MAX_SEGMENTS:,} segments before its pixels; expected a few")


def _require_chunks(path: Path, file: BinaryIO) -> None:
    """Of a PNG: not too many chunks, and no more bytes of deep colour than memory is for."""
    file.seek(16)
    header = file.read(10)
    width, height = (int.from_bytes(header[i : i + 4], "big") for i in (0, 4))
    size = width * height * {2: 6, 4: 4, 6: 8}.get(header[9], 2) if header[8:9] == b"\x10" else 0
    if size > MAX_DEEP:
        raise InputError(f"{printable(path)}: {size:,} bytes of pixels; expected at most {MAX_DEEP:,}")
    at = 8
    for _ in range(MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        at += 12 + int.from_bytes(head[:4], "big")
    raise InputError(f"{printable(path)}: more than {MAX_CHUNKS:,} chunks; expected a few")


def _require_bmp(path: Path, head: bytes) -> None:
    """Of a run-length coded BMP: not much more data than its pixels could need."""
    width, height = (abs(int.from_bytes(head[i : i + 4], "little", signed=True)) for i in (18, 22))
    size, most = path.stat().st_size, 4 * width * height + 2**20
    if head[30] in (1, 2) and size > most:
        raise InputError(f"{printable(path)}: {size:,} bytes of {width} x {height} pixels; expected at most {most:,}")


def _webp_size(head: bytes) -> tuple[int, int] | None:
    """Width and height in the first chunk of a WebP file, as its container specification has them."""
    if head[12:16] == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if head[12:16] == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if head[12:16] == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None
