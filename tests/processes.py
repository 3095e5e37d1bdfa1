"""Real processes of the command line, for tests: started, killed, and looked for."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.conftest import ROOT

MARK = "FRACTURE_TEST_PLACE"  # in the environment of a process and of all that it starts


@dataclass(frozen=True)
class Place:
    """A folder of its own for a command: results in out/, the cache in cache/, temporary files in tmp/."""

    root: Path
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in (self.out, self.cache, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def environment(self) -> dict[str, str]:
        own = {"FRACTURE_CACHE": str(self.cache), "TMPDIR": str(self.temporary), MARK: str(self.root)}
        return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **own, **self.extra}

    def start(self, arguments: list[str], **options: object) -> "subprocess.Popen[str]":
        """The command `fracture` with these arguments, in a session of its own, as from a terminal of its own."""
        command = [sys.executable, "-m", "fracturelib.cli", *arguments]
        streams: dict[str, object] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment,
            start_new_session=True,
            preexec_fn=interruptible,
            **{**streams, **options},
        )  # type: ignore[call-overload]

    def finish(self, arguments: list[str]) -> None:
        """Run a command to its end, which must be a good one."""
        process = self.start(arguments)
        _, said = process.communicate()
        assert process.returncode in (0, 1), said[-3000:]  # 1: an audit that has found something

    def alive(self) -> list[str]:
        """The processes that were started here and are still there."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.root) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return found

    def digests(self) -> dict[str, str]:
        """Each file of the results, hidden ones too, by the digest of its bytes; folders that are empty, too."""
        return {
            path.relative_to(self.out).as_posix(): _digest(path) if path.is_file() else ""
            for path in sorted(self.out.rglob("*"))
            if path.is_file() or not any(path.iterdir())
        }

    def left(self) -> list[str]:
        """What lies in the cache and among the temporary files, by name."""
        return [
            path.relative_to(self.root).as_posix()
            for folder in (self.cache, self.temporary)
            for path in sorted(folder.rglob("*"))
        ]

    def parts(self) -> list[str]:
        """What was being written and is not whole."""
        return [path.relative_to(self.root).as_posix() for path in sorted(self.root.rglob(".*.part*"))]


def _digest(path: Path) -> str:
    """Of a file's bytes; of a training's state, of what is in it: pickle writes what was read in other bytes."""
    if path.name != "state.pt":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    import torch

    def plain(value: object) -> object:
        if isinstance(value, torch.Tensor):
            return value.dtype, value.shape, value.tolist()
        if isinstance(value, dict):
            return [(key, plain(each)) for key, each in value.items()]
        return [plain(each) for each in value] if isinstance(value, list | tuple) else value

    return hashlib.sha256(repr(plain(torch.load(path, weights_only=True))).encode()).hexdigest()


def interruptible() -> None:
    """What a shell starts behind its back ignores Ctrl-C, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether something comes to hold in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
