"""Zip files that would do harm are refused before anything is written; ordinary ones come out whole."""

import io
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from fracturelib._io.files import InputError
from fracturelib.curate import archive as _archive
from fracturelib.curate.archive import unzip
from fracturelib.curate.importer import import_dataset
from tests.conftest import ROOT


def packed(path: Path, *entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as opened:
        for name, data in entries:
            opened.writestr(name, data)
    return path


def with_flag(path: Path, bit: int) -> Path:
    """The file with a general purpose bit set in every header."""
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            data[at + place] |= bit
    path.write_bytes(data)
    return path


def linked(path: Path) -> Path:
    entry = zipfile.ZipInfo("set/link.jpg")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(entry, "/etc/passwd")
    return path


def declared(path: Path, size: int) -> Path:
    """One entry that says it unpacks to `size` bytes."""
    packed(path, ("set/a.jpg", bytes(5000)))
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", size)
    path.write_bytes(data)
    return path


def method_of(path: Path, method: int) -> Path:
    packed(path, ("set/a.jpg", b"x" * 99), method=zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = data.find(mark)
        data[at + place : at + place + 2] = struct.pack("<H", method)
    path.write_bytes(data)
    return path


def many(path: Path, count: int) -> Path:
    """A list of `count` entries, written without zipfile, which would take minutes."""
    local = b"PK\x03\x04" + bytes(26)
    row = b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0)
    rows = b"".join(row + b"%08d" % i for i in range(count))
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count % 2**16, count % 2**16, len(rows), len(local), 0)
    path.write_bytes(local + rows + end)
    return path


def nul(path: Path) -> Path:
    packed(path, ("set/a_.jpg", b"x"))
    path.write_bytes(path.read_bytes().replace(b"set/a_", b"set/a\0"))
    return path


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "up": (lambda p: packed(p, ("set/../../a.jpg", b"x")), "leaves the folder"),
    "absolute": (lambda p: packed(p, ("/a.jpg", b"x")), "leaves the folder"),
    "drive": (lambda p: packed(p, ("C:\\a.jpg", b"x")), "leaves the folder"),
    "up by backslash": (lambda p: packed(p, ("set\\..\\..\\a.jpg", b"x")), "leaves the folder"),
    "encrypted": (lambda p: with_flag(packed(p, ("set/a.jpg", b"x")), 1), "is encrypted"),
    "lzma": (lambda p: packed(p, ("set/a.jpg", b"x"), method=zipfile.ZIP_LZMA), "is packed by lzma"),
    "bzip2": (lambda p: packed(p, ("set/a.jpg", b"x"), method=zipfile.ZIP_BZIP2), "is packed by bzip2"),
    "unknown method": (lambda p: method_of(p, 77), "is packed by method 77; expected stored or deflate"),
    "link": (linked, "is a link or a device"),
    "twice": (lambda p: packed(p, ("set/a.jpg", b"x"), ("set//a.jpg", b"y")), "'set/a.jpg' is there twice"),
    "file and folder": (lambda p: packed(p, ("set/a", b"x"), ("set/a/b.jpg", b"y")), "is a file and a folder"),
    "nul": (nul, "has no name that a file can have"),
    "long": (lambda p: packed(p, ("a" * 300 + ".jpg", b"x")), "a name of 304 characters"),
    "long in bytes": (lambda p: packed(p, ("\u00e9" * 200 + ".jpg", b"x")), "a name of 204 characters"),
    "deep": (lambda p: packed(p, ("a/" * 2000 + "b.jpg", b"x")), "a name of 4,005 characters"),
    "bomb": (lambda p: packed(p, ("set/a.jpg", bytes(300 * 2**20))), "bytes that unpack to 314,572,800"),
    "larger than the disk": (lambda p: declared(p, 2**32 - 2), "4,294,967,294"),
    "many": (lambda p: many(p, 1_000_000), "entries or more; expected at most 200,000"),
    "cut": (lambda p: _cut(packed(p, ("set/a.jpg", bytes(range(256)) * 99), method=0)), "a damaged zip file"),
    "no zip": (lambda p: _text(p), "a damaged zip file"),
    "wrong sum": (lambda p: _flipped(packed(p, ("set/a.jpg", b"abc" * 99), method=0)), "a damaged zip file"),
    "wrong size": (lambda p: declared(p, 4000), "a damaged zip file"),
}


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-30])
    return path


def _text(path: Path) -> Path:
    path.write_text("no zip")
    return path


def _flipped(path: Path) -> Path:
    path.write_bytes(path.read_bytes().replace(b"abcabc", b"abdabc", 1))
    return path


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    archive, out = make(tmp_path / "set.zip"), tmp_path / "in" / "out"
    out.mkdir(parents=True)
    with pytest.raises(InputError) as caught:
        unzip(archive, out)
    line = str(caught.value)
    assert line.startswith(f"{archive}: ") and message in line and line.isprintable() and len(line) < 700
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p != archive and p.parent != out / "set"]
    if name not in ("wrong sum", "wrong size"):
        assert not list(out.iterdir())


def test_memory_and_time_stay_small(tmp_path: Path) -> None:
    archives = [many(tmp_path / "many.zip", 1_000_000), many(tmp_path / "just so many.zip", 199_000)]
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from fracturelib.curate.archive import unzip\n"
        "from tests.fuzz.watch import peak_megabytes\n"
        "for archive in sys.argv[1:]:\n"
        "    try: unzip(Path(archive), Path(archive).parent / 'nowhere')\n"
        "    except ValueError as error: print(error)\n"
        "print(peak_megabytes())\n"
    )
    command = [sys.executable, "-c", code, *map(str, archives)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    assert len(said) == 3 and float(said[-1]) < 1000


def test_no_more_than_the_disk_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(tmp_path / "set.zip", ("set/a.jpg", b"x" * 5000))
    monkeypatch.setattr(_archive.shutil, "disk_usage", lambda folder: SimpleNamespace(free=4999))
    with pytest.raises(InputError, match=r"unpacks to 5,000 bytes, and 4,999 are free; expected room for it"):
        unzip(archive, tmp_path)


def test_an_ordinary_zip_comes_out_whole(tmp_path: Path) -> None:
    names = ("set/train/Fractured/a.jpg", "set\\train\\Fractured\\b.jpg", "./set/c.jpg", "set/\u00fc.jpg")
    archive = packed(tmp_path / "set.zip", *((name, name.encode() * 99) for name in names), ("set/empty/", b""))
    out = tmp_path / "out"
    out.mkdir()
    unzip(archive, out)
    found = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    there = ("set/train/Fractured/a.jpg", "set/train/Fractured/b.jpg", "set/c.jpg", "set/\u00fc.jpg")
    assert found == {place: name.encode() * 99 for place, name in zip(there, names, strict=True)}
    assert (out / "set" / "empty").is_dir()


def test_a_zip64_file_behind_other_bytes(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened, opened.open("a.jpg", "w", force_zip64=True) as file:
        file.write(b"abc")
    (tmp_path / "set.zip").write_bytes(b"#!/bin/sh\n" + buffer.getvalue())
    unzip(tmp_path / "set.zip", tmp_path)
    assert (tmp_path / "a.jpg").read_bytes() == b"abc"


def test_a_refused_zip_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(InputError):
        import_dataset(tmp_path / "images.zip", tmp_path / "new" / "deep" / "set", progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["images.zip"]
