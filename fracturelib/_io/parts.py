"""Temporary names that say whose they are, and the removal of those whose owner has died."""

import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
import sys
import time
from pathlib import Path

STEM_BYTES = 60  # of the final name, kept in the temporary one: names may have no more than 255 bytes on most systems
SUFFIX_BYTES = 16
OWNED = re.compile(r"\..*\.(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?P<start>\d+)-[0-9a-f]{8}\.part(\.[^.]*)?", re.DOTALL)
STALE = 24 * 3600.0  # seconds; of another machine only this can be known, since when nothing was written
PAUSE = 1.0  # seconds between two looks at a folder, so that thousands of files in it do not cost thousands of looks
_looked: dict[Path, float] = {}


def part_of(path: Path) -> Path:
    """A name beside `path` that nothing has, with its owner in it: machine, process, and when that process began.

    The suffix stays at the end, since writers such as np.save and savefig go by it.
    """
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= SUFFIX_BYTES else ""
    stem = path.stem
    while len(os.fsencode(stem)) > STEM_BYTES:
        stem = stem[:-1]
    owner = f"{_machine()}-{os.getpid()}-{_started(os.getpid()) or 0}"
    return path.with_name(f".{stem}.{owner}-{secrets.token_hex(4)}.part{suffix}")


def sweep(folder: Path) -> None:
    """Remove from a folder the temporary files and folders whose owner has died, and never those of a live one."""
    now = time.monotonic()
    if now - _looked.get(folder, -PAUSE) < PAUSE:
        return
    _looked[folder] = now
    try:
        names = os.listdir(folder)  # noqa: PTH208, names are compared as text
    except OSError:
        return
    for name in names:
        owner = OWNED.fullmatch(name)
        if owner is not None and _is_left_over(folder / name, owner):
            remove(folder / name)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there and can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _is_left_over(path: Path, owner: re.Match[str]) -> bool:
    if owner["machine"] != _machine():
        return time.time() - _last_written(path) > STALE
    return _started(int(owner["pid"])) not in (int(owner["start"]), 0)


def _last_written(path: Path) -> float:
    newest = 0.0
    for each in (path, *path.rglob("*")):
        try:
            newest = max(newest, each.lstat().st_mtime)
        except OSError:  # it has just gone
            return time.time()
    return newest


@functools.cache
def _machine() -> str:
    """8 hexadecimal digits of where process numbers mean the same: the machine since it was started, or a container."""
    signs = [socket.gethostname()]
    if sys.platform.startswith("linux"):
        for path, read in (("/proc/sys/kernel/random/boot_id", Path.read_text), ("/proc/self/ns/pid", os.readlink)):
            try:
                signs.append(str(read(Path(path))))
            except OSError:
                signs.append("")
    return hashlib.blake2b("\n".join(signs).encode(), digest_size=4).hexdigest()


def _started(pid: int) -> int | None:
    """When a process began, as its system counts; None if there is none or it has ended, 0 if that is not told."""
    if not sys.platform.startswith("linux"):
        return _started_elsewhere(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0 if _is_hidden(pid) else None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def _is_hidden(pid: int) -> bool:
    """Whether there is a process of another user whose details this one may not see."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _started_elsewhere(pid: int) -> int | None:
    import psutil

    try:
        return int(psutil.Process(pid).create_time() * 1000)
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return 0
