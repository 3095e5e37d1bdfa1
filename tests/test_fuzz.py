"""A short run of the fuzzer; and that it sees what it is there to see."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.fuzz import __main__ as parent
from tests.fuzz import watch

SECONDS = 15


def test_hostile_input_breaks_no_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(SECONDS), "--seed", "0"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    assert "no fault" in done.stdout


def raises(_: list[str]) -> int:
    raise ZeroDivisionError


def writes_elsewhere(_: list[str]) -> int:
    with contextlib.suppress(PermissionError):
        Path("/tmp/elsewhere.txt").write_text("x")
    return 0


def starts_another(_: list[str]) -> int:
    with contextlib.suppress(PermissionError):
        subprocess.run(["true"], check=False)
    return 0


def changes_its_input(arguments: list[str]) -> int:
    Path(arguments[1]).write_text("other")
    return 0


def leaves_a_part(arguments: list[str]) -> int:
    (Path(arguments[1]).parents[1] / "out").mkdir()
    (Path(arguments[1]).parents[1] / "out" / ".scores.part.csv").touch()
    return 0


def says_too_much(_: list[str]) -> int:
    print("one\ntwo", file=sys.stderr)
    return 2


def warns_past_python(_: list[str]) -> int:
    os.write(2, b"image.py:1: UserWarning: something\n")
    return 0


def takes_memory(_: list[str]) -> int:
    return int(np.ones(250_000_000).sum() < 0)


FAULTS: list[tuple[Callable[[list[str]], int], str]] = [
    (raises, "ZeroDivisionError in"),
    (writes_elsewhere, "strayed"),
    (starts_another, "strayed"),
    (changes_its_input, "an input was changed"),
    (leaves_a_part, "a part is left"),
    (says_too_much, "not one line on stderr"),
    (warns_past_python, "noise on stderr"),
    (lambda _: 1, "exit code 1"),
    (lambda _: print("\x1b[2J") or 0, "an escape on the terminal"),
    (takes_memory, "memory"),
]


@pytest.mark.parametrize(("main", "expected"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_it_sees(
    tmp_path: Path, main: Callable[[list[str]], int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "MAX_MEGABYTES", watch.peak_megabytes(reset=True) + 1500)  # pytest itself may hold more
    source = tmp_path / "in" / "scores.csv"
    source.parent.mkdir()
    source.write_text("file,label,score\n")
    case = watch.Case("scores", ["evaluate", str(source)], tmp_path, sources=(source,))
    assert watch.run(case, main=lambda _: 0).faults == []
    assert any(expected in key for key, _ in watch.run(case, main=main).faults)
    assert not Path("/tmp/elsewhere.txt").exists()


def test_what_ran_before_a_case_is_not_held_against_it(tmp_path: Path) -> None:
    case = watch.Case("scores", ["evaluate", "scores.csv"], tmp_path)
    with subprocess.Popen(["sleep", "60"]) as standing:
        faults = watch.run(case, main=lambda _: 0).faults
        standing.kill()
    assert not any("process" in key for key, _ in faults)


def test_it_sees_a_crash_behind_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("fracturelib.data.predictions.read_predictions", broken)
    case = watch.Case("scores", ["evaluate", "scores.csv"], tmp_path)
    assert any("ZeroDivisionError in" in key for key, _ in watch.run(case).faults)


def sleeps(link: Connection, *_: object) -> None:
    watch.dump_on_signal(Path(str(_[1])) / "stacks")
    link.send("ready")
    link.recv()
    link.send("begun")
    time.sleep(600)


def test_it_ends_what_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "MAX_SECONDS", 0.5)
    monkeypatch.setattr(parent, "serve", sleeps)
    (tmp_path / "worker0").mkdir()
    run = parent.Run(0, tmp_path, {"arguments": 1.0})
    run.go(1.0, 1)
    assert [key.split(" in ")[0] for key in run.faults] == ["hangs"]
