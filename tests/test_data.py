"""The data contract."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fracturelib._io.files import InputError
from fracturelib.data.coco import Annotation, fracture_mask
from fracturelib.data.dataset import data_folder, fingerprint, load_annotations, load_manifest, require_both_classes
from fracturelib.data.labels import CLASSES, class_label
from tests.radiographs import plain_folder, radiograph, save


@pytest.mark.parametrize(
    ("name", "label"),
    [
        *[(n, 1) for n in ("Fractured", "fractured", "FRACTURE", "positive")],
        *[(n, 0) for n in ("Not Fractured", "not_fractured", "Non-Fractured", "Non_fractured", "normal", "negative")],
    ],
)
def test_class_folders_by_any_name(name: str, label: int) -> None:
    assert class_label(name) == label
    assert CLASSES[label] == ("Fractured" if label else "Not Fractured")


def test_an_unknown_class_names_the_accepted_ones() -> None:
    with pytest.raises(InputError, match=r"'bones' is not known; expected one of Fractured: fractured, .* normal"):
        class_label("bones")


def test_a_plain_folder_needs_no_manifest(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path, splits={"train": 3, "Validation": 2})
    frame = load_manifest(folder)
    assert list(frame.columns[:6]) == ["file", "split", "label", "group", "width", "height"]
    assert frame.groupby("split")["label"].agg(["size", "sum"]).to_dict("list") == {"size": [6, 4], "sum": [3, 2]}
    assert (frame["group"] == frame["file"]).all() and frame["file"].is_monotonic_increasing
    assert set(zip(frame["width"], frame["height"], strict=True)) == {(48, 64)}
    assert frame["file"].iloc[0] == "Validation/fractured/image000.jpg"


def test_unreadable_images_are_listed_not_fatal(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path, splits={"train": 2, "val": 2})
    (folder / "train" / "fractured" / "empty.jpg").touch()
    (folder / "train" / "fractured" / "text.jpg").write_text("this is no picture")
    frame = load_manifest(folder)
    assert len(frame) == 8
    assert [(Path(f).name, r.split(";")[0]) for f, r in frame.attrs["unreadable"]] == [
        ("empty.jpg", "empty (0 bytes)"),
        ("text.jpg", "not an image"),
    ]
    assert load_manifest(folder).attrs["unreadable"] == frame.attrs["unreadable"]


def test_an_image_that_is_mended_is_seen(tmp_path: Path) -> None:
    folder = plain_folder(tmp_path, splits={"train": 2, "val": 2})
    (folder / "train" / "fractured" / "empty.jpg").touch()
    assert len(load_manifest(folder)) == 8
    save(radiograph(1), folder / "train" / "fractured" / "empty.jpg")
    assert len(load_manifest(folder)) == 9


def with_manifest(folder: Path, **columns: object) -> Path:
    save(radiograph(1), folder / "train" / "Fractured" / "a.jpg")
    save(radiograph(2), folder / "val" / "Not Fractured" / "b.jpg")
    table = pd.DataFrame(
        {
            "file": ["train/Fractured/a.jpg", "val/Not Fractured/b.jpg"],
            "split": ["train", "val"],
            "label": [1, 0],
            "group": ["p1", "p2"],
            "width": 48,
            "height": 64,
        }
    )
    table.assign(**columns).dropna(axis=1, how="all").to_csv(folder / "manifest.csv", index=False)
    return folder


def test_a_manifest_keeps_its_metadata(tmp_path: Path) -> None:
    frame = load_manifest(with_manifest(tmp_path, region=["hand", "hip"]))
    assert frame["region"].tolist() == ["hand", "hip"] and frame["group"].tolist() == ["p1", "p2"]


def test_a_manifest_without_group_and_size(tmp_path: Path) -> None:
    frame = load_manifest(with_manifest(tmp_path, group=None, width=None, label=["fractured", "normal"]))
    assert frame["group"].tolist() == frame["file"].tolist() and frame["width"].tolist() == [48, 48]
    assert frame["label"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": None}, "has no column label; expected"),
        ({"label": [1, "maybe"]}, "label 'maybe' is not known; expected 0, 1"),
        ({"split": ["train", "dev set"]}, "split 'dev set' is not known; expected one of train, val, test"),
        ({"file": "train/Fractured/a.jpg"}, "a.jpg is there twice"),
        ({"file": ["../a.jpg", "b.jpg"]}, r"\.\./a.jpg leaves the folder"),
    ],
)
def test_a_manifest_that_breaks_the_contract(tmp_path: Path, columns: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_manifest(with_manifest(tmp_path, **columns))


def test_a_listed_image_that_is_gone(tmp_path: Path) -> None:
    folder = with_manifest(tmp_path)
    (folder / "val" / "Not Fractured" / "b.jpg").unlink()
    frame = load_manifest(folder)
    assert len(frame) == 1 and frame.attrs["unreadable"] == [("val/Not Fractured/b.jpg", "no such file")]


def test_annotations_and_masks(tmp_path: Path) -> None:
    coco = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 40, "height": 30}],
        "annotations": [
            {"image_id": 7, "bbox": [10, 5, 8, 4], "segmentation": [[10, 5, 18, 5, 18, 9, 10, 9]]},
            {"image_id": 7, "bbox": [30, 20, 5, 5], "segmentation": {"counts": "x", "size": [30, 40]}},
        ],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(coco))
    found = load_annotations(tmp_path)["a.jpg"]
    mask = fracture_mask(found, width=40, height=30)
    assert mask.shape == (30, 40) and mask.dtype == np.uint8
    assert mask[5:10, 10:19].all() and mask[20:26, 30:36].all() and mask.sum() == 5 * 9 + 6 * 6
    assert load_annotations(tmp_path / "elsewhere") == {}


def test_annotations_that_are_not_coco(tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text('{"images": []}')
    with pytest.raises(InputError, match=r"annotations\.json: not COCO annotations"):
        load_annotations(tmp_path)


def test_a_mask_of_no_annotation_is_empty() -> None:
    assert not fracture_mask([], width=5, height=4).any()
    outside = Annotation((np.array([[-9.0, -9], [-5, -9], [-5, -5]]),), (-9, -9, 4, 4))
    assert not fracture_mask([outside], width=5, height=4).any()


def test_the_fingerprint_changes_with_what_matters(tmp_path: Path) -> None:
    frame = load_manifest(with_manifest(tmp_path))
    same = frame.sample(frac=1, random_state=1).assign(extra=1)
    assert fingerprint(frame) == fingerprint(same) and len(fingerprint(frame)) == 16
    assert fingerprint(frame) != fingerprint(frame.assign(label=[0, 1]))
    assert fingerprint(frame) != fingerprint(frame.assign(split="train"))


def test_both_classes_are_required() -> None:
    frame = pd.DataFrame({"label": [1, 1]})
    with pytest.raises(InputError, match="train: has only 'Fractured' images; expected both"):
        require_both_classes(frame, "train")
    require_both_classes(pd.DataFrame({"label": [1, 0]}), "train")


def test_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FRACTURE_DATA", raising=False)
    assert data_folder().parts[-2:] == ("data", "demo")
    monkeypatch.setenv("FRACTURE_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FRACTURE_DATA", "~/images")
    assert data_folder() == tmp_path / "images"


def test_a_relative_data_folder_is_meant_from_where_it_was_typed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("FRACTURE_DATA", "data")
    monkeypatch.setenv("PWD", str(tmp_path))
    monkeypatch.chdir(tmp_path / "notebooks")  # where a notebook runs, while PWD stays as the shell left it
    assert data_folder().resolve() == tmp_path / "data"
    (tmp_path / "notebooks" / "data").mkdir()
    assert data_folder().resolve() == tmp_path / "notebooks" / "data"


def test_a_box_may_be_wider_than_high(tmp_path: Path) -> None:
    coco = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "bbox": [4, 3, 10, 5]}]}
    (tmp_path / "annotations.json").write_text(json.dumps(coco))
    mask = fracture_mask(load_annotations(tmp_path)["a.jpg"], width=30, height=20)
    assert mask[3:9, 4:15].all() and mask.sum() == 6 * 11


@pytest.mark.parametrize("column", ["file", "split", "label", "group", "width", "height"])
def test_each_column_of_the_contract_is_in_the_fingerprint(tmp_path: Path, column: str) -> None:
    frame = load_manifest(with_manifest(tmp_path))
    other = frame.copy()
    other.loc[other.index[0], column] = 9 if column in ("label", "width", "height") else "other"
    assert fingerprint(frame) != fingerprint(other)
