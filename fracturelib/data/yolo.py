"""One reading of YOLO's text files: names of the classes in all their spellings, boxes and polygons."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fracturelib._io.files import InputError, printable
from fracturelib.data.coco import MAX_POINTS, Annotation, box_of
from fracturelib.data.decode import image_size
from fracturelib.data.labels import means_fracture, plain
from fracturelib.data.walk import Walk

LISTS = ("classes.txt", "obj.names", "classes.names")


@dataclass
class Yolo:
    """What YOLO's files say: instances by image, images that are labelled, the text files, and what cannot be used.

    Attributes
    ----------
    found : dict
        image -> instances of fractures.
    labelled : set of str
        Images with a text file of their own, even an empty one.
    files : set of str
        The text files and lists of names that were read.
    faults : list of (image, what)
    errors : list of str
        One line for each text file that is no YOLO label.
    note : str
        Which classes were taken as fractures and which not.
    """

    found: dict[str, list[Annotation]] = field(default_factory=dict)
    labelled: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    faults: list[tuple[str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    note: str = ""


def read_yolo(walk: Walk, images: Sequence[str], *, published: dict[int, str] | None = None) -> Yolo:
    """Read the text files of images: in a folder called labels, or beside them where there is a list of classes.

    `published` are the names of the classes where no file has them.
    """
    result = Yolo()
    lists = [f for f in walk.others if _is_list(f)]
    texts = {f for f in walk.others if f.lower().endswith(".txt") and f not in lists}
    own = {f for f in texts if any(plain(part) == "labels" for part in f.split("/")[:-1])}
    near = {f.rpartition("/")[0] for f in lists}
    if not own and not near:
        return result
    by_stem: dict[str, list[str]] = {}
    for file in sorted(own):
        by_stem.setdefault(Path(file).stem, []).append(file)
    names: dict[str, dict[int, str]] = {}
    counts: dict[tuple[bool, str], int] = {}
    for image in images:
        text = _text_of(image, own, by_stem)
        if text is None:
            beside = str(Path(image).with_suffix(".txt"))
            text = beside if beside in texts and near else None
        if text is None:
            continue
        folder = text.rpartition("/")[0]
        if folder not in names:
            names[folder] = _names_for(walk, folder, lists, result) or published or {}
        result.labelled.add(image)
        result.files.add(text)
        _read_one(walk, image, text, names[folder], result, counts)
    result.note = _note(counts)
    return result


def _is_list(file: str) -> bool:
    name = file.rpartition("/")[2].lower()
    return name.endswith((".yaml", ".yml")) or name in LISTS


def _text_of(image: str, own: set[str], by_stem: dict[str, list[str]]) -> str | None:
    """train/labels/a.txt for train/images/a.jpg, labels/train/a.txt for images/train/a.jpg; else the only a.txt."""
    parts = image.split("/")
    stem = Path(image).stem
    for i, part in enumerate(parts[:-1]):
        if plain(part) in ("images", "image"):
            mirrored = "/".join([*parts[:i], "labels", *parts[i + 1 : -1], f"{stem}.txt"])
            if mirrored in own:
                return mirrored
    near = by_stem.get(stem, [])
    return near[0] if len(near) == 1 else None


def _names_for(walk: Walk, folder: str, lists: list[str], result: Yolo) -> dict[int, str]:
    """Names of classes from the nearest list: in the labels' folder, then in those above it."""
    parts = folder.split("/") if folder else []
    for depth in range(len(parts), -1, -1):
        above = "/".join(parts[:depth])
        for file in lists:
            if file.rpartition("/")[0] == above and (names := names_in(walk.folder / file)):
                result.files.add(file)
                return names
    return {}


def names_in(path: Path) -> dict[int, str]:
    """Names of classes by number from data.yaml (a list, a mapping or dashes) or classes.txt, if there are any."""
    try:
        text = path.read_bytes()[:1_000_000].decode("utf-8-sig", errors="replace")
    except OSError:
        return {}
    lines = text.splitlines()
    if path.suffix.lower() not in (".yaml", ".yml"):
        return {i: line.strip() for i, line in enumerate(lines) if line.strip()}
    for i, line in enumerate(lines):
        begun = re.match(r"names\s*:\s*(.*)$", line, re.IGNORECASE)
        if begun is None:
            continue
        value = _bare(begun[1])
        if value[:1] in ("[", "{"):
            inside = "\n".join([value, *map(_bare, lines[i + 1 :])])
            items = re.split(r"[,\n]", re.split(r"[\]}]", inside[1:])[0])
            return _numbered([item.strip() for item in items if item.strip()])
        items = []
        for following in map(_bare, lines[i + 1 :]):
            if following and not re.match(r"\s+\S|-", following):
                break
            if following.strip():
                items.append(following.strip().removeprefix("-").strip())
        return _numbered(items)
    return {}


def _bare(line: str) -> str:
    return re.sub(r"(^|\s)#.*$", "", line).rstrip()


def _numbered(items: list[str]) -> dict[int, str]:
    result = {}
    for i, item in enumerate(items):
        keyed = re.match(r"['\"]?(\d+)['\"]?\s*:\s*(.*)$", item)
        result[int(keyed[1]) if keyed else i] = (keyed[2] if keyed else item).strip(" '\"")
    return result


def _read_one(
    walk: Walk, image: str, text: str, names: dict[int, str], result: Yolo, counts: dict[tuple[bool, str], int]
) -> None:
    try:
        content = (walk.folder / text).read_bytes()
        rows = [row for line in content.decode("utf-8-sig").splitlines() if (row := _row(line)) is not None]
    except ValueError as error:
        said = str(error) if not isinstance(error, UnicodeDecodeError) else "not text"
        result.errors.append(f"{printable(walk.folder / text)}: {said}; expected class, x, y, width, height")
        return
    except OSError as error:
        result.errors.append(f"{printable(walk.folder / text)}: {error.strerror}")
        return
    wanted = []
    for number, values in rows:
        name = names.get(number, f"number {number}")
        taken = means_fracture(name)
        counts[taken, name] = counts.get((taken, name), 0) + 1
        if taken:
            wanted.append(values)
    if not wanted:
        return
    try:
        width, height = image_size(walk.folder / image)
    except InputError:
        return  # it is met again, and listed, when the images are decoded
    for values in wanted:
        instance = _instance(values, width, height)
        if instance is None:
            result.faults.append((image, "a box or polygon without an area or outside the image"))
        else:
            result.found.setdefault(image, []).append(instance)


def _row(line: str) -> tuple[int, list[float]] | None:
    if not line.strip():
        return None
    fault = f"{printable(line[:80])!r} is not a YOLO label"
    try:
        first, *values = (float(v) for v in line.split())
    except ValueError:
        raise ValueError(fault) from None
    if len(values) < 4 or not first.is_integer() or not all(math.isfinite(v) for v in values):
        raise ValueError(fault)
    return int(first), values


def _instance(values: list[float], width: int, height: int) -> Annotation | None:
    """A box (four shares of the image, perhaps a confidence) or a polygon (six and more, perhaps a confidence)."""
    if any(abs(v) > 2 for v in values):
        return None
    if len(values) <= 5:
        x, y, w, h = values[:4]
        box = (x - w / 2) * width, (y - h / 2) * height, w * width, h * height
        left, top, right, bottom = box[0], box[1], box[0] + box[2], box[1] + box[3]
        points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    else:
        points = np.array(values[: len(values) // 2 * 2]).reshape(-1, 2) * (width, height)
        points = points[:: math.ceil(len(points) / MAX_POINTS)]
        box = box_of([points])
    return Annotation((points,), box) if box[2] > 0 and box[3] > 0 else None


def _note(counts: dict[tuple[bool, str], int]) -> str:
    left = {name: n for (taken, name), n in counts.items() if not taken}
    if not left:
        return ""
    names = ", ".join(f"{printable(name)} ({n})" for name, n in sorted(left.items(), key=lambda p: -p[1])[:5])
    kept = ", ".join(sorted(printable(name) for taken, name in counts if taken))
    kept = kept or "none, since no class means fracture"
    return f"YOLO labels: classes taken as fractures: {kept}; not taken: {names}{' ...' if len(left) > 5 else ''}"
