"""One case, run in this process and watched: what it said, left, wrote, and how much memory it took."""

import contextlib
import ctypes
import faulthandler
import gc
import hashlib
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_SECONDS, MAX_MEGABYTES = 10.0, 1500
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Of each event that changes a file system: which arguments are paths, and which are the folders that these start from.
CHANGES = {"os.rename": ((0, 2), (1, 3)), "os.remove": ((0, 1),), "os.mkdir": ((0, 2),), "os.rmdir": ((0, 1),),
           "os.link": ((0, 2), (1, 3)), "os.symlink": ((1, 2),), "os.truncate": ((0, 9),)}  # fmt: skip
SPAWNS = ("subprocess.Popen", "os.system", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "socket.connect",
          "socket.getaddrinfo")  # fmt: skip

WHOLE = ("import", "audit", "predict", "evaluate")  # what leaves all or nothing


@dataclass
class Case:
    """A command and what it is given.

    Attributes
    ----------
    kind, arguments
        What is damaged, and the command line.
    inputs : int
        How many damaged things it is given.
    root, sources
        The case's own folder, and the paths in it, or elsewhere, that must stay as they are.
    outputs
        Paths that it may make or, where they are files, replace.
    named
        Names of damaged files; each must get a row or a line.
    codes
        Exit codes that are right.
    check
        What else must hold: from the outcome to complaints.
    """

    kind: str
    arguments: list[str]
    root: Path
    inputs: int = 1
    sources: tuple[Path, ...] = ()
    outputs: tuple[Path, ...] = ()
    named: tuple[str, ...] = ()
    codes: tuple[int, ...] = (0, 2)
    check: Callable[["Case", "Outcome"], Iterator[str]] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def command(self) -> str:
        return self.arguments[1] if self.arguments[0] == "data" else self.arguments[0]


@dataclass
class Outcome:
    """What came of a case: of its inputs, so many were refused; `faults` are pairs of a short key and what was seen."""

    code: int | None
    out: str
    err: str
    seconds: float
    megabytes: float
    refused: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)


class _Guard:
    """An audit hook: whatever is written or removed outside the places that a case owns is refused, and remembered."""

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] | None = None  # nothing is watched
        self.seen: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.allowed is None:
            return
        if event == "open" and isinstance(arguments[0], str | bytes) and (arguments[2] or 0) & WRITES:
            self.require(event, arguments[0])
        elif event in CHANGES:
            for path, start in CHANGES[event]:
                self.require(event, arguments[path], arguments[start] if start < len(arguments) else -1)
        elif event in SPAWNS:
            self.refuse(f"{event} {str(arguments[0])[:80]}")

    def require(self, event: str, path: Any, start: int = -1) -> None:
        if isinstance(path, int):
            return
        folder = os.readlink(f"/proc/self/fd/{start}") if start >= 0 else os.getcwd()
        place = os.path.realpath(os.path.dirname(os.path.abspath(os.path.join(folder, os.fsdecode(path)))))
        if not (place + "/").startswith(self.allowed or ()) and (event, os.fsdecode(path)) != ("open", os.devnull):
            self.refuse(f"{event} {os.fsdecode(path)[:200]!r}")

    def refuse(self, what: str) -> None:
        self.seen.append(what)
        raise PermissionError(f"the fuzzer refuses: {what}")


_guard: _Guard | None = None


@contextlib.contextmanager
def guarded(*allowed: Path) -> Iterator[list[str]]:
    """Watch what is written meanwhile, started or connected to."""
    global _guard
    _guard = _guard or _Guard()
    _guard.seen, _guard.allowed = [], tuple(f"{path.resolve()}/" for path in allowed)
    try:
        yield _guard.seen
    finally:
        _guard.allowed = None


@contextlib.contextmanager
def captured(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Send what this process says, C libraries included, to two files."""
    targets = folder / "stdout", folder / "stderr"
    kept = [os.dup(1), os.dup(2)]
    streams = sys.stdout, sys.stderr
    files = [open(target, "wb", buffering=0) for target in targets]  # noqa: SIM115
    try:
        for file, number in zip(files, (1, 2), strict=True):
            os.dup2(file.fileno(), number)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115, strict, as on a terminal of today
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
        yield targets
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(ValueError, OSError):
                stream.flush()
        sys.stdout, sys.stderr = streams
        for old, number in zip(kept, (1, 2), strict=True):
            os.dup2(old, number)
            os.close(old)
        for file in files:
            file.close()


def digests(paths: tuple[Path, ...]) -> dict[str, str]:
    """A digest of each file at and below some paths."""
    found = {}
    for path in paths:
        below = [os.path.join(root, name) for root, _, names in os.walk(path) for name in names]
        for file in below or [os.fspath(path)]:
            if os.path.islink(file):
                found[file] = f"-> {os.readlink(file)}"
            elif os.path.isfile(file):
                with open(file, "rb") as opened:
                    found[file] = hashlib.file_digest(opened, "blake2b").hexdigest()
    return found


def peak_megabytes(*, reset: bool = False) -> float:
    """The most memory that was resident since the last reset, as Linux counts it; 0 where it does not say."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    except OSError:
        return 0.0
    return int(line.split()[1]) / 1024


def give_back() -> None:
    """Free what earlier cases have left in this process, so that a case's memory is its own."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def children() -> list[str]:
    """Processes that this one has started and that are still there."""
    found = []
    for task in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += task.read_text().split()
    return found


def crash(error: BaseException) -> tuple[str, str]:
    """What it was, and where in the library: the key under which such faults are counted; and the traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/fracturelib/" in f.filename]
    where = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "outside fracturelib"
    text = "".join(traceback.format_exception(error, limit=-6))
    return f"{type(error).__name__} in {where}", text


def run(case: Case, *, main: Callable[[list[str]], int] | None = None, steady: tuple[Path, ...] = ()) -> Outcome:
    """Run a case, and judge it. `steady` are folders outside the case that may be written, such as matplotlib's."""
    from fracturelib import cli

    say, temporary = case.root / "said", case.root / "tmp"
    for folder in (say, temporary):
        folder.mkdir(exist_ok=True)
    standing = set(children())
    before, fresh = digests(case.sources), not (case.root / "out").exists()
    own = {"FRACTURE_CACHE": str(case.root / "cache"), "TMPDIR": str(temporary), "FRACTURE_DEBUG": "1"}
    kept = {name: os.environ.get(name) for name in own | case.environment}
    os.environ.update(own | case.environment)
    tempfile.tempdir = str(temporary)
    give_back()
    peak_megabytes(reset=True)
    began, code, fault = time.monotonic(), None, None
    try:
        with captured(say) as (out, err), guarded(case.root, *steady) as strayed:
            try:
                code = (main or cli.main)(case.arguments)
            except SystemExit as stopped:
                code = stopped.code if isinstance(stopped.code, int) else 0 if stopped.code is None else 1
            except BaseException as error:
                fault = crash(error)
            sys.stdout.flush()
    finally:
        tempfile.tempdir = None
        for name, value in kept.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    outcome = Outcome(
        code, out.read_text("utf-8", "replace"), err.read_text("utf-8", "replace"), time.monotonic() - began,
        peak_megabytes(),
    )  # fmt: skip
    if fault:
        outcome.faults.append(fault)
    outcome.faults += [("strayed", what) for what in strayed]
    outcome.refused = case.inputs if code == 2 else 0
    outcome.faults += judged(case, outcome, before)
    left = set(children()) - standing
    outcome.faults += [(f"{case.command} of {case.kind}: a process is left", child) for child in left]
    if fresh and outcome.code == 2 and case.command in WHOLE and (case.root / "out").exists():
        outcome.faults.append((f"{case.command} of {case.kind}: left something though it was refused", "out/"))
    return outcome


OURS = re.compile(r"^fracture|Traceback|Warning:|\w+Error:|\.py\b")


def judged(case: Case, outcome: Outcome, before: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What every command owes, whatever it was given."""
    where = f"{case.command} of {case.kind}"
    # What C libraries print of damaged pixels (libtiff, OpenJPEG) is theirs; what Python or a command says is judged.
    lines = [line for line in outcome.err.splitlines() if OURS.search(line)]
    if outcome.code is not None:
        if outcome.code not in case.codes:
            last = lines[-1][:300] if lines else outcome.out[-300:]
            yield f"{where}: exit code {outcome.code}", f"expected one of {case.codes}: {last}"
        if outcome.code == 2 and len(lines) != 1:
            yield f"{where}: not one line on stderr", "\n".join(lines)[:600]
        if outcome.code != 2 and lines:
            yield f"noise on stderr: {plain(lines[0])}", "\n".join(lines)[:600]
        if outcome.code == 2 and lines and "file system:" in lines[-1]:
            yield f"{where}: no name in the error", lines[-1][:300]
        if outcome.code == 2 and lines and len(lines[-1]) > 2000:
            yield f"{where}: a line of over 2,000 characters", lines[-1][:300]
    if "Traceback" in outcome.err:
        yield f"{where}: Traceback on stderr", outcome.err[-800:]
    if "\x1b" in outcome.out + outcome.err:
        yield f"{where}: an escape on the terminal", repr(outcome.out + outcome.err)[:300]
    after = digests(case.sources)
    for file in before | after:
        if before.get(file) != after.get(file) and not Path(file).is_relative_to(case.root / "out"):
            what = "changed" if file in before and file in after else "removed" if file in before else "added"
            if not (what == "added" and Path(file) in case.outputs):
                yield f"{where}: an input was {what}", repr(file)
    yield from ((f"{where}: {key}", what) for key, what in left_behind(case))
    if outcome.megabytes > MAX_MEGABYTES:
        yield f"{where}: memory", f"{outcome.megabytes:.0f} MB"
    if case.check is not None and outcome.code in (0, 1):
        yield from ((f"{where}: {what.split(' | ')[0]}", what) for what in case.check(case, outcome))


def plain(line: str) -> str:
    """The beginning of a line without what differs from file to file."""
    return re.sub(r"'.*?'|[\d./<>x]+|\S*/\S*", "#", line)[:50]


def left_behind(case: Case) -> Iterator[tuple[str, str]]:
    """Files in the case's folder that nobody asked for."""
    for root, folders, names in os.walk(case.root):
        for name in [*names, *folders]:
            path = Path(root) / name
            if ".part" in name or ".unzip." in name:
                yield "a part is left", repr(str(path))
            top = path.relative_to(case.root).parts[0]
            if top == "tmp" and path != case.root / "tmp" and "torchinductor" not in str(path):  # torch's own
                yield "a temporary file is left", repr(str(path))
            if top not in ("in", "out", "cache", "tmp", "said"):
                yield "written elsewhere", repr(str(path))


def dump_on_signal(path: Path) -> None:
    """Write all stacks to `path` when this process gets SIGUSR1; for whoever is about to end it."""
    faulthandler.register(signal.SIGUSR1, file=path.open("w"), all_threads=True)
