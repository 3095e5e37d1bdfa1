"""One reading of YOLO's text files: names of the classes in all their spellings, boxes and polygons."""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from fracturelib._io.files import InputError, printable
from fracturelib.data.coco import MAX_POINTS, Annotation, box_of, taken_note
from fracturelib.data.decode import image_size
from fracturelib.data.labels import means_fracture, place_of_split, plain, split_of
from fracturelib.data.pixels import one_line
from fracturelib.data.walk import Walk

MAX_TEXT = 1_000_000  # bytes
LABELS = "labels"  # the folder beside images/
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
        One line for each list of names that cannot be read.
    unread : dict
        image -> why its text file is no YOLO label, in one line.
    note : str
        Which classes were taken as fractures and which not.
    """

    found: dict[str, list[Annotation]] = field(default_factory=dict)
    labelled: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)
    faults: list[tuple[str, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    note: str = ""


def read_yolo(walk: Walk, images: Sequence[str], *, published: dict[int, str] | None = None) -> Yolo:
    """Read the text files of images: in a folder called labels, or beside them where there is a list of classes.

    `published` are the names of the classes where no file has them.
    """
    result = Yolo()
    lists = [f for f in walk.others if _is_list(f)]
    texts = {f for f in walk.others if f.lower().endswith(".txt") and f not in lists}
    own = {f for f in texts if any(plain(part) == LABELS for part in f.split("/")[:-1])}
    near = {f.rpartition("/")[0] for f in lists}
    if not own and not near:
        return result
    belongs = _by_image(images, own)
    names: dict[str, dict[int, str]] = {}
    counts: dict[tuple[bool, str], int] = {}
    for image in images:
        text = belongs.get(image)
        if text is None:
            beside = str(Path(image).with_suffix(".txt"))
            text = beside if beside in texts and near else None
        if text is None:
            continue
        folder = text.rpartition("/")[0]
        if folder not in names:
            try:
                names[folder] = _names_for(walk, folder, lists, result) or published or {}
            except InputError as error:
                names[folder] = {}
                result.errors += [] if str(error) in result.errors else [str(error)]
        result.labelled.add(image)
        result.files.add(text)
        _read_one(walk, image, text, names[folder], result, counts)
    kept = [name for taken, name in counts if taken]
    passed = Counter({name: number for (taken, name), number in counts.items() if not taken})
    result.note = taken_note("YOLO labels: classes", "class", kept, passed)
    return result


def yolo_files(root: Path, images: Sequence[str]) -> list[str]:
    """The text files of these images in a folder called labels, and the lists of names directly in the root."""
    texts = [path for image in images for path in _mirrored(image.split("/")) if (root / path).is_file()]
    try:
        lists = sorted(entry.name for entry in root.iterdir() if _is_list(entry.name) and entry.is_file())
    except OSError:
        return texts
    return texts + lists


def _mirrored(parts: list[str]) -> Iterator[str]:
    """Where the text of an image may lie: train/labels/a.txt for train/images/a.jpg."""
    for i, part in enumerate(parts[:-1]):
        if plain(part) in ("images", "image"):
            yield "/".join([*parts[:i], LABELS, *parts[i + 1 : -1], f"{Path(parts[-1]).stem}.txt"])


def _is_list(file: str) -> bool:
    name = file.rpartition("/")[2].lower()
    return name.endswith((".yaml", ".yml")) or name in LISTS


def _by_image(images: Sequence[str], own: set[str]) -> dict[str, str]:
    """train/labels/a.txt for train/images/a.jpg, labels/train/a.txt for images/train/a.jpg; else the only a.txt.

    The only a.txt is taken if it lies where no other image has its own, and not in another split.
    """
    texts = {unicodedata.normalize("NFC", file): file for file in sorted(own)}
    result: dict[str, str] = {}
    for image in images:
        for mirrored in _mirrored(unicodedata.normalize("NFC", image).split("/")):
            if mirrored in texts:
                result[image] = texts[mirrored]
                break
    by_stem: dict[str, list[str]] = {}
    for text in sorted(own.difference(result.values())):
        by_stem.setdefault(unicodedata.normalize("NFC", Path(text).stem), []).append(text)
    for image in images:
        near = by_stem.get(unicodedata.normalize("NFC", Path(image).stem), [])
        if (
            image not in result
            and len(near) == 1
            and (_split(image) == _split(near[0]) or "" in map(_split, (image, near[0])))
        ):
            result[image] = near[0]
    return result


def _split(file: str) -> str:
    folders = file.split("/")[:-1]
    place = place_of_split(folders)
    return split_of(folders[place]) if place >= 0 else ""


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
    """Names of classes by number from data.yaml (a list or a mapping) or classes.txt, if there are any.

    Raises
    ------
    InputError
        If the file is too large for a list of names, or is no YAML.
    """
    try:
        text = _text(path)
    except OSError:
        return {}
    if path.suffix.lower() not in (".yaml", ".yml"):
        return {i: line.strip() for i, line in enumerate(text.splitlines()) if line.strip()}
    try:
        parts = [yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{printable(path)}: no YAML ({one_line(error)}); expected names: [...]") from None
    while parts:  # the outermost names come first
        part = parts.pop(0)
        if not isinstance(part, dict):
            continue
        for key, value in part.items():
            if str(key).casefold() == "names" and isinstance(value, list | dict):
                pairs = enumerate(value) if isinstance(value, list) else value.items()
                return {int(number): str(name).strip() for number, name in pairs if str(number).isdecimal()}
        parts.extend(part.values())
    return {}


def _text(path: Path) -> str:
    """The text of a small file; its size is asked before it is read, since a sparse file may have any."""
    size = path.stat().st_size
    if size > MAX_TEXT:
        raise InputError(f"{printable(path)}: {size / 1e6:.1f} MB; expected at most {MAX_TEXT // 10**6}")
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="replace")


def _read_one(
    walk: Walk, image: str, text: str, names: dict[int, str], result: Yolo, counts: dict[tuple[bool, str], int]
) -> None:
    try:
        size = (walk.folder / text).stat().st_size
        if size > MAX_TEXT:
            raise ValueError(f"{size / 1e6:.1f} MB, more than the {MAX_TEXT // 10**6} of a label")
        content = (walk.folder / text).read_bytes()
        rows = [row for line in content.decode("utf-8-sig").splitlines() if (row := _row(line)) is not None]
    except ValueError as error:
        said = str(error) if not isinstance(error, UnicodeDecodeError) else "not text"
        result.unread[image] = f"{printable(walk.folder / text)}: {said}; expected class, x, y, width, height"
        return
    except OSError as error:
        result.unread[image] = f"{printable(walk.folder / text)}: {error.strerror}"
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
