"""Image files that no common program writes: TIFF and PNG put together byte by byte."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIZES = {3: ("H", 2), 4: ("I", 4)}


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: NDArray[np.generic], *extra: bytes) -> bytes:
    """A PNG of 8 or 16 bits: (h, w) grey, (h, w, 2) with alpha, 3 colours, 4 with alpha; `extra` chunks come first."""
    height, width = pixels.shape[:2]
    bits = 8 * pixels.dtype.itemsize
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[1 if pixels.ndim == 2 else pixels.shape[2]]
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def tiff(
    pixels: NDArray[np.generic],
    *,
    photometric: int | None = None,
    orientation: int = 1,
    order: str = "<",
    apart: bool = False,
    deflate: bool = False,
    tile: int = 0,
    extra: int | None = None,
    tags: Sequence[tuple[int, int, int]] = (),
) -> bytes:
    """A TIFF of any type of number: (h, w) or (h, w, samples), in one strip, or one for each plane, or in tiles.

    `tags` are (tag, kind, value), which replace what would be written.
    """
    height, width = pixels.shape[:2]
    samples = 1 if pixels.ndim == 2 else pixels.shape[2]
    values = pixels.astype(pixels.dtype.newbyteorder(order)).reshape(height, width, samples)
    parts = [values[..., i] for i in range(samples)] if apart else [values]
    if tile:
        padded = np.pad(values, ((0, -height % tile), (0, -width % tile), (0, 0)))
        parts = [
            padded[y : y + tile, x : x + tile]
            for y in range(0, height, tile) for x in range(0, width, tile)
        ]  # fmt: skip
    blobs = [zlib.compress(part.tobytes()) if deflate else part.tobytes() for part in parts]
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    photometric = photometric if photometric is not None else (1 if samples < 3 else 2)
    entries: dict[int, tuple[int, list[int]]] = {
        256: (4, [width]), 257: (4, [height]), 258: (3, [8 * pixels.dtype.itemsize] * samples),
        259: (3, [8 if deflate else 1]), 262: (3, [photometric]), 274: (3, [orientation]), 277: (3, [samples]),
        284: (3, [2 if apart else 1]), 339: (3, [kind] * samples),
    }  # fmt: skip
    if extra is not None:
        entries[338] = (3, [extra])
    if tile:
        entries |= {322: (3, [tile]), 323: (3, [tile])}
    else:
        entries[278] = (4, [height])
    places, counts = (324, 325) if tile else (273, 279)
    entries |= {places: (4, [0] * len(blobs)), counts: (4, [len(blob) for blob in blobs])}
    entries |= {tag: (kind, [value]) for tag, kind, value in tags}
    beside = sum(len(v) * SIZES[k][1] for k, v in entries.values() if len(v) * SIZES[k][1] > 4)
    at = 8 + 2 + 12 * len(entries) + 4
    start = at + beside
    offsets = [start + sum(map(len, blobs[:i])) for i in range(len(blobs))]
    entries[places] = (4, offsets)
    listed, outside = b"", b""
    for tag, (kind, numbers) in sorted(entries.items()):
        packed = struct.pack(order + SIZES[kind][0] * len(numbers), *numbers)
        if len(packed) > 4:
            listed += struct.pack(order + "HHII", tag, kind, len(numbers), at + len(outside))
            outside += packed
        else:
            listed += struct.pack(order + "HHI", tag, kind, len(numbers)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    return head + listed + struct.pack(order + "I", 0) + outside + b"".join(blobs)
