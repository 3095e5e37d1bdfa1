"""What is kept to be used again: damaged, it is noticed, dropped and made again; and a full disk is one line."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import fracturelib.data.images
from fracturelib._io.cache import SEAL, new_array, open_array, read_sealed, write_sealed
from fracturelib._io.files import NoRoomError, atomic_path
from fracturelib.curate import keypoints as audit_images
from fracturelib.curate.keypoints import look_at
from fracturelib.data import dataset as data
from fracturelib.data.decode import read_grey
from fracturelib.data.images import load_images
from fracturelib.training import features as transfer
from tests.conftest import ROOT
from tests.processes import Place
from tests.radiographs import plain_folder, radiograph, save

resource = pytest.importorskip("resource", reason="this system has no limit of a file's size")


def flipped(content: bytes, place: float) -> bytes:
    """One bit is another."""
    i = int(place * (len(content) - 1))
    return content[:i] + bytes([content[i] ^ 4]) + content[i + 1 :]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) * 2 // 3],
    "one byte less": lambda content: content[:-1],
    "longer": lambda content: content + b"more",
    "garbage": lambda content: bytes(np.random.default_rng(0).integers(0, 256, len(content), np.uint8)),
    "zeros": lambda content: bytes(len(content)),
    "a flipped head": lambda content: flipped(content, 0),
    "a flipped byte": lambda content: flipped(content, 0.5),
    "a flipped seal": lambda content: flipped(content, 1),
}
damaged = pytest.mark.parametrize("damage", list(DAMAGES))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FRACTURE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> tuple[Path, list[str]]:
    folder = plain_folder(tmp_path / "data", splits={"train": 3})
    return folder, sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.jpg"))


@damaged
def test_damaged_squares(damage: str, cache: Path, folder: tuple[Path, list[str]]) -> None:
    good = np.array(load_images(*folder, size=32))
    (kept,) = cache.iterdir()
    content = kept.read_bytes()
    kept.write_bytes(DAMAGES[damage](content))
    assert np.array_equal(load_images(*folder, size=32), good)
    assert kept.read_bytes() == content and list(cache.iterdir()) == [kept]


@damaged
def test_damaged_sizes(damage: str, cache: Path, folder: tuple[Path, list[str]]) -> None:
    good = data.probe(*folder, decode=True)
    (kept,) = cache.iterdir()
    content = kept.read_bytes()
    kept.write_bytes(DAMAGES[damage](content))
    assert data.probe(*folder, decode=True) == good == [(48, 64)] * 6
    assert kept.read_bytes() == content and list(cache.iterdir()) == [kept]


@damaged
def test_damaged_features(damage: str, cache: Path) -> None:
    torch = pytest.importorskip("torch")
    from fracturelib.models.localizer import LocalizingEfficientNet

    torch.manual_seed(0)
    model = LocalizingEfficientNet().eval()
    images = np.stack([radiograph(i, width=64, height=64) for i in range(3)])
    transfer.frozen_features(model, images)
    contents = {path: path.read_bytes() for path in cache.iterdir()}
    assert len(contents) == 6
    victim = sorted(contents)[1]
    victim.write_bytes(DAMAGES[damage](contents[victim]))
    again = transfer.frozen_features(model, images)
    assert {path: path.read_bytes() for path in cache.iterdir()} == contents
    assert again.middle[0].shape == (3, 40, 8, 8)


@damaged
def test_damaged_looks(damage: str, cache: Path, tmp_path: Path) -> None:
    paths = [save(radiograph(i), tmp_path / "images" / f"{i}.png") for i in range(12)]
    good = look_at(paths)
    (kept,) = cache.iterdir()
    kept.write_bytes(DAMAGES[damage](kept.read_bytes()))
    again = look_at(paths)
    for one, other in zip(good, again, strict=True):
        assert one.digest == other.digest and np.array_equal(one.small, other.small)
        assert np.array_equal(one.points, other.points) and np.array_equal(one.words, other.words)
    assert look_at(paths)[0].digest == good[0].digest and list(cache.iterdir()) == [kept]


def test_any_byte_of_the_looks_may_be_another(cache: Path, tmp_path: Path) -> None:
    paths = [save(radiograph(i), tmp_path / "images" / f"{i}.png") for i in range(3)]
    good = look_at(paths)
    (kept,) = cache.iterdir()
    content = kept.read_bytes()
    for place in np.random.default_rng(0).uniform(size=40):
        kept.write_bytes(flipped(content, place))
        for one, other in zip(good, look_at(paths), strict=True):
            assert np.array_equal(one.words, other.words) and np.array_equal(one.small, other.small), place


def test_looks_of_one_image_are_not_those_of_another(cache: Path, tmp_path: Path) -> None:
    one, other = (save(radiograph(i), tmp_path / f"{i}.png") for i in range(2))
    first, second = look_at([one, other])
    with sqlite3.connect(next(cache.iterdir())) as connection:
        blob = connection.execute("select look from looks where digest = ?", (first.digest,)).fetchone()[0]
        connection.execute("update looks set look = ? where digest = ?", (blob, second.digest))
    connection.close()
    assert np.array_equal(look_at([other])[0].small, second.small)


def test_a_busy_memory_of_looks_is_not_thrown_away(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(radiograph(1), tmp_path / "image.png")
    look_at([path])
    (kept,) = cache.iterdir()
    connect = sqlite3.connect
    monkeypatch.setattr(audit_images.sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.1))
    holder = connect(kept, isolation_level=None)
    holder.execute("begin exclusive")
    with pytest.raises(OSError, match="locked"):
        look_at([path])
    holder.close()
    assert kept.is_file() and look_at([path])[0].reason == ""


def test_an_array_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "large.npy"
    with new_array(path, np.uint8, (100, 1 << 20)) as append:
        for i in range(100):
            append(np.full((1, 1 << 20), i, np.uint8))
    found = open_array(path, mode="c")
    assert isinstance(found, np.memmap) and found.shape == (100, 1 << 20)
    assert (np.asarray(found[:, -1]) == np.arange(100)).all()
    assert np.array_equal(np.load(path, mmap_mode="r")[7], found[7])  # any NumPy can read it


def test_rows_that_are_missing_leave_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="bytes were written; expected"),
        new_array(tmp_path / "a.npy", np.uint8, (3, 4)) as append,
    ):
        append(np.zeros((2, 4), np.uint8))
    assert not any(tmp_path.iterdir())


def test_small_files(tmp_path: Path) -> None:
    assert read_sealed(tmp_path / "none") is None
    write_sealed(tmp_path / "a", b"")
    assert read_sealed(tmp_path / "a") == b"" and (tmp_path / "a").stat().st_size == SEAL.size


def test_several_processes_make_one_cache(tmp_path: Path, folder: tuple[Path, list[str]]) -> None:
    place = Place(tmp_path / "place")
    code = (
        "import sys, time, hashlib; from fracturelib.data.images import load_images; "
        "time.sleep(max(0, float(sys.argv[1]) - time.time())); "
        "print(hashlib.sha256(load_images(sys.argv[2], sys.argv[3:], size=64).tobytes()).hexdigest())"
    )
    together = str(time.time() + 3)
    command = [sys.executable, "-c", code, together, str(folder[0]), *folder[1]]
    started = [
        subprocess.Popen(command, env=place.environment, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(4)
    ]
    said = {process.communicate()[0] for process in started}
    assert len(said) == 1 and len(next(iter(said)).strip()) == 64
    assert [p.suffix for p in place.cache.iterdir()] == [".npy"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode
    ):
        pytest.skip("a small disk cannot be mounted here: only root may")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def large_folder(root: Path) -> Path:
    """Images of more than a megabyte."""
    rng = np.random.default_rng(0)
    for i in range(12):
        for name in ("fractured", "normal"):
            save(rng.integers(0, 255, (300, 400), dtype=np.uint8), root / ("train", "val")[i % 2] / name / f"{i}.png")
    return root


def failed(place: Place, arguments: list[str]) -> str:
    """The one line that a command ends with that cannot go on; nothing is half written."""
    process = place.start(arguments)
    _, said = process.communicate()
    assert process.returncode == 2, (process.returncode, said[-2000:])
    lines = [line for line in said.splitlines() if "error" in line]
    assert "Traceback" not in said and len(lines) == 1, said[-2000:]
    assert not place.parts()
    return lines[0]


@pytest.mark.slow
def test_a_full_disk_of_the_cache(tmp_path: Path, small_disk: Path) -> None:
    folder = plain_folder(tmp_path / "data", splits={"train": 12, "val": 6})
    place = Place(tmp_path / "place", {"FRACTURE_CACHE": str(small_disk)})
    line = failed(place, ["train", str(folder), "--out", str(place.out / "run"), "--size", "320", "--quiet"])
    assert f"error: {small_disk}: no room for 2,457,7" in line and ", 1,0" in line
    assert all(p.suffix == ".json" for p in small_disk.iterdir())


def test_a_full_disk_of_the_audit_s_memory(tmp_path: Path, small_disk: Path) -> None:
    (small_disk / "full").write_bytes(bytes(1 << 20))
    place = Place(tmp_path / "place", {"FRACTURE_CACHE": str(small_disk)})
    line = failed(place, ["audit", str(large_folder(tmp_path / "images")), "--quiet"])
    assert f"error: {small_disk}: no room for" in line


@pytest.mark.slow
def test_a_full_disk_of_an_import(tmp_path: Path, small_disk: Path) -> None:
    folder = large_folder(tmp_path / "images")
    place = Place(tmp_path / "place")
    line = failed(place, ["data", "import", str(folder), str(small_disk / "set"), "--quiet"])
    assert f"error: {small_disk}: no room for set" in line and not any(small_disk.iterdir())
    shutil.make_archive(str(tmp_path / "images"), "zip", folder)
    line = failed(place, ["data", "import", str(tmp_path / "images.zip"), str(small_disk / "set"), "--quiet"])
    assert "images.zip: unpacks to 2," in line and "expected room for it" in line and not any(small_disk.iterdir())


@pytest.mark.slow
def test_a_full_disk_of_scores_and_runs(tmp_path: Path, small_disk: Path) -> None:
    folder = plain_folder(tmp_path / "data", splits={"train": 12, "val": 6})
    place = Place(tmp_path / "place")
    (small_disk / "full").write_bytes(bytes((1 << 20) - (96 << 10)))
    options = ["--size", "64", "--epochs", "1", "--quiet"]
    line = failed(place, ["train", str(folder), "--out", str(small_disk / "run"), *options])
    assert f"error: {small_disk / 'run'}: no room for state.pt" in line and not any((small_disk / "run").iterdir())
    (small_disk / "more").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    shipped = ROOT / "data" / "checkpoints" / "demo-small-cnn.pt"
    line = failed(
        place, ["predict", str(folder), "--model", str(shipped), "--csv", str(small_disk / "a.csv"), "--quiet"]
    )
    assert f"error: {small_disk}: no room for a.csv" in line
    line = failed(place, ["data", "simulate", str(small_disk / "set"), "--images", "2", "--workers", "1", "--quiet"])
    assert "no room for" in line


WRITERS = {
    "torch": "import torch; torch.save({'a': torch.zeros(10**6)}, temporary)",
    "torch, a file": "import torch; torch.save({'a': torch.zeros(10**6)}, temporary.open('wb'))",
    "a table": "import pandas as pd; pd.DataFrame({'a': range(10**5)}).to_csv(temporary)",
    "an array": "import numpy as np; np.save(temporary, np.zeros(10**5))",
    "a folder": "temporary.mkdir(); (temporary / 'a').write_bytes(bytes(10**6))",
}


@pytest.mark.parametrize("name", list(WRITERS))
def test_every_writer_tells_of_a_limit(name: str, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fracturelib._io.files import NoRoomError, atomic_path\n"
        "try:\n"
        "    with atomic_path(Path(sys.argv[1])) as temporary:\n"
        f"        {WRITERS[name]}\n"
        "except NoRoomError as error:\n"
        "    print(error.filename, error.strerror, sep='|')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.npy")],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )  # fmt: skip
    where, _, what = done.stdout.strip().partition("|")
    assert where == str(tmp_path) and what.startswith("no room for a.npy (file too large"), done.stderr
    assert not any(tmp_path.iterdir())


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_path(tmp_path / "a"):
        1 / 0  # noqa: B018
    with pytest.raises(OSError, match="other") as caught, atomic_path(tmp_path / "a"):
        raise OSError(errno.EIO, "other")
    assert not isinstance(caught.value, NoRoomError) and not any(tmp_path.iterdir())


def test_images_are_still_decoded_once(
    cache: Path, folder: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[Path] = []
    monkeypatch.setattr(fracturelib.data.images, "read_grey", lambda path: decoded.append(path) or read_grey(path))
    for _ in range(3):
        load_images(*folder, size=32)
    assert len(decoded) == 6
