"""What a folder holds and says: films, labels, splits, tables, boxes; and where they contradict each other."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from fracturelib._decode import TURNED, orientation
from fracturelib._files import InputError
from fracturelib._files import printable as shown
from fracturelib.data import ANNOTATIONS, LABEL_OF, MANIFEST, SPLIT_OF, is_image_name, parse_label, plain
from fracturelib.layouts import read_fracatlas

COCO_OF_FRACATLAS = Path("Annotations") / "COCO JSON" / "COCO_fracture_masks.json"


@dataclass(frozen=True)
class Problem:
    """Something that is wrong with one file: its kind (see `KINDS`), the file, and what exactly."""

    kind: str
    file: str
    detail: str


KINDS = {
    "unreadable": "cannot be read",
    "blank": "show nothing: one grey value",
    "labels_disagree": "have another label in their folder, the table or the annotations",
    "row_without_image": "are in the table, but not in the folder",
    "image_without_row": "are in the folder, but not in the table",
    "annotation_without_image": "are annotated, but not in the folder",
    "fracture_without_annotation": "are called fractured, and have no annotation, though others have",
    "box_outside": "have a box that leaves the film",
    "turned": "are turned by their EXIF orientation against their annotations",
    "size_differs": "have annotations for another size",
    "table": "are tables or annotations that cannot be read",
}


@dataclass
class Source:
    """What a folder holds.

    Attributes
    ----------
    folder : Path
    paths : list of Path
    films : DataFrame
        file (shown, relative), split ("" if none), label (Int64, missing if unknown), group ("" if unknown), then
        metadata; one row for each path.
    problems : list of Problem
    boxes : dict
        file -> list of (x, y, width, height).
    sizes : dict
        file -> (width, height) that its annotations are meant for.
    """

    folder: Path
    paths: list[Path]
    films: pd.DataFrame
    problems: list[Problem] = field(default_factory=list)
    boxes: dict[str, list[tuple[float, float, float, float]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)


def read_source_folder(folder: str | Path) -> Source:
    """List a folder's films, whatever its layout: with or without splits, classes, manifest.

    Raises
    ------
    InputError
        If it is no folder, or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{shown(folder)}: no such folder; expected a folder of X-rays")
    paths = sorted(_images(folder))
    if not paths:
        raise InputError(f"{shown(folder)}: has no image; expected files such as .jpg, .png or .dcm, at any depth")
    relative = [path.relative_to(folder) for path in paths]
    films = pd.DataFrame(
        {
            "file": [shown(p.as_posix()) for p in relative],
            "split": [_nearest(p, SPLIT_OF, "") for p in relative],
            "label": pd.array([_nearest(p, LABEL_OF, None) for p in relative], dtype="Int64"),
            "group": "",
        }
    )
    source = Source(folder, paths, films)
    if (folder / "dataset.csv").is_file() and (folder / "images").is_dir():
        _add_fracatlas(source)
    elif (folder / MANIFEST).is_file():
        _add_manifest(source)
    _add_annotations(source)
    return source


def _images(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        for name in files:
            path = Path(root) / name
            # What is no file, such as a pipe, would be waited for without end.
            if is_image_name(path) and (path.is_file() or not path.exists()):
                yield path


def _nearest(path: Path, known: dict[str, Any], default: Any) -> Any:
    """What the innermost folder with a known name says."""
    for part in reversed(path.parts[:-1]):
        if plain(part) in known:
            return known[plain(part)]
    return default


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, low_memory=False)
    except (ValueError, OSError, OverflowError) as error:
        raise InputError(f"not a table ({_first(error)}); expected comma-separated values") from None


def _first(error: Exception) -> str:
    lines = shown(str(error).strip().split("\n")[0])
    return lines[:200] or type(error).__name__


def _add_manifest(source: Source) -> None:
    try:
        table = _read_table(source.folder / MANIFEST)
        if "file" not in table.columns:
            raise InputError("has no column file; expected file, split, label, group")
    except InputError as error:
        source.problems.append(Problem("table", MANIFEST, str(error)))
        return
    table = table.assign(file=[shown(str(PurePosixPath(str(f)))) for f in table["file"]]).drop_duplicates("file")
    labels = [_label_or_none(v) for v in table["label"]] if "label" in table.columns else None
    _merge(source, table, labels, MANIFEST)
    merged = table.set_index("file").reindex(source.films["file"])
    if "split" in table.columns:
        told = [SPLIT_OF.get(plain(str(v)), "") for v in merged["split"]]
        source.films["split"] = [a or b for a, b in zip(told, source.films["split"], strict=True)]
    if "group" in table.columns:
        source.films["group"] = ["" if pd.isna(v) else shown(v) for v in merged["group"]]


def _label_or_none(value: object) -> int | None:
    try:
        return parse_label(value, "")
    except InputError:
        return None


def _merge(source: Source, table: pd.DataFrame, labels: list[int | None] | None, name: str) -> None:
    """Take labels and metadata of a table with a column file; note what does not fit."""
    here = set(source.films["file"])
    for file in table["file"][~table["file"].isin(here)]:
        source.problems.append(Problem("row_without_image", file, f"in {name} only"))
    told = set(table["file"])
    for file in source.films["file"][~source.films["file"].isin(told)]:
        source.problems.append(Problem("image_without_row", file, f"not in {name}"))
    merged = table.set_index("file").reindex(source.films["file"])
    if labels is not None:
        by_file = dict(zip(table["file"], labels, strict=True))
        _reconcile(source, [by_file.get(f) for f in source.films["file"]], name)
    taken = {"file", "split", "label", "group", "width", "height"}
    for column in table.columns:
        if column not in taken:
            source.films[str(column)] = merged[column].to_numpy()


def _reconcile(source: Source, told: list[int | None], where: str) -> None:
    """Fill in labels that only a table knows, and note where it says other than the folder."""
    label = list(source.films["label"])
    for i, (file, said) in enumerate(zip(source.films["file"], told, strict=True)):
        if said is None:
            continue
        if pd.isna(label[i]):
            label[i] = said
        elif label[i] != said:
            source.problems.append(
                Problem(
                    "labels_disagree", file, f"folder says {'not ' * (1 - label[i])}fractured, {where} the opposite"
                )
            )
    source.films["label"] = pd.array(label, dtype="Int64")


def _add_fracatlas(source: Source) -> None:
    """Table, regions and stand-in groups of FracAtlas, whose films are known by their bare names."""
    try:
        table = _read_table(source.folder / "dataset.csv")
        found = read_fracatlas(source.folder).films.drop_duplicates("name").set_index("name")
        names = table["image_id"].astype(str)
    except (InputError, KeyError, ValueError, TypeError) as error:
        source.problems.append(Problem("table", "dataset.csv", _first(error).removeprefix(f"{source.folder}/")))
        return
    file_of = {Path(file).name: file for file in source.films["file"]}
    labels = [_label_or_none(v) for v in table["fractured"]]
    table = pd.DataFrame({"file": [file_of.get(n, shown(n)) for n in names], "label": labels})
    kept = ~table["file"].duplicated()
    _merge(source, table[kept][["file"]], [v for v, k in zip(labels, kept, strict=True) if k], "dataset.csv")
    own = found.reindex([Path(file).name for file in source.films["file"]])
    source.films["group"] = own["group"].fillna("").to_numpy()
    for column in ("region", "view", "hardware", "multiscan"):
        if column in own:
            source.films[column] = own[column].to_numpy()


def _add_annotations(source: Source) -> None:
    places = [Path(ANNOTATIONS), COCO_OF_FRACATLAS]
    place = next((p for p in places if (source.folder / p).is_file()), None)
    if place is None:
        return
    files = {**{Path(f).name: f for f in source.films["file"]}, **{f: f for f in source.films["file"]}}
    try:
        coco = json.loads((source.folder / place).read_text(encoding="utf-8"))
        named = {image["id"]: image for image in coco["images"]}
        for image in coco["images"]:
            file = files.get(shown(image["file_name"]))
            if file and "width" in image and "height" in image:
                source.sizes[file] = (int(image["width"]), int(image["height"]))
        for annotation in coco["annotations"]:
            name = shown(named[annotation["image_id"]]["file_name"])
            x, y, w, h = (float(v) for v in annotation["bbox"])
            source.boxes.setdefault(files.get(name, name), []).append((x, y, w, h))
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError, OverflowError) as error:
        detail = f"not COCO annotations ({type(error).__name__} {_first(error)})"
        source.problems.append(Problem("table", place.as_posix(), detail))
        source.boxes.clear()
        return
    here = set(source.films["file"])
    for file in sorted(set(source.boxes) - here):
        source.problems.append(Problem("annotation_without_image", file, f"in {place.name} only"))
    _reconcile(source, [1 if file in source.boxes else None for file in source.films["file"]], place.name)
    for file, label in zip(source.films["file"], source.films["label"], strict=True):
        if source.boxes and label == 1 and file not in source.boxes:
            source.problems.append(Problem("fracture_without_annotation", file, f"not in {place.name}"))


def check_boxes(source: Source, width: list[float], height: list[float]) -> list[Problem]:
    """Boxes that leave the film, and films that are not as their annotations take them to be; sizes in pixels."""
    found = []
    rows = zip(source.films["file"], source.paths, width, height, strict=True)
    for file, path, w, h in rows:
        if not w > 0:
            continue
        meant = source.sizes.get(file, (int(w), int(h)))
        if meant != (int(w), int(h)):
            turned = orientation(path) in TURNED and meant == (int(h), int(w))
            kind = "turned" if turned else "size_differs"
            detail = f"annotated as {meant[0]} x {meant[1]}, shown as {int(w)} x {int(h)} pixels"
            found.append(Problem(kind, file, detail))
        for x, y, bw, bh in source.boxes.get(file, []):
            # Rounding may put a box one pixel over the edge.
            if not (x >= -1 and y >= -1 and x + bw <= meant[0] + 1 and y + bh <= meant[1] + 1 and bw > 0 and bh > 0):
                found.append(
                    Problem("box_outside", file, f"box {x:g}, {y:g}, {bw:g}, {bh:g} on {meant[0]} x {meant[1]} pixels")
                )
    return found
