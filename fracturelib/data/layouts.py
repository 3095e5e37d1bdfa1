"""What a folder holds, decided once for audit, import, training and scoring."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from fracturelib._io.files import InputError, printable
from fracturelib._io.words import STUDY, WORDS
from fracturelib.data.annotations import (  # fmt: skip
    ANNOTATIONS,
    PER_SPLIT,
    compare,
    labels_from_annotations,
    read_cocos,
    take_boxes,
)
from fracturelib.data.found import KINDS, Found, Problem
from fracturelib.data.labels import (  # fmt: skip
    CLASSES,
    LABEL_OF,
    SPLITS,
    STUDY_LABEL_OF,
    class_label,
    place_of_label,
    place_of_split,
    plain,
    split_of,
)
from fracturelib.data.manifest import MANIFEST, add_manifest
from fracturelib.data.names import guess_patients
from fracturelib.data.published import (  # fmt: skip
    FRACATLAS_COCO,
    GRAZ_CLASSES,
    MURA_FOLDER,
    MURA_STUDY,
    REGIONS,
    TABLE,
    VIEWS,
    add_fracatlas,
    add_graz,
    add_mura,
    consecutive_groups,
    is_mura,
)
from fracturelib.data.study_sets import STUDY_HEADS, STUDY_TABLES, add_study_layout, as_studies, is_study_set
from fracturelib.data.volumes import FORMATS, is_study
from fracturelib.data.walk import Walk, is_image_file, walk_folder
from fracturelib.data.yolo import LABELS, Yolo, read_yolo, yolo_files

__all__ = ["KINDS", "Found", "Problem", "consecutive_groups", "read_folder"]
SPLIT_LIKE = re.compile(r"(?<![a-z])(train|training|val|valid|validation|test)(?![a-z])")
NEUTRAL = frozenset((  # folders that say nothing of a class
    "images", "image", "imgs", "img", "pictures", "films", "xrays", "radiographs", "data", "files", "all",
    "unlabelled", "unlabeled", "unknown",
))  # fmt: skip
FURNITURE = re.compile(
    r"(manifest|dataset|left_out|(train|valid)_(image_paths|labeled_studies))\.csv|(annotations|import|simulation)\.json|"
    r"(readme|licen[cs]e|citation|changelog|notice)[^/]*|attribution.*", re.IGNORECASE
)  # fmt: skip


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
    studies = is_study_set(walk)
    if inside:
        walk = _as_part(walk, STUDY_LABEL_OF if studies else LABEL_OF)
    if studies:
        walk = as_studies(walk)
    complete = walk.folder == folder
    root = next(iter(_roots(walk)), "")
    tables = (MANIFEST, *STUDY_HEADS) if studies else (MANIFEST, TABLE)
    root = next((r for r in _roots(walk) if {r + table for table in tables} & set(walk.others)), root)
    found = Found("class folders", walk.folder, _by_folders(walk), noun=STUDY if studies else "image")
    found.problems += [Problem(kind, printable(name), detail) for kind, name, detail in walk.passed]
    _read_layout(found, walk, root, outlines, complete)
    _patients(found, group_pattern)
    if not complete:
        found.errors.clear()
    return found


def _as_part(walk: Walk, words: Mapping[str, int] = LABEL_OF) -> Walk:
    """The walk with names relative to the set that the folder lies in, as far up as folders are called like parts."""

    def tables(place: Path) -> list[str]:
        return [f for f in (MANIFEST, TABLE, ANNOTATIONS, FRACATLAS_COCO) if (place / f).is_file()]

    def beside(place: Path) -> bool:
        return bool(tables(place)) or (place / LABELS).is_dir()

    folder = base = Path(os.path.abspath(walk.folder))
    while base.parent != base and not tables(base):
        if not _is_part(base.name, words) and not (plain(base.name) in NEUTRAL and beside(base.parent)):
            break
        if _is_set(base):
            break
        base = base.parent
    if base == folder:
        return walk
    prefix = folder.relative_to(base).as_posix() + "/"
    passed = [(kind, prefix + name, detail) for kind, name, detail in walk.passed]
    images, others = [prefix + f for f in walk.images], [prefix + f for f in walk.others]
    known = list(dict.fromkeys([*tables(base), *yolo_files(base, images), *others]))
    return Walk(base, images, known, passed)


def _is_set(folder: Path) -> bool:
    """Whether a folder that is called like a split or a class is a set all the same: it holds splits or classes."""
    splits, below = bool(split_of(folder.name)), list(_below(folder))
    if splits:
        return any(entry.is_dir() and split_of(entry.name) for entry in below)
    if plain(folder.name) not in LABEL_OF:
        return False
    return any(
        (entry.is_dir() and (plain(entry.name) in LABEL_OF or plain(entry.name) == "labels"))
        or entry.name.endswith((".yaml", ".yml", PER_SPLIT))
        for entry in below
    )  # fmt: skip


def _below(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder, and in the folders in it; what cannot be opened holds nothing."""
    pending = [(os.fspath(folder), True)]
    for path, again in pending:
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    yield entry
                    if again and entry.is_dir():
                        pending.append((entry.path, False))
        except OSError:
            continue


def _is_part(name: str, words: Mapping[str, int] = LABEL_OF) -> bool:
    known = plain(name) in words or bool(split_of(name))
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
        words = STUDY_LABEL_OF if walk.studies else LABEL_OF
        if len(children) != 1 or _is_part(child, words) or plain(child) in NEUTRAL or child in walk.images:
            return
        prefix += child + "/"


def _by_folders(walk: Walk) -> pd.DataFrame:
    """What the names of folders say of each image: the nearest that is called like a split, and like a class."""
    outer = max(_roots(walk), key=len)
    said: dict[str, tuple[str, int | None, int, int]] = {}
    words = STUDY_LABEL_OF if walk.studies else LABEL_OF
    rows = []
    for file in walk.images:
        folder, _, name = file.rpartition("/")
        if folder not in said:
            parts = folder.split("/") if folder else []
            split, label = place_of_split(parts), place_of_label(parts, words)
            value = words[plain(parts[label])] if label >= 0 else None
            said[folder] = split_of(parts[split]) if split >= 0 else "", value, split, label
        split_name, value, i, j = said[folder]
        kept = [p for k, p in enumerate(folder.split("/")) if k not in (i, j) and not (k == 0 and plain(p) == "images")]
        rest = [p for p in kept if p and plain(p) != "images"][outer.count("/") if file.startswith(outer) else 0 :]
        rows.append((walk.folder / file, file, "/".join([*rest, name]), split_name, value))
    images = pd.DataFrame(rows, columns=["path", "file", "name", "split", "label"], dtype=object)
    return images.assign(label=pd.array(images["label"], dtype="Int64"), group="")


def _read_layout(found: Found, walk: Walk, root: str, outlines: bool, complete: bool) -> None:
    """Table, annotations and labels, by the kind of the layout."""
    others, used = set(walk.others), set()
    if walk.studies:
        _read_study_set(found, walk, root, complete)
        return
    listed = root + MANIFEST in others and add_manifest(found, walk, root, complete)
    table = "" if listed else _kind_of_table(found, root) if root + TABLE in others else ""
    mura = not listed and not table and is_mura(walk)
    bare = not listed and not table and not mura and not found.images["label"].notna().any()
    boxes, cocos = Yolo(), []
    if outlines or table or bare:
        published = GRAZ_CLASSES if table == "GRAZ" else None
        boxes = read_yolo(walk, walk.images, published=published)
        cocos = read_cocos(found, walk, root, complete)
        take_boxes(found, boxes, quiet=table == "GRAZ")
        used = boxes.files | {name for name, _ in cocos}
    try:
        if table == "FracAtlas":
            add_fracatlas(found, root + TABLE, complete=complete)
        elif table == "GRAZ":
            add_graz(found, root + TABLE, boxes, complete=complete)
        elif mura:
            add_mura(found)
        elif bare:
            labels_from_annotations(found, boxes, cocos)
    except InputError as error:
        found.problems.append(Problem("table", TABLE, str(error).removeprefix(f"{found.folder / (root + TABLE)}: ")))
        found.errors.append(str(error))
    if not table and not mura:
        _check_folders(found, listed)
        compare(found)
    foreign = {root + TABLE} if not listed and not table else set()  # a table of one's own
    furniture = {f for f in walk.others if FURNITURE.fullmatch(f.rpartition("/")[2])} - foreign
    found.others = [f for f in walk.others if f not in used and f not in furniture]


def _read_study_set(found: Found, walk: Walk, root: str, complete: bool) -> None:
    """Table and labels of studies."""
    listed = root + MANIFEST in walk.others and add_manifest(found, walk, root, complete)
    try:
        known = not listed and add_study_layout(found, walk, root, complete=complete)
    except InputError as error:
        known = True
        found.problems.append(Problem("table", printable(root or "."), str(error)))
        found.errors.append(str(error))
    if not known:
        _check_folders(found, listed)
    found.others += [
        f for f in walk.others if not FURNITURE.fullmatch(f.rpartition("/")[2]) and not STUDY_TABLES.fullmatch(f)
    ]


def _kind_of_table(found: Found, root: str) -> str:
    with (found.folder / (root + TABLE)).open(encoding="utf-8", errors="replace") as file:
        header = file.readline(10_000)
    if "filestem" in header:
        return "GRAZ"
    inside = any(f.startswith(f"{root}images/") for f in found.images["file"])
    known = "image_id" in header and ("fractured" in header.lower() or any(c in header for c in (*REGIONS, *VIEWS)))
    return "FracAtlas" if known or (inside and (found.folder / root / FRACATLAS_COCO).is_file()) else ""


def _check_folders(found: Found, listed: bool) -> None:
    """Splits under two names, class folders and split folders that nobody knows; a manifest knows better."""
    if listed:
        return
    spelt: dict[str, set[str]] = defaultdict(set)
    classes: set[str] = set()
    bare: set[str] = set()
    for file, label in zip(found.images["file"], found.images["label"], strict=True):
        folders = file.split("/")[:-1]
        split = place_of_split(folders)
        if split >= 0:
            spelt[split_of(folders[split])].add(folders[split])
        place = place_of_label(folders, found.words)
        if place >= 0:
            classes.add("/".join(folders[:place]))
        elif folders and pd.isna(label):
            bare.add("/".join(folders))
    for meant, names in sorted(spelt.items()):
        if len(names) > 1:
            found.notes.append(f"{', '.join(f'{n}/' for n in sorted(names))} are all {meant}, and were joined")
    _refuse_classes(found, classes, bare)
    tops = {part for file in found.images["file"] for part in file.split("/")[:-1]}
    alike = sorted(t for t in tops if SPLIT_LIKE.search(t.lower()))
    if alike and not found.is_split:
        shown = ", ".join(f"{printable(t)}/" for t in alike[:4])
        found.notes.append(f"names like splits, but not taken for them: {shown}; expected {', '.join(SPLITS)}")
    if found.is_split:
        away = found.images[(found.images["split"] == "") & found.images["label"].notna()]
        for top in sorted({f.split("/")[0] for f in away["file"] if "/" in f}):
            found.problems.append(Problem("split_folder", printable(top), f"expected {', '.join(SPLITS)}"))


def _refuse_classes(found: Found, classes: set[str], bare: set[str]) -> None:
    """A folder with images beside class folders, or where other splits have theirs, must have a known name."""
    below_splits = not classes or any(split_of(c.rpartition("/")[2]) for c in classes)
    unknown = set()
    for folder in bare:
        parts = folder.split("/")
        for i, part in enumerate(parts):
            above = "/".join(parts[:i])
            in_split = below_splits and i > 0 and bool(split_of(parts[i - 1]))
            if (above in classes or in_split) and plain(part) not in NEUTRAL and not split_of(part):
                unknown.add("/".join(parts[: i + 1]))
                break
    for folder in sorted(unknown):
        try:
            class_label(folder.rpartition("/")[2], found.words, found.classes)
        except InputError as error:
            found.refuse("class_folder", folder, str(error))


def _patients(found: Found, pattern: str | None) -> None:
    files = list(found.images["file"])
    if pattern is not None:
        taken = found.taken["file"]
        groups = dict(zip(taken, _by_pattern(taken, pattern), strict=True))
        found.images["group"] = [groups.get(f, "") for f in files]
    elif files and (found.images["group"] == "").all():
        guess = guess_patients(files)
        if guess is None:
            found.notes.append(
                f"no patient is known: each {found.noun} is its own group; `fracture data import --group-pattern` "
                "names patients"
            )
            return
        found.images["group"], found.guessed = guess[0], True
        found.notes.append(
            f"patients are guessed from names like {printable(guess[1])}: {len(set(guess[0]))} of "
            f"{WORDS[found.noun].count(len(files))}; "
            "if that is wrong, `fracture data import --group-pattern` names them"
        )


def _by_pattern(files: pd.Series, pattern: str) -> pd.Series:
    expected = "expected a regular expression with a group"
    try:
        known = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise InputError(f"--group-pattern is {pattern!r}: {error}; {expected}") from None
    if not known.groups:
        raise InputError(f"--group-pattern is {pattern!r}: it has no group; {expected}")
    groups = [match[1] if (match := known.search(file)) else None for file in files]
    for file, group in zip(files, groups, strict=True):
        if group is None:
            raise InputError(f"--group-pattern {pattern!r} is not found in {printable(file)}")
    return pd.Series(groups, index=files.index, dtype=object)


def unknown_layout(folder: Path) -> InputError:
    """What to say of a folder that holds nothing known."""
    return InputError(
        f"{folder}: no known layout; expected FracAtlas (dataset.csv, images/), MURA (train/XR_WRIST/...), "
        "GRAZPEDWRI-DX (dataset.csv with filestem, images), YOLO or COCO labels, train/ and val/, "
        f"or class folders called {CLASSES[1]} and {CLASSES[0]}"
    )


def known_files(folder: Path, names: list[str], *, noun: str = "image") -> Found:
    """What is known of single images or studies by where they lie; InputError if one is neither: `noun` is wanted."""
    studies = bool(names) and all(is_study(folder / name) for name in names)
    for name in names:
        if not studies and not is_image_file(folder / name):
            formats = FORMATS if noun == STUDY else "expected JPEG, PNG, TIFF, BMP, WebP or DICOM"
            raise InputError(f"{printable(folder / name)}: {WORDS[noun].said('not an image')}; {formats}")
    walk = _as_part(Walk(folder, names), STUDY_LABEL_OF if studies else LABEL_OF)
    walk.studies = studies
    found = Found("class folders", walk.folder, _by_folders(walk), noun=STUDY if studies else "image")
    _read_layout(found, walk, "", True, False)
    return found
