"""Damage to checkpoints, archives and whole files of other kinds."""

import io
import math
import zipfile
from functools import lru_cache
from typing import Any

from numpy.random import Generator

from tests.fuzz.mutate import STRANGE, any_bytes, json_values, pick

NAN, INF = math.nan, math.inf
MEANINGLESS: tuple[tuple[str, Any], ...] = (
    ("temperature", 0), ("temperature", NAN), ("temperature", INF), ("temperature", -1.0), ("temperature", "1"),
    ("std", 0.0), ("std", NAN), ("std", INF), ("mean", NAN), ("mean", INF), ("default_rule", "other"),
    ("thresholds", {"sensitivity=0.90": NAN}), ("thresholds", {"sensitivity=0.90": 7.0}), ("thresholds", {}),
    ("thresholds", {"sensitivity=0.90": -1.0}), ("thresholds", {"sensitivity=0.90": "0.5"}), ("closer_look", 2),
    ("classes", ["Fractured", "Not Fractured"]), ("classes", ["Fractured"]), ("classes", ["a", "b"]),
    ("size", 0), ("size", -1), ("size", 10**9), ("size", 31.5), ("size", "64"), ("size", 1), ("size", NAN),
    ("architecture", {"name": "small_cnn", "width": 10**9}), ("architecture", {"name": "small_cnn", "width": 0}),
    ("architecture", {"name": "small_cnn", "width": -3}), ("architecture", {"name": "nothing"}),
    ("architecture", {"name": "small_cnn", "other": 1}), ("architecture", {"name": "small_cnn", "seed": "x"}),
    ("architecture", {"name": "deep_ensemble", "members": 2}), ("architecture", {}),
    ("architecture", {"name": "localizing_efficientnet", "closer": True}),
    ("weights", "nan"), ("weights", "inf"), ("weights", "one nan"), ("weights", "missing"), ("weights", "shape"),
    ("weights", "more"), ("weights", "complex"), ("weights", "not tensors"), ("weights", "expanded"),
)  # fmt: skip


def weights(found: dict[str, Any], what: str, rng: Generator) -> None:
    """Make a state dict meaningless."""
    import torch

    floating = [name for name, value in found.items() if value.is_floating_point() and value.numel() > 1]
    name = pick(rng, floating)
    if what in ("nan", "inf"):
        found[name] = torch.full_like(found[name], NAN if what == "nan" else INF)
    elif what == "one nan":
        found[name] = found[name].clone()
        found[name].view(-1)[0] = NAN
    elif what == "missing":
        del found[name]
    elif what == "shape":
        found[name] = found[name][:1] if len(found[name]) > 1 else torch.zeros(3)
    elif what == "more":
        found["more"] = torch.zeros(2)
    elif what == "complex":
        found[name] = found[name].to(torch.complex64)
    elif what == "expanded":
        found[name] = torch.zeros(1).expand(40_000, 40_000)  # 4 bytes in the file
    else:
        found[name] = pick(rng, [None, "x", 1.0, [1.0], {}])


def payload(negative: dict[str, Any], rng: Generator) -> str:
    """Damage a checkpoint's payload; what means nothing any more is named, and "" is said where it may still do."""
    roll = rng.random()
    if roll < 0.5:
        name, value = pick(rng, MEANINGLESS)
        if name == "weights":
            weights(negative["weights"], value, rng)
        else:
            negative["values"][name] = value
        return f"{name} {value}"
    if roll < 0.6:
        negative["values"]["closer_look"] = pick(rng, STRANGE)
    else:
        strange = [v for v in STRANGE if not isinstance(v, str) or len(v) < 1000]
        target = negative["values"] if roll < 0.9 else negative
        json_values(target, rng, strange)
    return ""


def checkpoint_bytes(data: bytes, rng: Generator) -> bytes:
    """Damage the file, or what is packed in it; its pickle among the rest."""
    if rng.random() < 0.5:
        return any_bytes(data, rng)
    source, target = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    names = source.namelist()
    chosen = next(n for n in names if n.endswith("data.pkl")) if rng.random() < 0.6 else pick(rng, names)
    what = int(rng.integers(4))
    with zipfile.ZipFile(target, "w") as archive:
        for name in names:
            content = source.read(name)
            if name == chosen and what == 0:
                continue
            archive.writestr(name, any_bytes(content or b"\0", rng) if name == chosen and what < 3 else content)
        if what == 3:
            name = pick(rng, (names[0], names[0].rsplit("/", 1)[0] + "/data/999", "../up", "other/data.pkl"))
            archive.writestr(name, zeros(1 << 20), zipfile.ZIP_DEFLATED)
    return target.getvalue()


@lru_cache(maxsize=2)
def zeros(size: int) -> bytes:
    return bytes(size)


@lru_cache(maxsize=1)
def bomb() -> bytes:
    """An archive of a few hundred kilobytes that holds 400 MB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for i in range(4):
            archive.writestr(f"train/Fractured/{i}.jpg", zeros(100_000_000))
    return buffer.getvalue()


NAMES = ("../up.jpg", "/absolute.jpg", "C:\\x.jpg", "..\\up.jpg", "train/Fractured/../../../up.jpg", "train/Fractured",
         "train/Fractured/" + "x" * 300 + ".jpg", "train/Fractured/a\0b.jpg", "train/Fractured/\x1b[31m.jpg", "",
         "train/Fractured/CON.jpg", "train/Fractured/a\nb.jpg", "train//Fractured/image000.jpg", "./train/x.jpg",
         "train/fractured/IMAGE000.JPG",
         "d/" * 200 + "x.jpg", "train/Fractured/\ud800.jpg", "manifest.csv")  # fmt: skip


def archive(data: bytes, rng: Generator) -> bytes:
    """Damage a zip file: its bytes, its directory, names, links, flags, sizes and methods."""
    roll = rng.random()
    if roll < 0.3:
        return any_bytes(data, rng)
    if roll < 0.32:
        return bomb()
    if roll < 0.5:  # the directory at its end
        at = data.find(b"PK\1\2")
        return data[:at] + any_bytes(data[at:], rng)
    source, target = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    method = pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(target, "w", method) as out:
        for name in source.namelist():
            out.writestr(name, source.read(name))
        for _ in range(int(rng.integers(1, 3))):
            info = zipfile.ZipInfo(pick(rng, NAMES).encode("utf-8", "replace").decode() or "x")
            content = pick(rng, (b"", b"x", b"/etc/passwd", b"../../up", source.read(source.namelist()[0])))
            if rng.random() < 0.3:
                info.external_attr = 0o120777 << 16  # a link
            out.writestr(info, content)
    changed = bytearray(target.getvalue())
    if roll > 0.8:  # of one entry, in both places: flags (encrypted), method, sizes
        for mark, field in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            place = changed.find(mark) + field
            if roll > 0.93:
                changed[place : place + 2] = b"\1\0"
            elif roll > 0.87:
                changed[place + 2 : place + 4] = pick(rng, (b"\x63\0", b"\1\0", b"\x0c\0"))
            else:
                changed[place + 16 : place + 20] = pick(rng, (b"\xff\xff\xff\xff", bytes(4), b"\0\0\0\x7f"))
    return bytes(changed)


def name_of_file(rng: Generator) -> bytes:
    """A name that a file system takes, and a program may not; without its suffix."""
    return pick(rng, (
        b"\xff\xfe\xe9", b"caf\xc3\xa9", b"x" * 244, b"a\nb", b"a\rb", b"\x1b[31mred", b"=cmd|' /C calc'!A0", b"-rf",
        b"@SUM(1)",
        b"+1", b"$x_$\\frac$", b"$", b"%s%n", b"{0.__class__}", b"a,b", b'a"b', b"a;b", b"a\tb",
        b"<script>alert(1)</script>",
        b" lead", b"trail ", b"..x", b"~", b"a\\b", b"a'b", b"#", b"\xe2\x80\xaemirror", b"\xf0\x9f\xa6\xb4", b"nan",
        b"NULL",
        b"con", b"[x]", b"*", b"?", b"a.png", b"\xed\xa0\x80", b"\x7f", b"&lt;", b"auc", b"path", b"e\xcc\x81",
        b"\xc3\xa9",
        b"1e5", b"True", b"007", b"a%2fb", b"http:", b"\\\\server",
    )) if rng.random() < 0.9 else rng.bytes(8).replace(b"/", b"_").replace(b"\0", b"_")  # fmt: skip
