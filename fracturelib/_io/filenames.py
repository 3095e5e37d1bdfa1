"""Names as they can be written, used for files, and typed."""

import hashlib
import os
import subprocess
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from shlex import join as shell_join

from fracturelib._io.files import printable


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
