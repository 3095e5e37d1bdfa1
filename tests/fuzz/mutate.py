"""Damage: to any bytes, to the fields of image files, to the cells of tables, to the values of JSON."""

import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from numpy.random import Generator

INTERESTING = (0, 1, 2, 7, 8, 15, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
Mutator = Callable[[bytes, Generator], bytes]


def pick(rng: Generator, options: Sequence[Any]) -> Any:
    """One of them."""
    return options[int(rng.integers(len(options)))]


def spot(data: bytes, rng: Generator) -> int:
    """A place in the data, as often in its first 160 bytes as anywhere."""
    return int(rng.integers(max(1, min(len(data), 160) if rng.random() < 0.5 else len(data))))


def any_bytes(data: bytes, rng: Generator) -> bytes:
    """Flip, overwrite, cut, insert, repeat or delete, one to four times."""
    for _ in range(int(rng.integers(1, 5))):
        at, length = spot(data, rng), int(rng.choice([1, 2, 4, 16, 200]))
        what = int(rng.integers(8))
        if what == 0:
            data = data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :] if data else b"\0"
        elif what == 1:
            data = data[:at] + rng.bytes(length) + data[at + length :]
        elif what == 2:
            data = data[:at] + pick(rng, [b"\0", b"\xff"]) * length + data[at + length :]
        elif what == 3 and rng.random() < 0.5:
            data = data[: max(1, at)]
        elif what == 4:
            data = data[:at] + rng.bytes(length) + data[at:]
        elif what == 5:
            data = data[:at] + data[at : at + length] * 2 + data[at + length :]
        elif what == 6:
            data = data[:at] + data[at + length :]
        else:
            order = pick(rng, ["<I", ">I", "<H", ">H"])
            number = struct.pack(order, pick(rng, INTERESTING) % 256 ** struct.calcsize(order))
            data = data[:at] + number + data[at + len(number) :]
    return data


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG: kind and content."""
    found, at = [], 8
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += length + 12
    return found


def chunk(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    """A chunk of a PNG with a right checksum, and perhaps a wrong length."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content) if length is None else length) + kind + content + struct.pack(">I", checksum)


EXTRA = (
    (b"iCCP", b"x\0\0" + zlib.compress(b"no profile")), (b"zTXt", b"k\0\0" + zlib.compress(bytes(3_000_000), 9)),
    (b"tRNS", b"\0\1\2"), (b"PLTE", b"\0\1"), (b"gAMA", bytes(4)), (b"acTL", struct.pack(">II", 9, 0)),
    (b"fcTL", bytes(26)), (b"pHYs", bytes(9)), (b"cHRM", bytes(3)), (b"IEND", b""), (b"tEXt", b"\0" * 9),
    (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta"), (b"sRGB", b""),
)  # fmt: skip


def png(data: bytes, rng: Generator) -> bytes:
    """Header fields, lengths, order and contents of chunks, checksums made right again."""
    parts = chunks(data)
    i = 0 if rng.random() < 0.4 else int(rng.integers(len(parts)))
    kind, content = parts[i]
    what = int(rng.integers(6))
    if what == 0 and kind == b"IHDR":
        fields = list(struct.unpack(">IIBBBBB", content))
        f = int(rng.integers(7))
        fields[f] = pick(rng, INTERESTING) if f < 2 else int(rng.integers(18))
        parts[i] = (kind, struct.pack(">IIBBBBB", *fields))
    elif what == 1:
        parts[i] = (kind, any_bytes(content or b"\0", rng))
    elif what == 2:
        parts.insert(int(rng.integers(len(parts) + 1)), pick(rng, EXTRA))
    elif what == 3:
        del parts[i]
    elif what == 4:
        parts.insert(i, parts[int(rng.integers(len(parts)))])
    else:
        wrong = pick(rng, INTERESTING)
        return data[:8] + b"".join(chunk(k, c, wrong if j == i else None) for j, (k, c) in enumerate(parts))
    return data[:8] + b"".join(chunk(k, c) for k, c in parts)


def segments(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """The segments of a JPEG up to its scan (marker, content), and the rest."""
    found, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        found.append((data[at + 1], data[at + 4 : at + 2 + length]))
        at += 2 + length
    return found, data[at:]


def segment(marker: int, content: bytes, length: int | None = None) -> bytes:
    """A segment of a JPEG, perhaps with a wrong length."""
    size = (len(content) + 2 if length is None else length) & 0xFFFF
    return bytes([0xFF, marker]) + size.to_bytes(2, "big") + content[:65533]


SEGMENTS = (
    (0xEE, b"Adobe\0d\0\0\0\0\2"), (0xEE, b"Adobe\0d"), (0xE2, b"ICC_PROFILE\0\1\2" + bytes(40)), (0xDD, b"\0\1"),
    (0xE2, b"MPF\0II*\0" + bytes(20)), (0xED, b"Photoshop 3.0\x008BIM\4\4" + bytes(9)), (0xFE, bytes(300)),
    (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta"), (0xE1, b"Exif\0\0"), (0xE0, b"JFIF\0\1\1\1" + bytes(2)),
)  # fmt: skip


def jpeg(data: bytes, rng: Generator) -> bytes:
    """Frame header, tables, lengths and order of segments."""
    parts, rest = segments(data)
    frames = [j for j, (marker, _) in enumerate(parts) if marker in (0xC0, 0xC1, 0xC2)]
    i = frames[0] if frames and rng.random() < 0.4 else int(rng.integers(len(parts)))
    marker, content = parts[i]
    what, wrong = int(rng.integers(6)), None
    if what == 0:
        parts[i] = (pick(rng, [0xC0, 0xC2, 0xC3, 0xC9, 0xF7, 0xDB, 0xC4]), content)
    elif what == 1:
        at = int(rng.integers(len(content) or 1))
        number = pick(rng, [b"\0\0", b"\0\1", b"\xff\xff", b"\0", b"\x11", b"\x44", b"\x0c", b"\xff", b"\x10\0"])
        parts[i] = (marker, content[:at] + number + content[at + len(number) :])
    elif what == 2:
        parts.insert(int(rng.integers(len(parts) + 1)), pick(rng, SEGMENTS))
    elif what == 3:
        del parts[i]
    elif what == 4:
        parts.insert(int(rng.integers(len(parts))), parts[i])
    else:
        wrong = pick(rng, INTERESTING)
    if rng.random() < 0.2:
        rest = any_bytes(rest, rng)
    return b"\xff\xd8" + b"".join(segment(m, c, wrong if j == i else None) for j, (m, c) in enumerate(parts)) + rest


TAGS = (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 282, 284, 317, 320, 322, 323, 324, 325, 338, 339,
        330, 347, 530, 532, 34665, 34675, 700, 33723, 0x8825, 0xA005)  # fmt: skip


def ifd(data: bytes) -> tuple[str, int, int]:
    """Byte order, place and number of entries of the first directory of a TIFF; as little-endian if it is neither."""
    order = ">" if data[:2] == b"MM" else "<"
    at = struct.unpack(order + "I", data[4:8].ljust(4, b"\0"))[0]
    count = struct.unpack(order + "H", data[at : at + 2].ljust(2, b"\0"))[0] if at < len(data) else 0
    return order, at, count


def tiff(data: bytes, rng: Generator) -> bytes:
    """Tags, types, counts, values and offsets of the first directory, the count of entries and the next directory."""
    order, at, count = ifd(data)
    if not count or at + 2 + 12 * count > len(data):
        return any_bytes(data, rng)
    for _ in range(int(rng.integers(1, 3))):
        entry = at + 2 + 12 * int(rng.integers(count))
        what = int(rng.integers(7))
        if what == 0:
            place, new = entry, struct.pack(order + "H", pick(rng, TAGS))
        elif what == 1:
            place, new = entry + 2, struct.pack(order + "H", int(rng.integers(20)))
        elif what == 2:
            place, new = entry + 4, struct.pack(order + "I", pick(rng, INTERESTING))
        elif what in (3, 4):
            place, new = entry + 8, struct.pack(order + "I", pick(rng, (*INTERESTING, len(data), len(data) - 1, at)))
        elif what == 5:
            place, new = at, struct.pack(order + "H", pick(rng, INTERESTING) & 0xFFFF)
        else:
            place, new = at + 2 + 12 * count, struct.pack(order + "I", pick(rng, (at, 8, len(data), 2**32 - 1)))
        data = data[:place] + new + data[place + len(new) :]
    return data


def riff(data: bytes, rng: Generator) -> bytes:
    """Sizes, kinds and contents of the chunks of a WebP."""
    at = 12 if rng.random() < 0.7 else 0
    while rng.random() < 0.4 and at >= 12 and at + 8 < len(data):
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
    new = pick(rng, [struct.pack("<I", pick(rng, INTERESTING)), b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"VP8L", b"EXIF"])
    place = at + 4 if len(new) == 4 and not new.isalnum() else at
    if rng.random() < 0.4:
        place, new = at + 8 + int(rng.integers(12)), rng.bytes(3)
    return data[:place] + new + data[place + len(new) :]


def bmp(data: bytes, rng: Generator) -> bytes:
    """Fields of the header of a BMP."""
    place = pick(rng, [2, 10, 14, 18, 22, 26, 28, 30, 34, 46, 50])
    number = struct.pack("<I", pick(rng, (*INTERESTING, 12, 40, 108, 124, 2**32 - 40)))
    return data[:place] + number + data[place + 4 :]


def exif_block(rng: Generator) -> bytes:
    """A directory whose orientation, and whatever else, may be of any type, count and value."""
    order = pick(rng, "<>")
    tags = [0x0112, *(int(t) for t in rng.choice(TAGS, int(rng.integers(4))))]
    entries = b"".join(
        struct.pack(order + "HHII", tag, pick(rng, (1, 2, 3, 3, 3, 4, 5, 7, 9, 12, 13, 99)),
                    pick(rng, (1, 1, 1, 0, 2, 5000, 2**32 - 1)), pick(rng, (1, 3, 6, 8, 9, 6 << 16, *INTERESTING)))
        for tag in tags
    )  # fmt: skip
    mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    block = mark + struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", pick(rng, (0, 0, 8, 99)))
    return any_bytes(block, rng) if rng.random() < 0.4 else block


def with_exif(data: bytes, suffix: str, rng: Generator) -> bytes:
    """An image that carries such a block: JPEG, PNG or WebP (one with a VP8X header)."""
    block = exif_block(rng)
    if suffix == ".jpg":
        at = pick(rng, (2, 2, 20))
        return data[:at] + segment(0xE1, pick(rng, (b"Exif\0\0", b"Exif\0\0", b"Exif\0", b"")) + block) + data[at:]
    if suffix == ".png":
        return data[:33] + chunk(b"eXIf", block) + data[33:]
    start = data.find(b"EXIF")
    body = data[:start] + b"EXIF" + struct.pack("<I", len(block)) + block + b"\0" * (len(block) % 2)
    return b"RIFF" + struct.pack("<I", len(body) - 8) + body[8:]


BY_FORMAT: dict[str, Mutator] = {
    ".png": png, ".jpg": jpeg, ".tif": tiff, ".webp": riff, ".bmp": bmp,
}  # fmt: skip

STRANGE: tuple[Any, ...] = (
    float("nan"), float("inf"), 1e400, -1, 0, 0.5, 1e300, -1e300, 2**31, 2**63, 10**400, "", " ", "0", "-1", "nan",
    None, [], {}, [[]], [None], [float("nan")] * 4, True, False, "x" * 100_000, "\0", "\x1b[31m", "=cmd|' /C calc'!A0",
    "../../up", "/absolute", "..", ".", "a\nb", "\ud800", "é" * 90, "<script>alert(1)</script>", "train", "1e999",
    {"counts": "xyz", "size": [9, 9]}, [1, 2, 3], [[1, 2, 3, 4, 5]], [[0.0] * 6], [0, 0, 0, 0], [-5, -5, 1e9, 1e9],
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to all values inside dictionaries and lists."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, one in inside:
        yield (*path, key)
        yield from places(one, (*path, key))


def json_values(value: Any, rng: Generator, strange: Sequence[Any] = STRANGE) -> Any:
    """Replace, remove or double one to three values; `value` is changed, and returned."""
    for _ in range(int(rng.integers(1, 4))):
        paths = [p for p in places(value) if len(p) == 1] if rng.random() < 0.15 else list(places(value))
        if not paths:
            return pick(rng, strange)
        *path, last = pick(rng, paths)
        parent = value
        for key in path:
            parent = parent[key]
        if isinstance(parent, tuple):
            continue
        if rng.random() < 0.15:
            del parent[last]
        elif isinstance(parent, list) and rng.random() < 0.2:
            parent.insert(0, parent[last])
        else:
            parent[last] = pick(rng, strange)
    return value


def json_text(value: Any, rng: Generator) -> bytes:
    """A JSON file with strange values; or a damaged one, or one that is too deep or not UTF-8."""
    roll = rng.random()
    if roll < 0.06:
        return b"[" * int(rng.choice([50, 5000, 200_000]))
    if roll < 0.75:
        value = json_values(value, rng)
    text = json.dumps(value).encode(pick(rng, ["utf-8"] * 8 + ["utf-16", "utf-8-sig"]), "surrogatepass")
    return any_bytes(text, rng) if roll > 0.65 else text


CELLS = ("", " ", "nan", "NaN", "inf", "-inf", "-1", "0", "1", "2", "1.0", "0.5", "1e300", "1e-320", "9" * 400, "True",
         "yes", "Fractured", "no", "None", "../../x", "/etc/x", "..", ".", "./a", "a//b", "x" * 5000, '"', '""', "'",
         "\x1b[2J", "=1+1", "@x", "valid", "Train", "TEST", "holdout", "\ud7ff", "\x00", "a\nb", "<b>", "1,5", "0x10",
         "64px", "$x_$", "%s", "{0}", "NULL", "1_000", "\u0661", "val ", "unknown", "auc", "path")  # fmt: skip


def table(text: str, rng: Generator) -> bytes:
    """A table with strange cells, names of columns, separators, quotes, lines and encodings; or simply damaged."""
    rows = [line.split(",") for line in text.strip().splitlines()]
    for _ in range(int(rng.integers(1, 4))):
        r, c = int(rng.integers(len(rows))), int(rng.integers(len(rows[0])))
        what = int(rng.integers(10))
        if what < 4:
            rows[r] = [*rows[r][:c], pick(rng, CELLS), *rows[r][c + 1 :]]
        elif what == 4:  # a whole column
            value = pick(rng, CELLS)
            rows[1:] = [[*row[:c], value, *row[c + 1 :]] for row in rows[1:]]
        elif what == 5:
            rows[0] = [*rows[0][:c], pick(rng, (*CELLS, *rows[0])), *rows[0][c + 1 :]]
        elif what == 6:
            rows = [row[:c] + row[c + 1 :] for row in rows] if len(rows[0]) > 1 else rows
        elif what == 7:
            rows.insert(r, rows[r] if rng.random() < 0.5 else rows[r] + ["more"])
        elif what == 8:
            rows = [[*row, pick(rng, CELLS)] for row in rows]
        elif len(rows) > 1:
            del rows[r]
    separator, end = pick(rng, [","] * 9 + [";", "\t", "|"]), pick(rng, ["\n"] * 6 + ["\r\n", "\r"])
    encoding = pick(rng, ["utf-8"] * 9 + ["utf-8-sig", "utf-16", "latin-1"])
    content = end.join(separator.join(row) for row in rows).encode(encoding, "replace") + end.encode()
    return any_bytes(content, rng) if rng.random() < 0.15 else content
