"""What a folder holds, decided once for audit, import, training and scoring."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pandas as pd

from fracturelib._files import InputError, printable
from fracturelib._names import FileNames, cleaned, guess_patients
from fracturelib._tables import read_table
from fracturelib._walk import Walk, is_image_file, walk_folder
from fracturelib.coco import Coco, read_coco
from fracturelib.found import KINDS, Found, Problem
from fracturelib.labels import CLASSES, LABEL_OF, SPLIT_OF, SPLITS, class_label, parse_label, plain
from fracturelib.published import (
    FRACATLAS_COCO,
    GRAZ_CLASSES,
    MURA_FOLDER,
    MURA_STUDY,
    TABLE,
    add_fracatlas,
    add_graz,
    add_mura,
    consecutive_groups,
    is_mura,
)  # fmt: skip
from fracturelib.yolo import Yolo, read_yolo

__all__ = ["KINDS", "Found", "Problem", "consecutive_groups", "read_folder", "read_fracatlas"]

MANIFEST = "manifest.csv"
ANNOTATIONS = "annotations.json"
PER_SPLIT = "_annotations.coco.json"  # beside the images of each split, as Roboflow exports it
NEUTRAL = frozenset((  # folders that say nothing of a class
    "images", "image", "imgs", "img", "pictures", "films", "xrays", "radiographs", "data", "files", "all",
    "unlabelled", "unlabeled", "unknown",
))  # fmt: skip
FURNITURE = re.compile(
    r"(manifest|dataset|left_out|(train|valid)_(image_paths|labeled_studies))\.csv|(annotations|import|simulation)\.json|"
    r"(readme|licen[cs]e|citation|changelog|notice)[^/]*|attribution.*", re.IGNORECASE
)  # fmt: skip
MAX_SIDE = 100_000
IMAGE = "image that is meant"  # a column for the reading only


def read_folder(
    folder: str | Path, *, group_pattern: str | None = None, outlines: bool = True, inside: bool = False
) -> Found:
    """Recognise the layout of a folder, and list what is there.

    Parameters
    ----------
    folder : str or Path
    group_pattern : str, optional
        A regular expression; its first group, found in an image's path, is the patient.
    outlines : bool
        Read annotations even where labels do not hang on them.
    inside : bool
        The folder may be a part of a set (test/, test/Fractured/): what it is called, and the set's tables, count.

    Raises
    ------
    InputError
        If it is no folder or `group_pattern` does not fit. What else stands in the way is in `Found.errors`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{printable(folder)}: no such folder; expected a data set with train/ and val/")
    walk = walk_folder(folder)
    if inside:
        walk = _as_part(walk)
    complete = walk.folder == folder
    root = next(iter(_roots(walk)), "")
    root = next((r for r in _roots(walk) if {r + MANIFEST, r + TABLE} & set(walk.others)), root)
    found = Found("class folders", walk.folder, _by_folders(walk))
    found.problems += [Problem(kind, printable(name), detail) for kind, name, detail in walk.passed]
    _read_layout(found, walk, root, outlines, complete)
    _patients(found, group_pattern)
    if not complete:
        found.errors.clear()
    return found


def read_fracatlas(root: Path) -> Found:
    """FracAtlas in its published layout; see `published.add_fracatlas`."""
    found = read_folder(root)
    found.require()
    if found.kind != "FracAtlas":
        raise InputError(f"{root / 'images'}: has no image; expected Fractured/ and Non_fractured/ with .jpg files")
    return found


def _as_part(walk: Walk) -> Walk:
    """The walk with names relative to the set that the folder lies in, as far up as folders are called like parts."""
    folder = base = Path(os.path.abspath(walk.folder))
    while _is_part(base.name) and base.parent != base:
        base = base.parent
    if base == folder:
        return walk
    prefix = folder.relative_to(base).as_posix() + "/"
    tables = [f for f in (MANIFEST, TABLE, ANNOTATIONS, FRACATLAS_COCO) if (base / f).is_file()]
    passed = [(kind, prefix + name, detail) for kind, name, detail in walk.passed]
    return Walk(base, [prefix + f for f in walk.images], tables + [prefix + f for f in walk.others], passed)


def _is_part(name: str) -> bool:
    known = plain(name) in LABEL_OF or plain(name) in SPLIT_OF or plain(name) in NEUTRAL
    return (
        known or name.startswith(MURA_FOLDER) or bool(MURA_STUDY.fullmatch(name) or re.fullmatch(r"patient\d+", name))
    )


def _roots(walk: Walk) -> Iterator[str]:
    """The folder, and the folder in the folder, as zip files often have it, each with / at its end."""
    prefix = ""
    while True:
        yield prefix
        names = [*walk.images, *walk.others]
        children = {n[len(prefix) :].split("/")[0] for n in names if n.startswith(prefix) and "/" in n[len(prefix) :]}
        child = next(iter(children), "")
        if len(children) != 1 or _is_part(child):
            return
        prefix += child + "/"


def _by_folders(walk: Walk) -> pd.DataFrame:
    """What the names of folders say of each image: the outermost that is called like a split, and like a class."""
    outer = max(_roots(walk), key=len)
    said: dict[str, tuple[str, int | None, int, int]] = {}
    rows = []
    for file in walk.images:
        folder, _, name = file.rpartition("/")
        if folder not in said:
            parts = [plain(p) for p in folder.split("/")] if folder else []
            split = next((i for i, p in enumerate(parts) if p in SPLIT_OF), -1)
            label = next((i for i, p in enumerate(parts) if p in LABEL_OF), -1)
            value = LABEL_OF[parts[label]] if label >= 0 else None
            said[folder] = SPLIT_OF[parts[split]] if split >= 0 else "", value, split, label
        split_name, value, i, j = said[folder]
        kept = [p for k, p in enumerate(folder.split("/")) if k not in (i, j) and not (k == 0 and plain(p) == "images")]
        rest = [p for p in kept if p and plain(p) != "images"][outer.count("/") if file.startswith(outer) else 0 :]
        rows.append((walk.folder / file, file, "/".join([*rest, name]), split_name, value))
    films = pd.DataFrame(rows, columns=["path", "file", "name", "split", "label"], dtype=object)
    return films.assign(label=pd.array(films["label"], dtype="Int64"), group="")


def _read_layout(found: Found, walk: Walk, root: str, outlines: bool, complete: bool) -> None:
    """Table, annotations and labels, by the kind of the layout."""
    others, used = set(walk.others), set()
    listed = root + MANIFEST in others and _add_manifest(found, walk, root, complete)
    table = "" if listed else _kind_of_table(found, root) if root + TABLE in others else ""
    mura = not listed and not table and is_mura(walk)
    bare = not listed and not table and not mura and not found.films["label"].notna().any()
    boxes, cocos = Yolo(), []
    if outlines or table or bare:
        published = GRAZ_CLASSES if table == "GRAZ" else None
        boxes = read_yolo(walk, walk.images, published=published)
        cocos = _read_cocos(found, walk, root, complete)
        _take_boxes(found, boxes, quiet=table == "GRAZ")
        used = boxes.files | {name for name, _ in cocos}
    try:
        if table == "FracAtlas":
            add_fracatlas(found, root + TABLE, complete=complete)
        elif table == "GRAZ":
            add_graz(found, root + TABLE, boxes, complete=complete)
        elif mura:
            add_mura(found)
        elif bare:
            _labels_from_annotations(found, boxes, cocos)
    except InputError as error:
        found.problems.append(Problem("table", TABLE, str(error).removeprefix(f"{found.folder / (root + TABLE)}: ")))
        found.errors.append(str(error))
    if not table and not mura:
        _check_folders(found, listed)
        _compare(found)
    found.others = [f for f in walk.others if f not in used and not FURNITURE.fullmatch(f.rpartition("/")[2])]


def _kind_of_table(found: Found, root: str) -> str:
    with (found.folder / (root + TABLE)).open(encoding="utf-8", errors="replace") as file:
        header = file.readline(10_000)
    if "filestem" in header:
        return "GRAZ"
    return (
        "FracAtlas" if "image_id" in header or any(f.startswith(f"{root}images/") for f in found.films["file"]) else ""
    )


def _add_manifest(found: Found, walk: Walk, root: str, complete: bool) -> bool:
    """Splits, labels, patients and metadata of manifest.csv, which decides what counts; False if it is no table."""
    path = found.folder / (root + MANIFEST)
    columns = ("file", "split", "label", "group", "width", "height")
    try:
        table = read_table(path, text=columns)
        missing = [c for c in ("file", "split", "label") if c not in table.columns]
        if missing:
            raise InputError(f"{path}: has no column {', '.join(missing)}; expected {', '.join(columns)}")
    except InputError as error:
        found.problems.append(Problem("table", root + MANIFEST, str(error).removeprefix(f"{printable(path)}: ")))
        found.errors.append(str(error))
        return False
    found.kind = "a manifest"
    table = table.assign(**_checked(found, walk, table, root, path))
    if complete:
        note = f"rows of {MANIFEST} have no image"
        found.say("row_without_image", found.missing, f"in {MANIFEST} only", note)
    rows = table[table[IMAGE].notna()].drop_duplicates(IMAGE).set_index(IMAGE)
    here = rows.reindex(found.films["file"])
    unlisted = list(found.films.loc[~found.films["file"].isin(rows.index), "file"])
    found.say("image_without_row", unlisted, f"not in {MANIFEST}", f"images are not in {MANIFEST} and were left out")
    folder_says = found.films["label"]
    told = pd.array(here["label"], dtype="Int64")
    differs = ((folder_says != told) & folder_says.notna() & pd.Series(told).notna()).fillna(False)
    for file, label in zip(found.films.loc[differs, "file"], folder_says[differs], strict=True):
        detail = f"folder says {'not ' * (1 - int(label))}fractured, {MANIFEST} the opposite"
        found.problems.append(Problem("labels_disagree", printable(file), detail))
    group = here["group"].fillna("").to_numpy() if "group" in here else ""
    found.films = found.films.assign(split=here["split"].fillna("").to_numpy(), label=told, group=group)
    rest = [c for c in table.columns if c not in ("file", IMAGE, "split", "label", "group", "path", "name")]
    found.films = pd.concat([found.films, here[rest].reset_index(drop=True)], axis=1)
    return True


def _checked(found: Found, walk: Walk, table: pd.DataFrame, root: str, path: Path) -> dict[str, Any]:
    """Columns image (the file that is meant), split, label, width and height of a manifest; what is wrong is kept."""
    names = FileNames(walk.images)
    result: dict[str, list[Any]] = {c: [] for c in (IMAGE, "split", "label", "width", "height")}
    seen: dict[str, str] = {}
    for number, row in enumerate(table.to_dict("records"), start=2):

        def wrong(detail: str, kind: str = "table", file: object = row["file"]) -> None:
            found.refuse(kind, root + MANIFEST if pd.isna(file) else str(file), detail, where=path)

        for column in ("file", "split", "label"):
            if pd.isna(row[column]):
                wrong(f"row {number} has no {column}; expected one in each row")
        name = "" if pd.isna(row["file"]) else str(row["file"])
        image = _listed_image(found, names, name, root, wrong) if name else None
        key = image or cleaned(name)
        if key and key in seen:
            spelt = "" if seen[key] == name else f" (as {printable(seen[key])})"
            wrong(f"{printable(name)} is there twice{spelt}; expected one row a film", "listed_twice")
        elif name and image is None:
            found.missing.append(root + cleaned(name))
        seen[key] = name
        result[IMAGE].append(image)
        split = None if pd.isna(row["split"]) else SPLIT_OF.get(plain(str(row["split"]).strip()))
        if split is None and pd.notna(row["split"]):
            wrong(f"split {printable(row['split'])!r} is not known; expected one of {', '.join(SPLITS)}")
        result["split"].append(split)
        result["label"].append(None)
        if pd.notna(row["label"]):
            try:
                result["label"][-1] = parse_label(row["label"], path)
            except InputError as error:
                wrong(str(error).removeprefix(f"{path}: "))
        for column in ("width", "height"):
            value = row.get(column)
            size = None if value is None or pd.isna(value) else _side(value)
            if size is None and value is not None and pd.notna(value):
                said = f"{column} is {printable(value)!r} in {MANIFEST}; the image's own is taken"
                found.problems.append(Problem("size_in_table", printable(name), said))
            result[column].append(size)
    odd = [p.file for p in found.problems if p.kind == "size_in_table"]
    if odd:
        found.notes.append(f"{len(odd)} widths and heights in {MANIFEST} are no sizes, such as of {odd[0]}")
    return {c: v for c, v in result.items() if c in table or c == IMAGE}


def _listed_image(found: Found, names: FileNames, name: str, root: str, wrong: Any) -> str | None:
    if root + name in names.files:
        return root + name
    text = name.strip()
    outside = PurePosixPath(text).is_absolute() or PureWindowsPath(text).drive or ".." in PureWindowsPath(text).parts
    if outside:
        wrong(f"{printable(name)} leaves the folder; expected paths relative to it")
        return None
    try:
        image = names.find(name, base=root)
    except LookupError as error:
        wrong(f"{printable(name)} may be {printable(error)}; expected its path", "ambiguous")
        return None
    if image is None and (found.folder / root / cleaned(name)).exists():
        # A link to an image that is taken by its own name is that image.
        real = os.path.relpath(os.path.realpath(found.folder / root / cleaned(name)), os.path.realpath(found.folder))
        return real if real in names.files else None
    return image


def _side(value: object) -> int | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if 1 <= number <= MAX_SIDE and number.is_integer() else None


def _read_cocos(found: Found, walk: Walk, root: str, complete: bool) -> list[tuple[str, Coco]]:
    """Take the instances of every COCO file that is where such files lie."""
    places = [root + ANNOTATIONS, root + FRACATLAS_COCO]
    files = [f for f in walk.others if f in places or f.endswith(PER_SPLIT) or _is_instances(f)]
    names = FileNames(walk.images)
    result = []
    for file in files:
        try:
            coco = read_coco(found.folder / file)
        except InputError as error:
            found.problems.append(
                Problem("table", file, str(error).removeprefix(f"{printable(found.folder / file)}: "))
            )
            found.errors.append(str(error))
            continue
        result.append((file, coco))
        if coco.note:
            found.notes.append(coco.note)
        _resolve(found, coco, names, file, complete)
    return result


def _is_instances(file: str) -> bool:
    return bool(re.fullmatch(r"instances_[^/]*\.json", file.rpartition("/")[2]))


def _resolve(found: Found, coco: Coco, names: FileNames, file: str, complete: bool) -> None:
    """Instances and sizes by the image that a COCO file means."""
    base = file.rpartition("/")[0] + "/" if "/" in file else ""
    meant: dict[str, str] = {}
    unclear, strangers = [], []
    for name in dict.fromkeys(coco.images):
        try:
            image = names.find(name, base=base, loosely=True)
        except LookupError as error:
            unclear.append(name)
            found.problems.append(Problem("ambiguous", printable(name), f"in {file}; may be {printable(error)}"))
            continue
        if image is None and name in coco.found:
            strangers.append(name)
        meant[name] = image or cleaned(name)
    if unclear:
        found.notes.append(
            f"{len(unclear)} names in {Path(file).name} fit several images, and their outlines were not taken, such as "
            f"{printable(unclear[0])}"
        )
    if complete:
        said = f"annotated images are not in the folder ({Path(file).name})"
        found.say("annotation_without_image", strangers, f"in {Path(file).name} only", said)
    for name, detail in coco.faults:
        found.problems.append(Problem("outline", printable(meant.get(name, name) or file), detail))
    if coco.faults:
        found.notes.append(
            f"{len(coco.faults)} annotations in {Path(file).name} are faulty, such as: {coco.faults[0][1]}"
        )
    for name, image in meant.items():
        if name in coco.sizes:
            found.sizes[image] = coco.sizes[name]
        known = {_mark(a) for a in found.annotations.get(image, [])}
        fresh = [a for a in coco.found.get(name, []) if _mark(a) not in known]
        if fresh:
            found.annotations.setdefault(image, []).extend(fresh)
    coco.images = [meant[name] for name in coco.images if name in meant]


def _mark(annotation: Any) -> tuple[Any, ...]:
    return annotation.bbox, tuple(p.tobytes() for p in annotation.polygons)


def _take_boxes(found: Found, boxes: Yolo, *, quiet: bool) -> None:
    for image, instances in boxes.found.items():
        found.annotations.setdefault(image, []).extend(instances)
    found.errors += boxes.errors
    found.problems += [Problem("table", e.split(": ")[0], e.split(": ", 1)[-1]) for e in boxes.errors]
    found.problems += [Problem("outline", printable(image), detail) for image, detail in boxes.faults]
    if boxes.faults:
        found.notes.append(f"{len(boxes.faults)} YOLO labels cannot be used: of {printable(boxes.faults[0][0])}")
    if boxes.note and not quiet:
        found.notes.append(boxes.note)


def _labels_from_annotations(found: Found, boxes: Yolo, cocos: list[tuple[str, Coco]]) -> None:
    """Where no folder or table says a class: an image with an outline is fractured, others that were seen are not."""
    if not found.annotations:
        return
    seen = {image for _, coco in cocos for image in coco.images} | boxes.labelled
    near = {_mirrored(f) for f in boxes.files if f.endswith(".txt")}
    silent = [f for f in found.films["file"] if f not in seen and boxes.labelled and f.rpartition("/")[0] in near]
    if silent:
        found.notes.append(f"{len(silent)} images have no YOLO file, and count as not fractured, such as {silent[0]}")
    seen |= set(silent)
    label = [1 if f in found.annotations else 0 if f in seen else None for f in found.films["file"]]
    found.kind = "YOLO labels" if boxes.found else "COCO annotations"
    found.films["label"] = pd.array(label, dtype="Int64")


def _mirrored(text: str) -> str:
    """The folder of the images whose labels lie in this one."""
    return "/".join("images" if plain(p) == "labels" else p for p in text.split("/")[:-1])


def _check_folders(found: Found, listed: bool) -> None:
    """Splits under two names, class folders and split folders that nobody knows; a manifest knows better."""
    if listed:
        return
    spelt: dict[str, set[str]] = defaultdict(set)
    classes: set[str] = set()
    bare: set[str] = set()
    for file, label in zip(found.films["file"], found.films["label"], strict=True):
        folders = file.split("/")[:-1]
        split = next((i for i, p in enumerate(folders) if plain(p) in SPLIT_OF), -1)
        if split >= 0:
            spelt[SPLIT_OF[plain(folders[split])]].add(folders[split])
        place = next((i for i, p in enumerate(folders) if plain(p) in LABEL_OF), -1)
        if place >= 0:
            classes.add("/".join(folders[:place]))
        elif folders and pd.isna(label):
            bare.add("/".join(folders))
    for meant, names in sorted(spelt.items()):
        if len(names) > 1:
            found.notes.append(f"{', '.join(f'{n}/' for n in sorted(names))} are all {meant}, and were joined")
    _refuse_classes(found, classes, bare)
    if found.is_split:
        away = found.films[(found.films["split"] == "") & found.films["label"].notna()]
        for top in sorted({f.split("/")[0] for f in away["file"] if "/" in f}):
            found.problems.append(Problem("split_folder", printable(top), f"expected {', '.join(SPLITS)}"))


def _refuse_classes(found: Found, classes: set[str], bare: set[str]) -> None:
    """A folder with images beside class folders, or where other splits have theirs, must have a known name."""
    below_splits = not classes or any(plain(c.rpartition("/")[2]) in SPLIT_OF for c in classes)
    unknown = set()
    for folder in bare:
        parts = folder.split("/")
        for i, part in enumerate(parts):
            above = "/".join(parts[:i])
            in_split = below_splits and i > 0 and plain(parts[i - 1]) in SPLIT_OF
            if (above in classes or in_split) and plain(part) not in NEUTRAL | set(SPLIT_OF):
                unknown.add("/".join(parts[: i + 1]))
                break
    for folder in sorted(unknown):
        try:
            class_label(folder.rpartition("/")[2])
        except InputError as error:
            found.refuse("class_folder", folder, str(error))


def _compare(found: Found) -> None:
    """Labels against outlines."""
    if not any(file in found.annotations for file in found.films["file"]):
        return
    for file, label in zip(found.films["file"], found.films["label"], strict=True):
        if label is pd.NA:
            continue
        if label == 0 and file in found.annotations:
            detail = "called not fractured, but its annotations say the opposite"
            found.problems.append(Problem("labels_disagree", printable(file), detail))
        elif label == 1 and file not in found.annotations:
            found.problems.append(Problem("fracture_without_annotation", printable(file), "has no outline"))


def _patients(found: Found, pattern: str | None) -> None:
    files = list(found.films["file"])
    if pattern is not None:
        taken = found.taken["file"]
        groups = dict(zip(taken, _by_pattern(taken, pattern), strict=True))
        found.films["group"] = [groups.get(f, "") for f in files]
    elif files and (found.films["group"] == "").all():
        guess = guess_patients(files)
        if guess is None:
            found.notes.append("no patient is known: each film is its own group; name patients with --group-pattern")
            return
        found.films["group"], found.guessed = guess[0], True
        found.notes.append(
            f"patients are guessed from names like {printable(guess[1])}: {len(set(guess[0]))} of {len(files)} images; "
            "if that is wrong, name them with --group-pattern"
        )


def _by_pattern(files: pd.Series, pattern: str) -> pd.Series:
    try:
        groups = files.str.extract(f"(?:{pattern})", expand=True)
    except (re.error, ValueError) as error:
        raise InputError(
            f"--group-pattern is {pattern!r}: {error}; expected a regular expression with a group"
        ) from None
    if groups[0].isna().any():
        raise InputError(f"--group-pattern {pattern!r} is not found in {files[groups[0].isna()].iloc[0]}")
    return groups[0].astype(str)


def unknown_layout(folder: Path) -> InputError:
    """What to say of a folder that holds nothing known."""
    return InputError(
        f"{folder}: no known layout; expected FracAtlas (dataset.csv, images/), MURA (train/XR_WRIST/...), "
        "GRAZPEDWRI-DX (dataset.csv with filestem, images), YOLO or COCO labels, train/ and val/, "
        f"or class folders called {CLASSES[1]} and {CLASSES[0]}"
    )


def known_files(folder: Path, names: list[str]) -> Found:
    """What is known of single images by where they lie; InputError if one is no image."""
    for name in names:
        if not is_image_file(folder / name):
            raise InputError(f"{printable(folder / name)}: not an image; expected JPEG, PNG, TIFF, BMP, WebP or DICOM")
    walk = _as_part(Walk(folder, names))
    found = Found("class folders", walk.folder, _by_folders(walk))
    _read_layout(found, walk, "", True, False)
    return found
