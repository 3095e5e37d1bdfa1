"""Damage to DICOM files, element by element."""

import struct

from numpy.random import Generator

from tests.fuzz.mutate import INTERESTING, any_bytes, pick

LONG = (b"OB", b"OW", b"OF", b"SQ", b"UN", b"UT", b"OD", b"OL", b"UC", b"UR")
VRS = (b"US", b"SS", b"DS", b"IS", b"CS", b"LO", b"UI", b"OB", b"OW", b"SQ", b"UN", b"FD", b"AT", b"PN", b"XX", b"\0\0")
TEXTS = (b"", b"nan ", b"inf ", b"-1", b"0 ", b"1e400 ", b"abc ", b"1\\2\\", b"9" * 300, b"0.0 ", b"\xff\xfe", b"-0.5",
         b"1\\x ", b"MONOCHROME1 ", b"MONOCHROME2 ", b"RGB ", b"YBR_FULL_422", b"PALETTE COLOR ", b"ARGB", b"SIGMOID ",
         b"LINEAR_EXACT", b"INVERSE ", b"ISO_IR 192", b"ISO 2022 IR 87", b"1.2.840.10008.1.2.4.70",
         b"1.2.840.10008.1.2",
         b"1.2.840.10008.1.2.4.80\0", b"1.2.840.10008.1.2.4.90\0", b"1.2.840.10008.1.2.5 ", b"1.2.840.10008.1.2.2 ",
         b"1.2.840.10008.1.2.1.99", b"1.2.840.10008.5.1.4.1.1.88.11 ", b"9.9.9.9.9 ")  # fmt: skip
ADDED = (  # group, element, VR, value
    (0x28, 0x08, b"IS", b"0 "), (0x28, 0x08, b"IS", b"2000000000"), (0x28, 0x08, b"IS", b"2 "),
    (0x28, 0x1050, b"DS", b"nan "), (0x28, 0x1050, b"DS", b"100\\"), (0x28, 0x1051, b"DS", b"0 "),
    (0x28, 0x1051, b"DS", b"-5"), (0x28, 0x1052, b"DS", b"-1e300"), (0x28, 0x1052, b"DS", b"-1000 "),
    (0x28, 0x1053, b"DS", b"0 "), (0x28, 0x1053, b"DS", b"1e400 "), (0x28, 0x1053, b"DS", b"-1"),
    (0x28, 0x1056, b"CS", b"SIGMOID "), (0x28, 0x1056, b"CS", b"NOTHING "), (0x2050, 0x20, b"CS", b"INVERSE "),
    (0x28, 0x120, b"US", b"\xff\xff"), (0x28, 0x121, b"US", b"\0\0"), (0x28, 0x3010, b"SQ", b""),
    (0x28, 0x3000, b"SQ", b"\xfe\xff\0\xe0\xff\xff\xff\x7f"), (0x28, 0x1101, b"US", b"\0\0\0\0\x10\0"),
    (0x28, 0x1201, b"OW", b"\1"), (0x08, 0x05, b"CS", b"nonsense"), (0x08, 0x60, b"CS", b"SR"),
    (0x28, 0x06, b"US", b"\1\0"), (0x7FE0, 0x08, b"OF", bytes(8)), (0x28, 0x34, b"IS", b"1\\0 "),
)  # fmt: skip


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """An element in explicit VR, little-endian, perhaps with a wrong length."""
    size = len(value) if length is None else length
    head = struct.pack("<HH", group, number) + vr
    if vr in LONG:
        return head + b"\0\0" + struct.pack("<I", size & 0xFFFFFFFF) + value
    return head + struct.pack("<H", size & 0xFFFF) + value


def elements(data: bytes) -> list[tuple[int, int, bytes, bytes]]:
    """Group, number, VR and value of each element up to the pixels, and then those in one piece; none if implicit."""
    found, at = [], 132
    while at + 8 <= len(data):
        group, number, vr = *struct.unpack("<HH", data[at : at + 4]), data[at + 4 : at + 6]
        if not vr.isalpha() or not vr.isupper():
            return []
        start = at + (12 if vr in LONG else 8)
        size = struct.unpack("<I" if vr in LONG else "<H", data[start - (4 if vr in LONG else 2) : start])[0]
        if size == 0xFFFFFFFF:  # compressed, or a sequence: the rest as it is
            return [*found, (group, number, vr, data[start:])] if group == 0x7FE0 else []
        found.append((group, number, vr, data[start : start + size]))
        at = start + size
    return found


def dicom(data: bytes, rng: Generator) -> bytes:
    """Values, VRs, lengths, presence and order of elements; or any bytes."""
    parts = elements(data)
    if not parts or rng.random() < 0.3:
        return any_bytes(data, rng)
    undefined = parts[-1][0] == 0x7FE0 and data.find(struct.pack("<HH", *parts[-1][:2]) + b"OB\0\0\xff\xff\xff\xff") > 0
    lengths: dict[int, int] = {len(parts) - 1: 0xFFFFFFFF} if undefined else {}
    out: list[bytes] = []
    chosen = {int(i) for i in rng.integers(len(parts), size=int(rng.integers(1, 3)))}
    for i, (group, number, vr, value) in enumerate(parts):
        length = lengths.get(i)
        if i in chosen:
            what = int(rng.integers(7))
            if what < 3 and group != 0x7FE0:
                new = struct.pack("<I", pick(rng, INTERESTING))[: 2 if len(value) == 2 else 4]
                value = new if vr in (b"US", b"SS", b"UL") else pick(rng, TEXTS)
            elif what == 3:
                vr = pick(rng, VRS)
            elif what == 4:
                length = pick(rng, INTERESTING)
            elif what == 5:
                continue
            else:
                value = any_bytes(value or b"\0", rng)
        out.append(element(group, number, vr, value, length))
    if rng.random() < 0.4:
        out.insert(int(rng.integers(len(out) + 1)), element(*pick(rng, ADDED)))
    head = data[:132] if rng.random() < 0.93 else pick(rng, (b"", bytes(128), data[:64]))
    return head + b"".join(out)
