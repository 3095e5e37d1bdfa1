"""One walk of the disk: which files of a folder are images, which are something else, and what was not followed."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from fracturelib.data.dicom import is_dicom

IMAGE_SUFFIXES = frozenset((  # in any case
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".dcm", ".dicom",
    ".dic", ".ima",
))  # fmt: skip
OTHER_SUFFIXES = frozenset((  # known to be no image, so that nothing is opened to find out
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".yaml", ".yml", ".xml", ".html", ".htm", ".md",
    ".rst", ".pdf", ".doc", ".docx", ".odt", ".rtf", ".xls", ".xlsx", ".ods", ".ppt", ".pptx", ".py",
    ".ipynb", ".sh", ".js", ".css", ".toml", ".ini", ".cfg", ".log", ".zip", ".gz", ".tar", ".7z", ".rar",
    ".pt", ".pth", ".onnx", ".npy", ".npz", ".pkl", ".pickle", ".h5", ".mat", ".db", ".sqlite", ".lnk",
    ".gif", ".svg", ".mp4", ".avi", ".mov", ".cache", ".names", ".part", ".crdownload", ".lock", ".bib",
))  # fmt: skip
MACHINE = frozenset((
    "__macosx", "@eadir", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "system volume information",
    "lost+found", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
))  # fmt: skip
TWICE = "leads to what is there already; taken once"


def is_hidden(name: str) -> bool:
    """Whether a file or folder was put there by a machine for itself: dot-folders, AppleDouble, thumbnails, trash."""
    return name.startswith((".", "~$")) or name.lower() in MACHINE


@dataclass
class Walk:
    """What a folder holds; every name is relative to it, with /, and in order.

    Attributes
    ----------
    folder : Path
    images : list of str
        Regular files that are images by their suffix, or by their first bytes where the suffix is unknown.
    others : list of str
        All other regular files.
    passed : list of (kind, name, detail)
        What was not followed or opened: kind is "link", "not_a_file" or "name" (`found.KINDS`).
    studies : bool
        What is listed as images are studies: files of volumes, and folders that are DICOM series.
    """

    folder: Path
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    passed: list[tuple[str, str, str]] = field(default_factory=list)
    studies: bool = False


def walk_folder(folder: Path) -> Walk:
    """List a folder to the bottom. Links are followed; a loop is cut, and what two ways lead to is taken once."""
    walk = Walk(folder)
    seen = {os.path.realpath(folder)}
    links: list[tuple[str, str]] = []
    _visit(walk, "", os.fspath(folder), seen, links)
    # Links come last, so that what is there in its own right is not taken for a copy of its link.
    links.sort()
    while links:
        name, path = links.pop(0)
        real = os.path.realpath(path)
        if not os.path.exists(real):
            walk.passed.append(("link", name, "leads nowhere"))
        elif real in seen:
            walk.passed.append(("link", name, TWICE))
        elif os.path.isdir(real):
            if os.path.realpath(os.path.dirname(path)).startswith(real.rstrip("/") + "/"):
                walk.passed.append(("link", name, "leads back to a folder above it; not followed"))
                continue
            found: list[tuple[str, str]] = []
            _visit(walk, name + "/", path, seen, found)
            links += sorted(found)
        else:
            seen.add(real)
            _take(walk, name, path, os.path.isfile(real))
    for names in (walk.images, walk.others, walk.passed):
        names.sort()
    return walk


def _visit(walk: Walk, prefix: str, path: str, seen: set[str], links: list[tuple[str, str]]) -> None:
    pending = [(prefix, path)]
    while pending:
        prefix, path = pending.pop()
        real = os.path.realpath(path)
        if prefix and real in seen:
            walk.passed.append(("link", prefix.rstrip("/"), TWICE))
            continue
        seen.add(real)
        try:
            entries = sorted(os.scandir(path), key=lambda e: e.name)
        except OSError as error:
            walk.passed.append(("not_a_file", prefix.rstrip("/"), f"a folder that cannot be opened ({error.strerror})"))
            continue
        for entry in entries:
            name = prefix + entry.name
            if is_hidden(entry.name):
                continue
            if not entry.name.isascii() and not _is_text(entry.name):
                walk.passed.append(("name", name, "not UTF-8; rename it"))
            elif entry.is_symlink():
                links.append((name, entry.path))
            elif entry.is_dir():
                pending.append((name + "/", entry.path))
            elif f"{real}/{entry.name}" in seen:
                walk.passed.append(("link", name, TWICE))
            else:
                seen.add(f"{real}/{entry.name}")
                _take(walk, name, entry.path, entry.is_file())


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _take(walk: Walk, name: str, path: str, regular: bool) -> None:
    if not regular:
        # A pipe would be waited for without end.
        walk.passed.append(("not_a_file", name, "neither a file nor a folder; not opened"))
    elif is_image_file(path):
        walk.images.append(name)
    else:
        walk.others.append(name)


def is_image_file(path: str | Path) -> bool:
    """Whether a regular file is an image by its suffix; where that is missing or unknown, by its first bytes."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in IMAGE_SUFFIXES:
        return True
    if suffix in OTHER_SUFFIXES or os.path.basename(path).upper() == "DICOMDIR":
        return False
    try:
        with open(path, "rb") as file:
            return has_image_head(file.read(132))
    except OSError:
        return False


def has_image_head(head: bytes) -> bool:
    """Whether a file begins (132 bytes) as DICOM, JPEG, PNG, TIFF, WebP or BMP does."""
    return (
        is_dicom(head)
        or head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
        or (head.startswith(b"BM") and head[6:10] == bytes(4) and head[14:18] in _BMP_HEADERS)
    )


_BMP_HEADERS = {size.to_bytes(4, "little") for size in (12, 40, 52, 56, 64, 108, 124)}
