"""COCO and YOLO: whatever a file holds is read, bounded in time, and every loss is named."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fracturelib._io.files import InputError
from fracturelib.data.coco import Annotation, fracture_mask, polygon, read_coco, run_lengths
from fracturelib.data.labels import class_label, means_fracture
from fracturelib.data.names import FileNames, guess_patients
from fracturelib.data.walk import walk_folder
from fracturelib.data.yolo import names_in, read_yolo
from tests.radiographs import radiograph, save


def written(path: Path, annotations: list[dict[str, Any]], **rest: Any) -> Path:
    images = [{"id": 7, "file_name": "a.jpg", "width": 40, "height": 30}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, **rest}))
    return path


def test_categories_that_mean_fracture() -> None:
    yes = ["fracture", "Fractured", "broken_bone", "elbow positive", "wrist-fracture", "Bone Fracture", "fx", "Fraktur"]
    no = ["metal", "text", "no fracture", "non-fractured", "unfractured", "normal", "elbow negative", "boneanomaly", ""]
    no += ["no acute fracture", "hand without fracture", "fracture absent"]
    assert [means_fracture(n) for n in yes] == [True] * len(yes)
    assert [class_label(n) for n in ("Fractured", "fracture", "POSITIVE", "with-fracture", "broken")] == [1] * 5
    none = ("Not Fractured", "non_fractured", "no fracture", "unfractured", "Unbroken", "negative", "Normal", "healthy")
    assert [class_label(n) for n in none] == [0] * len(none)
    assert [means_fracture(n) for n in no] == [False] * len(no)


def test_only_fractures_are_taken_and_it_is_said(tmp_path: Path) -> None:
    box = {"image_id": 7, "bbox": [1, 2, 3, 4]}
    categories = [{"id": 1, "name": "metal"}, {"id": "2", "name": "Fracture"}]
    rows = [{**box, "category_id": 1}, {**box, "category_id": 2.0}, {**box, "category_id": 9}]
    coco = read_coco(written(tmp_path / "a.json", rows, categories=categories))
    assert len(coco.found["a.jpg"]) == 1
    assert coco.note == "a.json: categories taken as fractures: Fracture; not taken: metal (1), number 9 (1)"


def packed(counts: list[int]) -> str:
    """Counts as pycocotools writes them (rleToString of its maskApi.c)."""
    text = ""
    for i, count in enumerate(counts):
        value = count - (counts[i - 2] if i > 2 else 0)
        more = True
        while more:
            code = value & 0x1F
            value >>= 5
            more = value != -1 if code & 0x10 else value != 0
            text += chr((code | (0x20 if more else 0)) + 48)
    return text


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_both_ways(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.zeros((60, 50), np.uint8)
    for _ in range(4):
        x, y = rng.integers(0, 40, 2)
        mask[y : y + rng.integers(1, 20), x : x + rng.integers(1, 10)] = 1
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    counts = [0, *counts] if flat[0] else counts
    for form in (counts, packed(counts)):
        polygons, fault = run_lengths({"counts": form, "size": [60, 50]})
        found = fracture_mask([Annotation(tuple(polygons), (0, 0, 1, 1))], width=50, height=60)
        assert not fault and np.array_equal(found, mask)


@pytest.mark.parametrize(
    "shape",
    [
        {"counts": "x", "size": [30, 40]},
        {"counts": [5, -1, 1196], "size": [30, 40]},
        {"counts": [1200], "size": [30, 40]},
        {"counts": [10**400], "size": [30, 40]},
        {"counts": None, "size": [30, 40]},
        {"counts": [1], "size": [10**9, 10**9]},
        {"counts": [1]},
        {},
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [["a"] * 6],
        [[10**400] * 6],
        [[float("nan")] * 6],
        [[1e300] * 6],
        [[[[[[]]]]]],
        [[5, 5, 5, 5, 5, 5]],
    ],
)
def test_shapes_that_are_none_give_their_box_and_a_name(tmp_path: Path, shape: Any) -> None:
    rows = [{"image_id": 7, "bbox": [1, 2, 3, 4], "segmentation": shape}, {"image_id": 7, "segmentation": shape}]
    coco = read_coco(written(tmp_path / "a.json", rows))
    assert [a.bbox for a in coco.found["a.jpg"]] == [(1, 2, 3, 4)]
    assert len(coco.faults) == 2 and coco.faults[0][0] == "a.jpg" and coco.faults[0][1].endswith("its box was taken")


@pytest.mark.parametrize("box", [[1, 2, 3, 0], [1, 2, 0, 4], [1, 2, -3, 4], [1, 2, 3], [], None, [10**400, 1, 1, 1]])
def test_boxes_without_an_area(tmp_path: Path, box: Any) -> None:
    triangle = {"image_id": 7, "bbox": box, "segmentation": [[2, 3, 12, 3, 2, 13]]}
    coco = read_coco(written(tmp_path / "a.json", [{"image_id": 7, "bbox": box}, triangle]))
    assert [a.bbox for a in coco.found["a.jpg"]] == [(2, 3, 10, 10)]
    assert coco.faults == [("a.jpg", "neither a polygon nor a box with an area")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '{"images": 3}',
        '{"images": []}',
        "[" * 200_000,
        '{"images": [1], "annotations": []}',
        "\xff",
    ],
)
def test_what_is_no_coco_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"a\.json: not COCO annotations \([^\n]*\); expected images and annotations"):
        read_coco(tmp_path / "a.json")


def test_a_polygon_of_100_000_points_is_drawn_at_once() -> None:
    rng = np.random.default_rng(0)
    wild = polygon((rng.random(200_000) * 2000).tolist())
    angle = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    round_one = polygon((np.stack([np.cos(angle), np.sin(angle)], axis=1) * 400 + 1000).ravel().tolist())
    assert wild is not None and round_one is not None
    begun = time.process_time()
    fracture_mask([Annotation((wild,), (0, 0, 1, 1))], width=2000, height=2000)
    mask = fracture_mask([Annotation((round_one,), (0, 0, 1, 1))], width=2000, height=2000)
    assert time.process_time() - begun < 5
    assert int(mask.sum()) == pytest.approx(np.pi * 400**2, rel=0.005)


@pytest.mark.parametrize(
    "text",
    [
        "names: [metal, 'fracture']",
        "nc: 2\nnames: ['metal',\n  \"fracture\"]\npath: x",
        "names:\n- metal\n- fracture\nnc: 2",
        "names:\n  - metal  # a comment\n\n  - 'fracture'\n",
        "names:\n  0: metal\n  1: fracture\nval: x",
        "names: {0: metal, 1: fracture}",
        "\ufeffNames:\r\n  1: fracture\r\n  0: metal\r\n",
    ],
)
def test_names_of_classes_in_every_spelling(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_bytes(text.encode())
    assert names_in(tmp_path / "data.yaml") == {0: "metal", 1: "fracture"}


def test_yolo_without_names_takes_nothing_and_says_so(tmp_path: Path) -> None:
    save(radiograph(1), tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    walk = walk_folder(tmp_path)
    found = read_yolo(walk, walk.images)
    assert not found.found and found.note.endswith("none, since no class means fracture; not taken: number 0 (1)")


@pytest.mark.parametrize("row", ["0 0.5 0.5 0 0.1", "0 9 9 9 9", "0 0.5 0.5 0.1 0"])
def test_yolo_boxes_without_an_area(tmp_path: Path, row: str) -> None:
    save(radiograph(1), tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text(row)
    (tmp_path / "classes.txt").write_text("fracture")
    walk = walk_folder(tmp_path)
    found = read_yolo(walk, walk.images)
    assert not found.found and found.faults[0][0] == "images/a.png"


def test_names_find_their_files() -> None:
    names = FileNames(["train/a b.jpg", "val/c.jpg", "test/c.jpg", "train/d.jpg"])
    assert names.find("/x/y/train/a%20b.jpg") == "train/a b.jpg" and names.find("D.JPG") == "train/d.jpg"
    assert names.find("c.jpg", base="val/") == "val/c.jpg" and names.find("val/d.jpg") is None
    assert names.find("val/d.jpg", loosely=True) is None and names.find("images/d.jpg", loosely=True) == "train/d.jpg"
    with pytest.raises(LookupError, match=r"test/c.jpg, val/c.jpg"):
        names.find("c.jpg")


@pytest.mark.parametrize(
    "names",
    [
        [f"img_{i:04d}.png" for i in range(40)],
        [f"{label}/P{i:03d}.png" for label in ("a", "b") for i in range(20)],
        [f"2021_{i}.png" for i in range(40)],
        [f"image{i:03d}.jpg" for i in range(40)],
        ["P1_1.png", "P1_2.png"],
        [],
    ],
)
def test_numbers_of_which_nothing_can_be_guessed(names: list[str]) -> None:
    assert guess_patients(names) is None
