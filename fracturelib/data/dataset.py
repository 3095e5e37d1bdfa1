"""The data contract: class folders, one manifest, annotations; and what every step needs to know of a data set."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from fracturelib._io.cache import read_sealed, write_sealed
from fracturelib._io.files import InputError, cache_dir, named_folder, printable
from fracturelib._io.threads import in_threads
from fracturelib._io.words import STUDY, WORDS
from fracturelib.data.annotations import ANNOTATIONS
from fracturelib.data.coco import Annotation, fracture_mask
from fracturelib.data.decode import image_size, read_grey
from fracturelib.data.labels import (  # fmt: skip
    CLASSES,
    LABEL_OF,
    SPLIT_OF,
    SPLITS,
    STUDY_CLASSES,
    class_label,
    parse_label,
    plain,
    split_of,
)
from fracturelib.data.layouts import read_folder
from fracturelib.data.manifest import MANIFEST
from fracturelib.data.volumes import is_study, read_sagittal

Size = tuple[int, int] | tuple[int, int, int]
SIZES_VERSION = 4  # a part of the cache's key: raise it when what is said of an image changes
__all__ = [
    "ANNOTATIONS", "CLASSES", "LABEL_OF", "MANIFEST", "SPLITS", "SPLIT_OF", "Annotation", "class_label", "data_folder",
    "fingerprint", "fracture_mask", "load_annotations", "load_manifest", "parse_label", "plain", "probe",
    "require_both_classes",
]  # fmt: skip


def data_folder() -> Path:
    """The data set of the course: `FRACTURE_DATA`, or the embedded `data/demo`."""
    return named_folder("FRACTURE_DATA") or Path(__file__).resolve().parents[2] / "data" / "demo"


def load_manifest(folder: str | Path) -> pd.DataFrame:
    """One row an image.

    Parameters
    ----------
    folder : str or Path
        A data set with a `manifest.csv`, or only `train/`, `val/` and perhaps `test/` with class folders; then the
        manifest is made by walking them, and each image is its own group.

    Returns
    -------
    DataFrame
        file (str, relative to `folder`, with /), split (train, val, test), label (int64, 1 = fractured), group (str),
        width, height (int64, pixels), then any metadata. Of studies, label 1 is torn, and slices says how many there
        are. Sorted by file. `attrs["unreadable"]` lists (file, reason) of images that were left out, `attrs["notes"]`
        what else the reader should know, and `attrs["noun"]` is image or study.

    Raises
    ------
    InputError
        If the folder is missing or empty, a class folder has an unknown name, or the manifest breaks the contract.
    """
    folder = Path(folder)
    found = read_folder(folder, outlines=False)
    found.require()
    words = WORDS[found.noun]
    if not found.is_split:
        why = f"; its {words.many} are {found.kind} without splits: fracture data import makes them"
        why = why if len(found.taken) else ""
        if any(split_of(p.name) for p in folder.iterdir() if p.is_dir()):
            example = f"train/{found.classes[1]}/name.{'npy' if found.noun == STUDY else 'jpg'}"
            raise InputError(f"{folder}: has no {words.one}; expected files such as {folder}/{example}")
        raise InputError(f"{folder}: has no manifest.csv and no folder called train or val; expected a data set{why}")
    frame = found.taken.drop(columns=["path", "name"])
    frame["group"] = frame["group"].where(frame["group"] != "", frame["file"])
    frame["label"] = frame["label"].astype("int64")
    frame = _with_sizes(found.folder, frame, decode=found.kind != "a manifest")
    unreadable = [*((file, "no such file") for file in found.missing), *frame.attrs["unreadable"]]
    if frame.empty:
        reason = f" ({printable(unreadable[0][0])}: {unreadable[0][1]})" if unreadable else ""
        raise InputError(f"{folder}: has no readable {words.one}{reason}; expected {words.many} in its class folders")
    first = ["file", "split", "label", "group", "width", "height"] + ["slices"] * (found.noun == STUDY)
    frame = frame[first + [c for c in frame.columns if c not in first]]
    frame = frame.sort_values("file", kind="stable").reset_index(drop=True)
    frame.attrs["unreadable"] = unreadable
    frame.attrs["guessed"] = found.guessed
    frame.attrs["noun"] = found.noun
    frame.attrs["notes"] = [*found.notes, *filter(None, [found.not_taken()])]
    return frame


def _with_sizes(folder: Path, frame: pd.DataFrame, *, decode: bool) -> pd.DataFrame:
    """Add width and height, and leave out what cannot be read, or is cut. `decode` reads each image whole, once."""
    probed = probe(folder, list(frame["file"]), decode=decode)
    unreadable = [(f, p) for f, p in zip(frame["file"], probed, strict=True) if isinstance(p, str)]
    read = [p for p in probed if isinstance(p, tuple)]
    frame = frame[np.array([isinstance(p, tuple) for p in probed], dtype=bool)]
    known = {"width", "height"} <= set(frame.columns) and frame[["width", "height"]].notna().all(axis=None)
    if known:
        sizes = frame[["width", "height"]].astype("int64")
    else:
        sizes = pd.DataFrame([p[:2] for p in read], columns=["width", "height"], index=frame.index, dtype="int64")
    frame = frame.assign(width=sizes["width"], height=sizes["height"])
    if all(len(p) == 3 for p in read):
        frame["slices"] = np.array([p[2] for p in read if len(p) == 3], np.int64)
    frame.attrs["unreadable"] = unreadable
    return frame


def probe(folder: Path, files: Sequence[str], *, decode: bool) -> list[Size | str]:
    """Width and height of each image, or why it cannot be read; cached while files stay as they are.

    Of each study, which is always read whole, its width, height and slices.
    """
    stamps = []
    for file in files:
        path = folder / file
        parts = sorted(path.iterdir()) if path.is_dir() else [path] if path.exists() else []  # a series is a folder
        stats = [part.stat() for part in parts]
        stamps.append("|".join([file, *(f"{stat.st_size}|{stat.st_mtime_ns}" for stat in stats)]))
    signs = [str(SIZES_VERSION), str(folder.resolve()), str(decode), *stamps]
    key = hashlib.sha256("\n".join(signs).encode(errors="surrogateescape")).hexdigest()[:24]
    memory = cache_dir() / f"sizes-{key}.json"
    if known := _sizes(read_sealed(memory), len(files)):
        return known
    result = list(
        in_threads(lambda file: _probe_one(folder / file, decode), files, desc="reading", unit="file", progress=False)
    )
    write_sealed(memory, json.dumps(result).encode())
    return result


def _sizes(text: bytes | None, count: int) -> list[Size | str]:
    """What `probe` keeps of so many images; empty if it is anything else."""
    try:
        read = json.loads(text or b"")
        known = [value if isinstance(value, str) else _size(value) for value in read]
    except (ValueError, TypeError, LookupError):
        return []
    return known if isinstance(read, list) and len(known) == count else []


def _size(value: Sequence[int]) -> Size:
    width, height, *slices = map(int, value)
    return (width, height, slices[0]) if slices else (width, height)


def _ends_whole(path: Path) -> bool:
    """Whether a JPEG or PNG file has its last bytes; of others nothing is known without decoding them."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
            file.seek(max(0, path.stat().st_size - 64))
            tail = file.read(64)
    except OSError:
        return True  # said of it when it is opened as an image
    return (head[:2] == b"\xff\xd8" and b"\xff\xd9" in tail) or (head == b"\x89PNG" and b"IEND" in tail)


def _probe_one(path: Path, decode: bool) -> Size | str:
    try:
        if is_study(path):
            slices, height, width = read_sagittal(path).pixels.shape
            return width, height, slices
        if decode or not _ends_whole(path):
            height, width = read_grey(path).shape
            return width, height
        return image_size(path)
    except InputError as error:
        return str(error).removeprefix(f"{printable(path)}: ")


def load_annotations(folder: str | Path) -> dict[str, list[Annotation]]:
    """The fractures of each image, by the manifest's `file`; empty without annotations.

    Raises
    ------
    InputError
        If a file of annotations cannot be read at all.
    """
    if not Path(folder).is_dir():
        return {}
    found = read_folder(folder)
    found.require()
    return found.annotations


def fingerprint(frame: pd.DataFrame) -> str:
    """16 hexadecimal digits that change when an image's name, size, label, split or group does."""
    rows = frame.sort_values("file")[["file", "split", "label", "group", "width", "height"]]
    text = rows.to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


def require_both_classes(frame: pd.DataFrame, name: str) -> None:
    """Raise InputError unless there are images of both classes."""
    found = sorted(set(frame["label"]))
    if found != [0, 1]:
        noun = frame.attrs.get("noun", "image")
        classes = STUDY_CLASSES if noun == STUDY else CLASSES
        only = f"only {classes[found[0]]!r} {WORDS[noun].many}" if found else f"no {noun}"
        raise InputError(f"{name}: has {only}; expected both {classes[1]!r} and {classes[0]!r}")
