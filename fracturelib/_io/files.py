"""Files that appear whole or not at all, and errors that fit on one line."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir

from fracturelib._io.parts import part_of, remove, sweep

LONGEST = 1500  # characters of an error in which nothing is left out
LONGEST_NAME = 255  # bytes, on most systems


class InputError(ValueError):
    """A mistake in what the user gave: one line that names it, says what it was and what was expected."""

    def __str__(self) -> str:
        text = printable(super().__str__())
        # What a file says may be of any length; a line of error is read by people.
        return text if len(text) <= LONGEST else re.sub(r"\S{300,}", lambda m: f"{m[0][:200]}[...]{m[0][-50:]}", text)


def printable(name: object) -> str:
    """A name as it can be shown: what is no character, or steers a terminal, is escaped."""
    text = os.fspath(name) if isinstance(name, Path) else str(name)
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def counted(n: int, one: str, many: str = "") -> str:
    """A number and what it counts: 1 image, 2 images; `many` where the plural is not `one` with an s."""
    return f"{n} {one if n == 1 else many or f'{one}s'}"


def may_replace(path: str | Path, mark: str | re.Pattern[str]) -> None:
    """Make sure that writing to `path` loses nothing that the same command did not make.

    Parameters
    ----------
    path : str or Path
    mark : str or pattern
        Of a picture, what one that the command wrote has in its first 4,096 bytes; of a text, how it begins. A text of
        one's own may well mention what the command writes, so that a mark anywhere in it says nothing.

    Raises
    ------
    InputError
        If a folder, a device or another file is there, or what should be its folder is none.
    """
    path = Path(path)
    require_place(path)
    if not os.path.lexists(path):
        return
    if not path.is_file():
        raise InputError(f"{path}: is a folder, a device or a broken link; expected the name of a file to write")
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        return
    ours = mark.encode() in head if isinstance(mark, str) else mark.match(head.decode("utf-8-sig", "replace"))
    if not ours:
        raise InputError(f"{path}: is there already, and this command did not make it; expected a new name")


def table_mark(columns: str) -> re.Pattern[str]:
    """How a table begins that has just these columns, a pattern separated by commas."""
    return re.compile(rf"(?:{columns})\r?\n")


def json_mark(key: str, value: str) -> re.Pattern[str]:
    """How a JSON file begins whose first key and the beginning of whose text are these."""
    return re.compile(rf'\s*\{{\s*"{re.escape(key)}":\s*"{re.escape(value)}')


def require_place(path: str | Path) -> None:
    """Raise InputError unless a file or folder could be made at `path`: its name fits, in a folder that takes it."""
    path = Path(path)
    folder = next((p for p in path.parents if os.path.lexists(p)), Path())
    if not folder.is_dir():
        raise InputError(f"{path}: {folder} is no folder; expected one to write in")
    if long := [part for part in path.parts if len(os.fsencode(part)) > LONGEST_NAME]:
        size = len(os.fsencode(long[0]))
        raise InputError(f"{path}: has a name of {size} bytes in it; expected at most {LONGEST_NAME}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path}: {folder} does not let you write; expected a folder that does")


class NoRoomError(OSError):
    """A disk is full, or a quota or limit reached: `filename` and `strerror` say in one line where, and what for."""


FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
PROBE = 1 << 20  # bytes that a disk with room would take


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there appears at `path` only when whole.

    What a killed process left beside `path` in this way is removed.

    Parameters
    ----------
    path : str or Path
        The final place, a file or (if the caller makes a folder at the yielded path) a folder that does not exist.
        Missing parent folders are made.

    Yields
    ------
    Path
        A path in the same folder that does not exist yet. If the block raises, it is removed and `path` is untouched.

    Raises
    ------
    NoRoomError
        If the block failed for want of room, whatever it raised.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    temporary = part_of(path)
    try:
        with _told_of_room(path, temporary):
            yield temporary
            temporary.replace(path)
    except OSError as error:
        error.filename = _final(error.filename, temporary, path)
        raise
    finally:
        remove(temporary)


def _final(named: Any, temporary: Path, path: Path) -> Any:
    """The name that an error gives, as the user knows it: the temporary one is gone when it is read."""
    name = os.fsdecode(named) if isinstance(named, str | bytes | os.PathLike) else ""
    before = os.fspath(temporary)
    return os.fspath(path) + name[len(before) :] if name.startswith(before) else named


@contextmanager
def temporary_folder(beside: str | Path) -> Iterator[Path]:
    """A new folder beside a path, removed afterwards; by whoever comes next, if this process is killed."""
    beside = Path(beside)
    missing = [parent for parent in beside.parents if not parent.exists()]  # the deepest first
    beside.parent.mkdir(parents=True, exist_ok=True)
    sweep(beside.parent)
    folder = part_of(beside)
    folder.mkdir(mode=0o700)
    try:
        with _told_of_room(beside, folder):
            yield folder
    finally:
        remove(folder)
        with suppress(OSError):  # one that holds something stays
            for parent in missing:
                parent.rmdir()


def no_room(folder: Path, what: str, code: int = errno.ENOSPC) -> NoRoomError:
    """The error that says in one line that a folder has no room for something."""
    free = shutil.disk_usage(folder).free
    reason = f"no room {what} ({os.strerror(code).lower()}, {free:,} bytes are free)"
    return NoRoomError(code, f"{reason}; expected a folder with more", printable(folder))


@contextmanager
def _told_of_room(path: Path, temporary: Path) -> Iterator[None]:
    """Make a NoRoomError of any error that comes from a full disk."""
    try:
        yield
    except (NoRoomError, InputError):
        raise
    except Exception as error:
        code = _want_of_room(error) or _want_of_room(_one_more_write(temporary))
        if code is None:
            raise
        remove(temporary)
        raise no_room(path.parent, f"for {printable(path.name)}", code) from None


def _want_of_room(error: BaseException | None) -> int | None:
    """The system's number for a full disk, if it is what an error or those that led to it are about."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def _one_more_write(temporary: Path) -> OSError | None:
    """What a further write meets where one has failed: of what went wrong many writers say nothing."""
    path = temporary / ".more" if temporary.is_dir() else temporary
    try:
        with path.open("ab") as file:
            file.write(bytes(PROBE))
    except OSError as error:
        return error
    return None


def named_folder(variable: str) -> Path | None:
    """The folder that an environment variable names, `~` being the user's; None if it is empty or not set.

    A notebook runs in its own folder, so what is relative and not there is looked for where the server was started.
    """
    named = os.environ.get(variable)
    if not named:
        return None
    folder = Path(named).expanduser()
    typed = Path(os.environ.get("PWD") or ".") / folder
    return typed if typed.is_dir() and not folder.exists() else folder


def cache_dir() -> Path:
    """The folder for what can be computed again: `FRACTURE_CACHE`, or the user's cache folder."""
    folder = Path(os.environ.get("FRACTURE_CACHE") or user_cache_dir("fracturelib"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"the cache cannot be there ({(error.strerror or str(error)).lower()})"
        expected = "expected FRACTURE_CACHE to name a folder that can be written"
        raise OSError(error.errno or errno.EIO, f"{reason}; {expected}", os.fspath(folder)) from None
    sweep(folder)
    return folder
