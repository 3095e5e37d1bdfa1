"""The data contract: class folders, one manifest, annotations; and what every step needs to know of a data set."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib._cache import read_sealed, write_sealed
from fracturelib._decode import IMAGE_SUFFIXES, image_size, read_grey
from fracturelib._files import InputError, cache_dir, named_folder

CLASSES = ("Not Fractured", "Fractured")  # the index is the label
SPLITS = ("train", "val", "test")
MANIFEST = "manifest.csv"
ANNOTATIONS = "annotations.json"
SIZES_VERSION = 2  # a part of the cache's key: raise it when what is said of a film changes
LABEL_OF = {
    **dict.fromkeys(
        ("notfractured", "nonfractured", "nofracture", "nofractures", "unfractured", "normal", "negative", "intact"),
        0,
    ),
    **dict.fromkeys(("fractured", "fracture", "fractures", "positive", "broken"), 1),
}  # fmt: skip
SPLIT_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
}


def plain(name: str) -> str:
    """A folder's name without regard to case, spaces, hyphens and underscores."""
    return "".join(c for c in name.lower() if c not in " -_")


def class_label(name: str) -> int:
    """The label of a class folder: 0 not fractured, 1 fractured.

    Raises
    ------
    InputError
        If the name is not known; the message gives those that are.
    """
    try:
        return LABEL_OF[plain(name)]
    except KeyError:
        known = "; ".join(
            f"{CLASSES[label]}: {', '.join(n for n, v in LABEL_OF.items() if v == label)}" for label in (1, 0)
        )
        raise InputError(f"class folder {name!r} is not known; expected one of {known}") from None


def data_folder() -> Path:
    """The data set of the course: `FRACTURE_DATA`, or the embedded `data/demo`."""
    return named_folder("FRACTURE_DATA") or Path(__file__).resolve().parent.parent / "data" / "demo"


@dataclass(frozen=True)
class Annotation:
    """One fracture on a film: polygons of (k, 2) float x, y, and bbox x, y, width, height, in pixels."""

    polygons: tuple[NDArray[np.float64], ...]
    bbox: tuple[float, float, float, float]


def load_manifest(folder: str | Path) -> pd.DataFrame:
    """One row a film.

    Parameters
    ----------
    folder : str or Path
        A data set with a `manifest.csv`, or only `train/`, `val/` and perhaps `test/` with class folders; then the
        manifest is made by walking them, and each film is its own group.

    Returns
    -------
    DataFrame
        file (str, relative to `folder`, with /), split (train, val, test), label (int64, 1 = fractured), group (str),
        width, height (int64, pixels), then any metadata. Sorted by file. `attrs["unreadable"]` lists (file, reason) of
        films that were left out.

    Raises
    ------
    InputError
        If the folder is missing or empty, a class folder has an unknown name, or the manifest breaks the contract.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a data set with train/ and val/")
    listed = (folder / MANIFEST).is_file()
    frame = _read_manifest(folder) if listed else walk(folder)
    frame = _with_sizes(folder, frame, decode=not listed)
    unreadable = frame.attrs["unreadable"]
    if frame.empty:
        reason = f" ({unreadable[0][0]}: {unreadable[0][1]})" if unreadable else ""
        raise InputError(f"{folder}: has no readable film{reason}; expected images in its class folders")
    first = ["file", "split", "label", "group", "width", "height"]
    frame = frame[first + [c for c in frame.columns if c not in first]]
    frame = frame.sort_values("file", kind="stable").reset_index(drop=True)
    frame.attrs["unreadable"] = unreadable
    return frame


def walk(folder: Path) -> pd.DataFrame:
    """The films of split and class folders: file, split, label, group (the file itself)."""
    splits = {SPLIT_OF[plain(p.name)]: p for p in subfolders(folder) if plain(p.name) in SPLIT_OF}
    if not splits:
        raise InputError(f"{folder}: has no manifest.csv and no folder called train or val; expected a data set")
    rows = [
        (path.relative_to(folder).as_posix(), split, label)
        for split, parent in splits.items()
        for label, path in labelled_films(parent)
    ]
    if not rows:
        raise InputError(
            f"{folder}: has no image; expected files such as {folder / 'train' / 'Fractured' / 'name.jpg'}"
        )
    frame = pd.DataFrame(rows, columns=["file", "split", "label"])
    return frame.assign(group=frame["file"])


def labelled_films(parent: Path) -> Iterator[tuple[int, Path]]:
    """Label and path of each image in the class folders of `parent`, searched to the bottom."""
    for class_folder in subfolders(parent):
        try:
            label = class_label(class_folder.name)
        except InputError as error:
            raise InputError(f"{class_folder}: {error}") from None
        for path in sorted(class_folder.rglob("*")):
            if is_image_name(path) and path.is_file():
                yield label, path


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, in order, without hidden ones."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX")))


def is_image_name(path: Path) -> bool:
    """Whether a path has the suffix of an image and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _read_manifest(folder: Path) -> pd.DataFrame:
    path = folder / MANIFEST
    try:
        frame = pd.read_csv(path, dtype={"file": str, "split": str, "group": str, "label": str}, keep_default_na=True)
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise InputError(
            f"{path}: not a table ({str(error).splitlines()[0]}); expected comma-separated values"
        ) from None
    missing = [c for c in ("file", "split", "label") if c not in frame.columns]
    if missing:
        raise InputError(
            f"{path}: has no column {', '.join(missing)}; expected file, split, label, group, width, height"
        )
    for name in ("file", "split", "label"):
        if frame[name].isna().any():
            raise InputError(
                f"{path}: row {int(frame[name].isna().argmax()) + 2} has no {name}; expected one in each row"
            )
    if frame["file"].duplicated().any():
        raise InputError(
            f"{path}: {frame['file'][frame['file'].duplicated()].iloc[0]} is there twice; expected one row a film"
        )
    outside = [f for f in frame["file"] if PurePosixPath(f).is_absolute() or ".." in PurePosixPath(f).parts]
    if outside:
        raise InputError(f"{path}: {outside[0]} leaves the folder; expected paths relative to it")
    unknown = sorted(set(frame["split"]) - set(SPLITS))
    if unknown:
        raise InputError(f"{path}: split {unknown[0]!r} is not known; expected one of {', '.join(SPLITS)}")
    frame["label"] = [parse_label(value, path) for value in frame["label"]]
    frame["group"] = frame["group"].fillna(frame["file"]) if "group" in frame else frame["file"]
    return frame


def parse_label(value: object, where: str | Path) -> int:
    """0 or 1 from a number or a class name.

    Raises
    ------
    InputError
        Naming `where`, if it is neither.
    """
    text = str(value).strip()
    if text in ("0", "1", "0.0", "1.0"):
        return int(float(text))
    if plain(text) in LABEL_OF:
        return LABEL_OF[plain(text)]
    raise InputError(f"{where}: label {text!r} is not known; expected 0, 1, {CLASSES[0]!r} or {CLASSES[1]!r}")


def _with_sizes(folder: Path, frame: pd.DataFrame, *, decode: bool) -> pd.DataFrame:
    """Add width and height, and leave out what cannot be read. `decode` reads each film whole, once."""
    unreadable: list[tuple[str, str]] = []
    known = {"width", "height"} <= set(frame.columns) and frame[["width", "height"]].notna().all(axis=None)
    if known:
        there = np.array([(folder / file).is_file() for file in frame["file"]], dtype=bool)
        unreadable = [(file, "no such file") for file in frame["file"][~there]]
        frame = frame[there]
        sizes = frame[["width", "height"]].astype("int64")
    else:
        probed = probe(folder, list(frame["file"]), decode=decode)
        good = np.array([isinstance(p, tuple) for p in probed], dtype=bool)
        unreadable = [(f, p) for f, p in zip(frame["file"], probed, strict=True) if isinstance(p, str)]
        frame = frame[good]
        pairs = [p for p in probed if isinstance(p, tuple)]
        sizes = pd.DataFrame(pairs, columns=["width", "height"], index=frame.index, dtype="int64")
    frame = frame.assign(width=sizes["width"], height=sizes["height"])
    frame.attrs["unreadable"] = unreadable
    return frame


def probe(folder: Path, files: Sequence[str], *, decode: bool) -> list[tuple[int, int] | str]:
    """Width and height of each film, or why it cannot be read; remembered in the cache while files stay as they are."""
    marks = []
    for file in files:
        stat = (folder / file).stat() if (folder / file).is_file() else None
        marks.append(f"{file}|{stat.st_size}|{stat.st_mtime_ns}" if stat else file)
    signs = [str(SIZES_VERSION), str(folder.resolve()), str(decode), *marks]
    key = hashlib.sha256("\n".join(signs).encode(errors="surrogateescape")).hexdigest()[:24]
    memory = cache_dir() / f"sizes-{key}.json"
    known = read_sealed(memory)
    if known is not None:
        return [p if isinstance(p, str) else tuple(p) for p in json.loads(known)]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        result = list(pool.map(lambda file: _probe_one(folder / file, decode), files))
    write_sealed(memory, json.dumps(result).encode())
    return result


def _probe_one(path: Path, decode: bool) -> tuple[int, int] | str:
    try:
        if decode:
            height, width = read_grey(path).shape
            return width, height
        return image_size(path)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")


def load_annotations(folder: str | Path) -> dict[str, list[Annotation]]:
    """The fractures of each film, by the manifest's `file`; empty without an `annotations.json`.

    Raises
    ------
    InputError
        If the file is not COCO.
    """
    path = Path(folder) / ANNOTATIONS
    if not path.is_file():
        return {}
    return read_coco(path)


def read_coco(path: Path) -> dict[str, list[Annotation]]:
    """Fracture instances of a COCO file, by `images[].file_name`; what is not a polygon becomes its box."""
    try:
        coco = json.loads(path.read_text(encoding="utf-8"))
        names = {image["id"]: str(image["file_name"]) for image in coco["images"]}
        found: dict[str, list[Annotation]] = {}
        for annotation in coco["annotations"]:
            found.setdefault(names[annotation["image_id"]], []).append(_annotation(annotation))
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        reason = f"{type(error).__name__} {error}".splitlines()[0]
        raise InputError(f"{path}: not COCO annotations ({reason}); expected images and annotations") from None
    return found


def _annotation(annotation: dict[str, Any]) -> Annotation:
    x, y, w, h = (float(v) for v in annotation["bbox"])
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list) and segmentation:
        polygons = tuple(np.asarray(p, dtype=np.float64).reshape(-1, 2) for p in segmentation)
    else:
        polygons = (np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]]),)
    return Annotation(polygons, (x, y, w, h))


def fracture_mask(annotations: Sequence[Annotation], *, width: int, height: int) -> NDArray[np.uint8]:
    """Where the film is fractured: (height, width) uint8, 1 inside any polygon, 0 elsewhere."""
    mask = np.zeros((height, width), np.uint8)
    for annotation in annotations:
        for polygon in annotation.polygons:
            cv2.fillPoly(mask, [np.round(polygon).astype(np.int32)], 1)
    return mask


def fingerprint(frame: pd.DataFrame) -> str:
    """16 hexadecimal digits that change when a film, its label, its split or its group does."""
    rows = frame.sort_values("file")[["file", "split", "label", "group", "width", "height"]]
    return hashlib.sha256(rows.to_csv(index=False, lineterminator="\n").encode()).hexdigest()[:16]


def require_both_classes(frame: pd.DataFrame, name: str) -> None:
    """Raise InputError unless there are films of both classes."""
    found = sorted(set(frame["label"]))
    if found != [0, 1]:
        only = f"only {CLASSES[found[0]]!r} films" if found else "no film"
        raise InputError(f"{name}: has {only}; expected both {CLASSES[1]!r} and {CLASSES[0]!r}")
