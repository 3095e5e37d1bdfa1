"""Killed at any moment, or stopped by Ctrl-C: the next run gives the same bits, and nothing is left behind.

`FRACTURE_LONG=1` kills each command at twenty moments, each followed by a run to the end; without it, a few.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fracturelib._io import parts as _parts
from fracturelib._io.files import atomic_path, temporary_folder
from fracturelib._io.parts import part_of, sweep
from tests.conftest import ROOT
from tests.processes import Place, within
from tests.radiographs import plain_folder

LONG = bool(os.environ.get("FRACTURE_LONG"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(14_400 if LONG else 900),
    pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL here"),
]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/, the same without splits as a zip, and a model."""
    root = tmp_path_factory.mktemp("given")
    plain_folder(root / "data", splits={"train": 24, "val": 12})
    plain_folder(root, splits={"images": 60}, size=(480, 640))
    shutil.make_archive(str(root / "images"), "zip", root / "images")
    place = Place(root / "model")
    place.finish(COMMANDS["train"](root, place.out))
    return root


def _train(given: Path, out: Path) -> list[str]:
    options = ["--size", "64", "--epochs", "30", "--patience", "30", "--batch", "8"]
    return ["train", str(given / "data"), "--out", str(out / "run"), *options]


def _simulate(given: Path, out: Path) -> list[str]:
    return ["data", "simulate", str(out / "set"), "--images", "32", "--workers", "2", "--size", "128"]


COMMANDS: dict[str, Callable[[Path, Path], list[str]]] = {
    "import": lambda given, out: ["data", "import", str(given / "images.zip"), str(out / "set")],
    "audit": lambda given, out: [
        "audit", str(given / "images"), "--json", str(out / "audit.json"), "--html", str(out / "audit.html"),
    ],
    "simulate": _simulate,
    "train": _train,
    "folds": lambda given, out: [*_train(given, out)[:-6], "--epochs", "6", "--batch", "8", "--folds", "3"],
    "predict": lambda given, out: [
        "predict", str(given / "data"), "--model", str(given / "model/out/run/model.pt"),
        "--csv", str(out / "scores.csv"),
    ],
}  # fmt: skip
BAR = {
    "import": "copying",
    "audit": "looking",
    "simulate": "image",
    "train": "epoch",
    "folds": "epoch",
    "predict": "predicting",
}


def kill_after(seconds: float, place: Place, arguments: list[str]) -> None:
    """Begin a command, kill it at that moment, and see that all it had started dies, too."""
    process = place.start(arguments, stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert within(20, lambda: not place.alive()), place.alive()


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_killed_command_ends_in_the_same_bits(name: str, given: Path, tmp_path: Path) -> None:
    whole = Place(tmp_path / "whole")
    begin = time.monotonic()
    whole.finish(COMMANDS[name](given, whole.out))
    duration = time.monotonic() - begin
    assert not whole.parts()
    rng = random.Random(name)
    count = 20 if LONG else 3
    for i in range(count):  # one moment in each part of the time, from its very beginning to its end
        killed = Place(tmp_path / (f"killed{i}" if LONG else "killed"))
        command = COMMANDS[name](given, killed.out)
        kill_after(duration * (i + rng.random()) / count, killed, command)
        if LONG or i + 1 == count:
            killed.finish(command)
            assert killed.digests() == whole.digests(), i
            assert killed.left() == whole.left(), i
            assert not killed.alive()


@pytest.mark.parametrize("name", list(COMMANDS))
def test_ctrl_c_leaves_nothing(name: str, given: Path, tmp_path: Path) -> None:
    place = Place(tmp_path)
    process = place.start(COMMANDS[name](given, place.out))
    assert process.stderr is not None
    said = ""
    while BAR[name] not in said:
        more = process.stderr.read(1)
        assert more, said
        said += more
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the command and all that it has started
    rest = process.communicate()[1]
    assert process.returncode == 130, said + rest
    assert "Traceback" not in rest and "fracture: stopped" in rest
    assert not place.parts()
    assert within(5, lambda: not place.alive()), place.alive()


def leave_behind(folder: Path, name: str) -> list[Path]:
    """A file and a folder as a killed process leaves them."""
    code = (
        "import os, sys; from pathlib import Path; from fracturelib._io.parts import part_of; "
        "path = Path(sys.argv[1]); part_of(path).write_text('half'); (part_of(path) / 'in').mkdir(parents=True); "
        "os.kill(os.getpid(), 9)"
    )
    before = set(folder.iterdir())
    subprocess.run(
        [sys.executable, "-c", code, str(folder / name)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    return sorted(set(folder.iterdir()) - before)


@pytest.mark.parametrize("name", ["out", "image.jpg", "k" * 244 + ".csv", "é" * 120 + ".csv", "a." + "b" * 240])
def test_the_next_use_removes_what_the_dead_left(name: str, tmp_path: Path) -> None:
    left = leave_behind(tmp_path, name)
    assert len(left) == 2 and all(p.name.startswith(".") and ".part" in p.name for p in left)
    mine = part_of(tmp_path / name)
    mine.write_text("of a live process")
    foreign = [".a.part", ".image.jpg.part", "image.0badcafe-1-1-0badcafe.part", ".image.12345678.part.jpg"]
    for other in foreign:
        (tmp_path / other).write_text("not ours")
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_text("whole")
    assert {p.name for p in tmp_path.iterdir()} == {name, mine.name, *foreign}
    assert (tmp_path / name).read_text() == "whole"


def test_what_another_machine_writes_stays_for_a_day(tmp_path: Path) -> None:
    own = part_of(tmp_path / "set")
    machine = _parts.OWNED.fullmatch(own.name)["machine"]  # type: ignore[index]
    other = tmp_path / own.name.replace(machine, "0" * 8)
    (other / "deep").mkdir(parents=True)
    (other / "deep" / "new.jpg").write_text("written now")
    long_ago = time.time() - 2 * _parts.STALE
    os.utime(other, (long_ago, long_ago))
    sweep(tmp_path)
    assert other.is_dir()
    for path in (other / "deep" / "new.jpg", other / "deep"):
        os.utime(path, (long_ago, long_ago))
    _parts._looked.clear()
    sweep(tmp_path)
    assert not other.exists()


def test_a_number_that_another_process_has_now_is_no_owner(tmp_path: Path) -> None:
    own = part_of(tmp_path / "set")
    machine, pid, start = _parts.OWNED.fullmatch(own.name).group("machine", "pid", "start")  # type: ignore[union-attr]
    before = tmp_path / own.name.replace(f"{machine}-{pid}-{start}", f"{machine}-{pid}-{int(start) - 1}")
    before.write_text("of one that had this number before")
    sweep(tmp_path)
    assert not before.exists()


def test_a_temporary_folder_goes(tmp_path: Path) -> None:
    with temporary_folder(tmp_path / "set") as folder:
        (folder / "in").mkdir()
    assert not any(tmp_path.iterdir())


def test_the_processes_of_torchrun_end_with_it(given: Path, tmp_path: Path) -> None:
    place = Place(tmp_path)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "fracturelib.cli"]
    options = ["--size", "64", "--epochs", "4000", "--patience", "4000", "--batch", "8", "--quiet"]
    command = [*run, "train", str(given / "data"), "--out", str(place.out), *options]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, env=place.environment, **silent)  # type: ignore[call-overload]
    assert within(300, (place.out / "state.pt").is_file)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert within(20, lambda: not place.alive()), place.alive()
