"""Outlines of a folder, from all its COCO and YOLO files; labels where only they say them; and what does not fit."""

import re
from pathlib import Path
from typing import Any

import pandas as pd

from fracturelib._io.files import InputError, printable
from fracturelib.data.coco import Coco, read_coco
from fracturelib.data.found import Found, Problem, as_many
from fracturelib.data.labels import plain
from fracturelib.data.names import FileNames, cleaned
from fracturelib.data.published import FRACATLAS_COCO
from fracturelib.data.walk import Walk
from fracturelib.data.yolo import Yolo

ANNOTATIONS = "annotations.json"
PER_SPLIT = "_annotations.coco.json"  # beside the images of each split, as Roboflow exports it


def read_cocos(found: Found, walk: Walk, root: str, complete: bool) -> list[tuple[str, Coco]]:
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
            as_many(len(unclear), f"names in {Path(file).name} fit several images")
            + f", and the outlines were not taken, such as {printable(unclear[0])}"
        )
    if complete:
        said = f"annotated images are not in the folder ({Path(file).name})"
        found.say("annotation_without_image", strangers, f"in {Path(file).name} only", said)
    for name, detail in coco.faults:
        found.problems.append(Problem("outline", printable(meant.get(name, name) or file), detail))
    if coco.faults:
        found.notes.append(
            f"{as_many(len(coco.faults), f'annotations in {Path(file).name} are faulty')}, such as: {coco.faults[0][1]}"
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


def take_boxes(found: Found, boxes: Yolo, *, quiet: bool) -> None:
    """Add to what a folder holds the boxes that were found beside its images."""
    for image, instances in boxes.found.items():
        found.annotations.setdefault(image, []).extend(instances)
    found.errors += boxes.errors
    found.problems += [Problem("table", e.split(": ")[0], e.split(": ", 1)[-1]) for e in boxes.errors]
    found.problems += [Problem("outline", printable(image), detail) for image, detail in boxes.faults]
    found.problems += [Problem("table", *line.split(": ", 1)) for line in boxes.unread.values()]
    if boxes.unread and quiet:
        found.errors += boxes.unread.values()  # GRAZPEDWRI-DX has whole labels
    elif boxes.unread:
        said = "YOLO labels cannot be read, so that no outline was taken: of"
        found.notes.append(f"{as_many(len(boxes.unread), said)} {next(iter(boxes.unread.values()))}")
    if boxes.faults:
        said = as_many(len(boxes.faults), "YOLO labels cannot be used")
        found.notes.append(f"{said}: of {printable(boxes.faults[0][0])}")
    if boxes.note and not quiet:
        found.notes.append(boxes.note)


def labels_from_annotations(found: Found, boxes: Yolo, cocos: list[tuple[str, Coco]]) -> None:
    """Where no folder or table says a class: an image with an outline is fractured, others that were seen are not."""
    if not found.annotations:
        found.errors += boxes.unread.values()
        return
    seen = {image for _, coco in cocos for image in coco.images} | (boxes.labelled - boxes.unread.keys())
    near = {_mirrored(f) for f in boxes.files if f.endswith(".txt")}
    silent = [f for f in found.images["file"] if f not in seen and boxes.labelled and f.rpartition("/")[0] in near]
    silent = [f for f in silent if f not in boxes.unread]
    if silent:
        said = as_many(len(silent), "images have no YOLO file, and count as not fractured")
        found.notes.append(f"{said}, such as {printable(silent[0])}")
    seen |= set(silent)
    label = [1 if f in found.annotations else 0 if f in seen else None for f in found.images["file"]]
    found.kind = "YOLO labels" if boxes.found else "COCO annotations"
    found.images["label"] = pd.array(label, dtype="Int64")


def _mirrored(text: str) -> str:
    """The folder of the images whose labels lie in this one."""
    return "/".join("images" if plain(p) == "labels" else p for p in text.split("/")[:-1])


def compare(found: Found) -> None:
    """Labels against outlines."""
    if not any(file in found.annotations for file in found.images["file"]):
        return
    for file, label in zip(found.images["file"], found.images["label"], strict=True):
        if label is pd.NA:
            continue
        if label == 0 and file in found.annotations:
            detail = "labelled not fractured, but its annotations say the opposite"
            found.problems.append(Problem("labels_disagree", printable(file), detail))
        elif label == 1 and file not in found.annotations:
            found.problems.append(Problem("fracture_without_annotation", printable(file), "has no outline"))
