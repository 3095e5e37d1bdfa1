"""Files that appear whole or not at all, and errors that fit on one line."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_dir

SHIPPED = Path(__file__).resolve().parent.parent / "data" / "checkpoints"
FILMS_MODEL = SHIPPED / "fracatlas-taught-lite0.pt"  # for real films; its model card lies beside it
FILMS_SPLITS = SHIPPED / "fracatlas-taught-lite0-splits.csv"


class InputError(ValueError):
    """A mistake in what the user gave: one line that names it, says what it was and what was expected."""


def printable(name: object) -> str:
    """A name as it can be shown: what is no character, or steers a terminal, is escaped."""
    text = os.fspath(name) if isinstance(name, Path) else str(name)
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


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
    temporary = Path(tempfile.mktemp(dir=path.parent, prefix=f".{path.stem}.", suffix=f".part{path.suffix}"))
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


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
    folder.mkdir(parents=True, exist_ok=True)
    return folder
