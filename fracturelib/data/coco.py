"""Outlines of fractures, and one reading of COCO files: bounded in time, and every loss is named."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib._io.files import InputError, printable
from fracturelib.data.labels import means_fracture

MAX_BYTES = 64_000_000
MAX_POINTS = 4000  # of a polygon; of a finer one, every second point or fewer
MAX_COORDINATE = 1e6
MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class Annotation:
    """One fracture on an image: polygons of (k, 2) float x, y, and bbox x, y, width, height, in pixels."""

    polygons: tuple[NDArray[np.float64], ...]
    bbox: tuple[float, float, float, float]


@dataclass
class Coco:
    """What a COCO file says: instances, sizes and images by `file_name` as written, and what could not be used.

    Attributes
    ----------
    found, sizes : dict
        file_name -> instances; file_name -> (width, height) that they are meant for.
    images : list of str
        All file names, with or without an instance.
    faults : list of (file_name, what)
    note : str
        Which categories were taken and which not; empty if there is only one, and it means fracture.
    """

    found: dict[str, list[Annotation]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)
    note: str = ""


def read_coco(path: Path) -> Coco:
    """Read a COCO file; what is neither a polygon nor run lengths becomes its box.

    Raises
    ------
    InputError
        If it is no COCO file at all.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path.stat().st_size / 1e6:.0f} MB; expected at most {MAX_BYTES // 10**6}")
        coco = json.loads(path.read_bytes().decode("utf-8-sig"))
        images = {_id(image["id"]): image for image in coco["images"]}
        names = {number: str(image["file_name"]) for number, image in images.items()}
        annotations, categories = list(coco["annotations"]), list(coco.get("categories") or [])
        called = {_id(c["id"]): str(c.get("name", c["id"])) for c in categories}
    except Exception as error:  # of a file that is anything: depth, digits, types, encodings
        reason = printable(f"{type(error).__name__} {error}".splitlines()[0])[:200]
        raise InputError(
            f"{printable(path)}: not COCO annotations ({reason}); expected images and annotations"
        ) from None
    result = Coco(images=list(names.values()))
    for number, image in images.items():
        size = _numbers([image.get("width"), image.get("height")])
        if size is not None and min(size) >= 1:
            result.sizes[names[number]] = (int(size[0]), int(size[1]))
    taken = {number for number, name in called.items() if means_fracture(name)}
    if len(called) == 1 and means_fracture(path.stem.replace("_", " ")):
        taken = set(called)  # the file says what its only category is
    passed: Counter[str] = Counter()
    for annotation in annotations:
        try:
            name = names[_id(annotation["image_id"])]
            category = annotation.get("category_id")
            if called and category is not None and _id(category) not in taken:
                passed[called.get(_id(category), f"number {category}")] += 1
                continue
            instance, fault = _instance(annotation, result.sizes.get(name))
        except Exception as error:
            result.faults.append(("", f"an annotation without image or shape ({type(error).__name__})"))
            continue
        if fault:
            result.faults.append((name, fault))
        if instance is not None:
            result.found.setdefault(name, []).append(instance)
    kept = [name for number, name in called.items() if number in taken]
    result.note = taken_note(f"{path.name}: categories", "category", kept, passed)
    return result


def taken_note(what: str, one: str, taken: Sequence[str], passed: Counter[str]) -> str:
    """Which categories or classes were taken as fractures and which not; empty if all were."""
    if not passed:
        return ""
    names = ", ".join(f"{printable(name)} ({n})" for name, n in passed.most_common(5))
    kept = ", ".join(map(printable, sorted(set(taken)))) or f"none, since no {one} means fracture"
    return f"{what} taken as fractures: {kept}; not taken: {names}{' ...' if len(passed) > 5 else ''}"


def _id(value: Any) -> str:
    """Numbers and texts that say one thing are one: 7, 7.0 and "7"."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _numbers(values: Any) -> list[float] | None:
    """Numbers that can be pixels, or None."""
    try:
        result = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    fit = (
        result.ndim == 1 and bool(np.isfinite(result).all()) and float(np.abs(result).max(initial=0)) <= MAX_COORDINATE
    )
    return result.tolist() if fit else None


def _instance(annotation: dict[str, Any], image_size: tuple[int, int] | None) -> tuple[Annotation | None, str]:
    """An instance, if anything of it can be used; and what cannot."""
    box = _numbers(annotation.get("bbox") or [])
    if box is not None and (len(box) != 4 or box[2] <= 0 or box[3] <= 0):
        box = None
    shape, fault = annotation.get("segmentation"), ""
    polygons: list[NDArray[np.float64]] = []
    if isinstance(shape, dict):
        polygons, fault = run_lengths(shape, image_size=image_size)
    elif isinstance(shape, list) and shape:
        parts = shape if isinstance(shape[0], (list, tuple)) else [shape]
        polygons = [p for p in (polygon(part) for part in parts) if p is not None]
        if len(polygons) < len([part for part in parts if part]):
            fault = "a polygon that is none"
    if not polygons and box is None:
        return None, fault or "neither a polygon nor a box with an area"
    if not polygons and box is not None:
        x, y, w, h = box
        polygons = [np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])]
        fault = f"{fault}; its box was taken" if fault else ""
    if box is None:
        box = list(box_of(polygons))
    return Annotation(tuple(polygons), (box[0], box[1], box[2], box[3])), fault


def box_of(polygons: Sequence[NDArray[np.float64]]) -> tuple[float, float, float, float]:
    """The box around polygons: x, y, width, height."""
    points = np.concatenate(polygons)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return float(left), float(top), float(right - left), float(bottom - top)


def polygon(values: Any) -> NDArray[np.float64] | None:
    """(k, 2) from x, y, x, y ...; None if it is no polygon. One that is finer than `MAX_POINTS` is thinned out."""
    if not isinstance(values, (list, tuple)) or len(values) < 6 or len(values) % 2:
        return None
    numbers = _numbers(values)
    if numbers is None:
        return None
    points = np.array(numbers, np.float64).reshape(-1, 2)
    points = points[:: math.ceil(len(points) / MAX_POINTS)]
    return points if np.ptp(points, axis=0).max() > 0 else None


def run_lengths(
    shape: dict[str, Any], *, image_size: tuple[int, int] | None = None
) -> tuple[list[NDArray[np.float64]], str]:
    """Polygons of a mask in run lengths, by columns: a list of counts, or pycocotools' text; and what is wrong.

    `image_size` is the width and height that the mask must have, where they are known.
    """
    size = _numbers(shape.get("size") or [])
    if size is None or len(size) != 2 or min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        return [], "run lengths without a size"
    height, width = int(size[0]), int(size[1])
    if image_size is not None and image_size != (width, height):
        return [], f"run lengths of {width} x {height} for an image of {image_size[0]} x {image_size[1]}"
    try:
        counts = shape["counts"]
        runs = _unpacked(counts) if isinstance(counts, str) else [int(c) for c in counts]
    except Exception:
        return [], "run lengths that cannot be read"
    if any(r < 0 for r in runs) or sum(runs) != height * width:
        return [], f"run lengths of {sum(runs)} pixels for {width} x {height}"
    ends = np.cumsum([0, *runs])
    inside = [(int(a), int(b)) for a, b in zip(ends[1::2], ends[2::2], strict=False) if b > a]
    if not inside:
        return [], "an empty mask"
    first, last = inside[0][0] // height, (inside[-1][1] - 1) // height
    mask = np.zeros((last - first + 1) * height, np.uint8)
    for a, b in inside:
        mask[a - first * height : b - first * height] = 1
    columns = np.ascontiguousarray(mask.reshape(-1, height).T)
    contours, _ = cv2.findContours(columns, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    found = [c.reshape(-1, 2).astype(np.float64) + np.array([first, 0]) for c in contours]
    return [p[:: math.ceil(len(p) / MAX_POINTS)] for p in found], ""


def _unpacked(text: str) -> list[int]:
    """The text of pycocotools as counts: six bits a character, signed, each count after the second as a difference."""
    counts: list[int] = []
    place = 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            code = ord(text[place]) - 48
            if not 0 <= code < 64 or shift > 40:
                raise ValueError(text[place])
            value |= (code & 0x1F) << shift
            more, shift, place = bool(code & 0x20), shift + 5, place + 1
            if not more and code & 0x10:
                value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts


def fracture_mask(annotations: Sequence[Annotation], *, width: int, height: int) -> NDArray[np.uint8]:
    """Where the image is fractured: (height, width) uint8, 1 inside any polygon, 0 elsewhere."""
    mask = np.zeros((height, width), np.uint8)
    for annotation in annotations:
        for points in annotation.polygons:
            cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1)
    return mask


def turn(annotation: Annotation, width: int, height: int, direction: int) -> Annotation:
    """Carry an annotation of the stored pixels (width x height) along with EXIF orientation `direction` (1..8)."""

    def moved(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points[:, 0], points[:, 1]
        right, bottom = width - x, height - y
        pairs = {
            1: (x, y), 2: (right, y), 3: (right, bottom), 4: (x, bottom),
            5: (y, x), 6: (bottom, x), 7: (bottom, right), 8: (y, right),
        }  # fmt: skip
        return np.stack(pairs[direction], axis=1)

    x, y, w, h = annotation.bbox
    corners = moved(np.array([[x, y], [x + w, y + h]], dtype=np.float64))
    low, high = corners.min(axis=0), corners.max(axis=0)
    bbox = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
    return Annotation(tuple(moved(p) for p in annotation.polygons), bbox)


def write_coco(path: Path, radiographs: pd.DataFrame, instances: dict[str, list[Annotation]]) -> None:
    """Write annotations.json: every image of the manifest is an image, every fracture an instance."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, row in enumerate(radiographs.itertuples()):
        images.append({"id": number, "file_name": row.file, "width": int(row.width), "height": int(row.height)})
        for a in instances.get(str(row.file), []):
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": 0,
                    "iscrowd": 0,
                    "segmentation": [[round(float(v), 2) for v in p.ravel()] for p in a.polygons],
                    "bbox": [round(v, 2) for v in a.bbox],
                    "area": round(float(sum(_area(p) for p in a.polygons)), 1),
                }
            )
    categories = [{"id": 0, "name": "fracture"}]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    path.write_text(text + "\n", encoding="utf-8")


def _area(polygon: NDArray[np.float64]) -> float:
    x, y = polygon[:, 0], polygon[:, 1]
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2
