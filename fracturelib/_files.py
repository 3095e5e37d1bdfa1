"""Files that appear whole or not at all, and errors that fit on one line."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from shlex import join as shell_join

from platformdirs import user_cache_dir

SHIPPED = Path(__file__).resolve().parent.parent / "data" / "checkpoints"
FILMS_MODEL = SHIPPED / "fracatlas-taught-lite0.pt"  # for real films; its model card lies beside it
FILMS_SPLITS = SHIPPED / "fracatlas-taught-lite0-splits.csv"


class InputError(ValueError):
    """A mistake in what the user gave: one line that names it, says what it was and what was expected."""

    def __str__(self) -> str:
        return printable(super().__str__())


def printable(name: object) -> str:
    """A name as it can be shown: what is no character, or steers a terminal, is escaped."""
    text = os.fspath(name) if isinstance(name, Path) else str(name)
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def typed(*words: str | Path) -> str:
    """A command that can be typed as it is shown, its words quoted where the shell needs it."""
    texts = [f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shell_join(texts)


def writable(text: str) -> str:
    """The text as UTF-8 can hold it, on one line: control characters, line ends and bytes of no character escaped."""
    if text.isprintable():
        return text
    return "".join(printable(c) if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text)


def safe_name(text: str, *, most: int = 250) -> str:
    """The text as the name of one file on any system, of at most `most` bytes; a name that is fit stays as it is."""
    name = "".join("_" if c in '<>:"/\\|?*' else c for c in writable(text)).rstrip(". ")
    name = name if name[:1] not in ("", ".") else f"_{name[1:]}"
    if len(name.encode()) <= most:
        return name
    stem, dot, suffix = name.rpartition(".")
    ending = f"~{hashlib.sha256(name.encode()).hexdigest()[:8]}" + (f".{suffix}" if dot and len(suffix) < 16 else "")
    kept = (stem or name).encode()[: most - len(ending.encode())]
    return kept.decode(errors="ignore") + ending


def distinct_names(wanted: Sequence[str]) -> list[str]:
    """Paths (with /) of which no two are one file, also on disks that ignore case: a later one gets a free number."""

    def key(path: str | PurePosixPath) -> str:
        return unicodedata.normalize("NFC", str(path)).casefold()

    firsts = {key(path) for path in wanted}
    taken = {key(parent) for path in wanted for parent in PurePosixPath(path).parents}
    numbers: dict[str, int] = {}
    result = []
    for path in wanted:
        name, first = path, key(path)
        while key(name) in taken or (name != path and key(name) in firsts):
            numbers[first] = numbers.get(first, 1) + 1
            whole = PurePosixPath(path)
            name = str(whole.with_name(safe_name(f"{whole.stem}-{numbers[first]}{whole.suffix}")))
        taken.add(key(name))
        result.append(name)
    return result


def may_replace(path: str | Path, mark: str) -> None:
    """Make sure that writing to `path` loses nothing that the same command did not make.

    Parameters
    ----------
    path : str or Path
    mark : str
        What a file that the command wrote has in its first 4,096 bytes.

    Raises
    ------
    InputError
        If a folder, a device or another file is there, or what should be its folder is none.
    """
    path = Path(path)
    folder = next((p for p in path.parents if os.path.lexists(p)), Path())
    if not folder.is_dir():
        raise InputError(f"{path}: {folder} is no folder; expected one to write in")
    if not os.path.lexists(path):
        return
    if not path.is_file():
        raise InputError(f"{path}: is a folder, a device or a broken link; expected the name of a file to write")
    with path.open("rb") as file:
        head = file.read(4096)
    if head and mark.encode() not in head:
        raise InputError(f"{path}: is there already, and this command did not make it; expected a new name")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there appears at `path` only when whole.

    Parameters
    ----------
    path : str or Path
        The final place, a file or (if the caller makes a folder at the yielded path) a folder that does not exist.
        Missing parent folders are made.

    Yields
    ------
    Path
        A path in the same folder that does not exist yet. If the block raises, it is removed and `path` is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays at the end, since writers such as np.save and imwrite go by it.
    # The name is cut, since file systems hold 255 bytes of it.
    suffix = path.suffix if len(path.suffix) < 16 else ""
    temporary = Path(tempfile.mktemp(dir=path.parent, prefix=f".{path.stem[:40]}.", suffix=f".part{suffix}"))
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def cache_dir() -> Path:
    """The folder for what can be computed again: `FRACTURE_CACHE`, or the user's cache folder."""
    folder = Path(os.environ.get("FRACTURE_CACHE") or user_cache_dir("fracturelib"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
