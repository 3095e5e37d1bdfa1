"""Layouts that were once misread: parts of sets, labels of other splits, odd names, damaged and huge files."""

import json
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from fracturelib._io.cache import write_sealed
from fracturelib._io.files import InputError
from fracturelib.curate.split_table import read_split_table
from fracturelib.data import manifest
from fracturelib.data.coco import read_coco, run_lengths
from fracturelib.data.dataset import load_manifest, probe
from fracturelib.data.found import as_many
from fracturelib.data.labels import means_fracture
from fracturelib.data.layouts import Found, known_files, read_folder
from fracturelib.data.names import FileNames
from fracturelib.data.walk import has_image_head
from fracturelib.data.yolo import names_in
from tests.radiographs import radiograph, save

ROW = "0 0.5 0.5 0.2 0.2\n"


def images(root: Path, *names: str) -> Path:
    for name in names:
        save(radiograph(len(name) + sum(map(ord, name)), width=48, height=64), root / name)
    return root


def said(found: Found) -> dict[str, tuple[str, int | None]]:
    """Split and label of each image, by its path below the folder that was made."""
    rows = zip(found.images["path"], found.images["split"], found.images["label"], strict=True)
    return {"/".join(path.parts[-3:]): (split, None if pd.isna(label) else int(label)) for path, split, label in rows}


SET = {
    f"{split}/{name}/{split}{label}.png": (split, label)
    for split in ("train", "val")
    for label, name in enumerate(("Normal", "Fractured"))
}


@pytest.mark.parametrize("root", ["fracture", "positive", "normal", "test", "dev", "test/fracture", "x/val/positive"])
def test_what_a_set_is_called_says_nothing_of_its_images(tmp_path: Path, root: str) -> None:
    images(tmp_path / root, *SET)
    for inside in (False, True):
        assert said(read_folder(tmp_path / root, inside=inside)) == SET
    for part in ("val", "val/Fractured"):
        expected = {name: value for name, value in SET.items() if name.startswith(part)}
        assert said(read_folder(tmp_path / root / part, inside=True)) == expected
    assert said(known_files(tmp_path / root / "val" / "Normal", ["val0.png"])) == {"val/Normal/val0.png": ("val", 0)}


def test_the_nearest_folder_says_the_split(tmp_path: Path) -> None:
    images(tmp_path / "dev", "test/Fractured/a.png", "test/Normal/b.png")
    for folder in (tmp_path / "dev", tmp_path / "dev" / "test"):
        found = said(read_folder(folder, inside=True))
        assert found == {"test/Fractured/a.png": ("test", 1), "test/Normal/b.png": ("test", 0)}


def test_a_yolo_set_called_fracture(tmp_path: Path) -> None:
    root = images(tmp_path / "fracture", "train/images/1.png", "train/images/2.png")
    (root / "train" / "labels").mkdir()
    (root / "train" / "labels" / "1.txt").write_text(ROW)
    (root / "data.yaml").write_text("names: ['fracture']\n")
    assert said(read_folder(root, inside=True)) == {
        "train/images/1.png": ("train", 1),
        "train/images/2.png": ("train", 0),
    }


@pytest.mark.parametrize(
    ("parts", "image", "text"),
    [
        (("valid", "valid/images"), "valid/images/{}.png", "valid/labels/1.txt"),
        (("images/valid",), "images/valid/{}.png", "labels/valid/1.txt"),
    ],
)
def test_a_part_of_a_yolo_set_knows_what_the_whole_knows(
    tmp_path: Path, parts: tuple[str, ...], image: str, text: str
) -> None:
    root = images(tmp_path / "set", image.format(1), image.format(2))
    (root / text).parent.mkdir(parents=True)
    (root / text).write_text(ROW.replace("0", "1", 1))
    (root / text).with_name("2.txt").write_text(ROW)
    (root / "data.yaml").write_text("names: [metal, fracture]\n")
    for folder in (root, *(root / part for part in parts)):
        assert list(said(read_folder(folder, inside=True)).values()) == [("val", 1), ("val", 0)]
    found = known_files((root / image).parent, ["1.png", "2.png"])
    assert list(said(found).values()) == [("val", 1), ("val", 0)]


def yolo(root: Path) -> Path:
    images(root, *(f"{split}/images/{i}.png" for split in ("train", "valid") for i in (1, 2, 3)))
    for name in ("train/labels/1.txt", "train/labels/3.txt", "valid/labels/2.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(ROW)
    (root / "data.yaml").write_text("names: ['fracture']\n")
    return root


def test_a_yolo_image_takes_no_label_of_another_split(tmp_path: Path) -> None:
    found = said(read_folder(yolo(tmp_path)))
    assert [found[f"valid/images/{i}.png"][1] for i in (1, 2, 3)] == [0, 1, 0]
    (tmp_path / "train" / "images" / "1.png").unlink()  # not even one that is nobody's
    assert said(read_folder(tmp_path))["valid/images/1.png"] == ("val", 0)


def test_a_coco_file_beside_a_split_means_no_image_of_another(tmp_path: Path) -> None:
    images(tmp_path, "train/1.png", "valid/8.png")
    for split, names in (("train", ["1.png", "8.png"]), ("valid", ["8.png"])):
        listed = [{"id": i, "file_name": name} for i, name in enumerate(names)]
        boxes = [{"image_id": i, "bbox": [1, 2, 3, 4]} for i in range(len(names)) if split == "train"]
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps({"images": listed, "annotations": boxes}))
    found = read_folder(tmp_path)
    assert {name[-5:]: label for name, (_, label) in said(found).items()} == {"1.png": 1, "8.png": 0}
    assert any("1 annotated image is not in the folder" in note for note in found.notes)


def test_only_what_denies_the_fracture_denies_it() -> None:
    yes = ["non-displaced fracture", "un-displaced fracture", "fracture without displacement", "free fragment fracture"]
    yes += [
        "fracture, not displaced",
        "fracture line (no cast)",
        "undisplaced fracture",
        "no cast, fracture",
        "old fracture",
    ]
    no = [
        "no fracture",
        "not fractured",
        "without fracture",
        "non-fractured",
        "fracture: no",
        "absent fracture",
        "not a fracture",
    ]
    no += [
        "no displaced fracture",
        "fracture (absent)",
        "fracture not visible",
        "fracture-free",
        "free of fracture",
        "not broken",
    ]
    assert [name for name in yes if not means_fracture(name)] == []
    assert [name for name in no if means_fracture(name)] == []


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("names: ['metal, other', 'fracture']", "metal, other"),
        ('names: ["x #1","fracture"]  # of two', "x #1"),
        ("names:\n- 'x #1'\n- fracture", "x #1"),
        ("names:\n  0: 'it''s'\n  1: fracture", "it's"),
        ('"names": ["metal", "fracture"]', "metal"),
        ('{"nc": 2, "names": ["a] b", "fracture"]}', "a] b"),
        ('{\n "nc": 2,\n "names": {"0": "metal", "1": "fracture"}\n}', "metal"),
        ("  nc: 2\n  names:\n    - metal\n    - fracture\n  path: x", "metal"),
        ("names:\n  [metal,\n   fracture]\n", "metal"),
    ],
)  # fmt: skip
def test_names_of_classes_in_quotes_and_blocks(tmp_path: Path, text: str, first: str) -> None:
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / "data.yaml").write_text(text, encoding=encoding)
        assert names_in(tmp_path / "data.yaml") == {0: first, 1: "fracture"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("A.jpg,train\nA.jpg,test", r"A\.jpg is there twice; expected it once"),
        ("A.jpg,train\nB.jpg,", "row 3 has no split; expected one of train, val, test, left out"),
        ("A.jpg,trian", "split is 'trian'; expected one of train, val, test, left out"),
    ],
)
def test_a_table_of_splits_is_refused_as_manifests_are(tmp_path: Path, rows: str, message: str) -> None:
    (tmp_path / "s.csv").write_text(f"name,split\n{rows}\n")
    with pytest.raises(InputError, match=message):
        read_split_table(tmp_path / "s.csv", listed_only=False)


def test_a_table_of_splits_in_other_words_and_with_folders(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("name,split\nFractured/A.jpg,Train\nNormal/A.jpg,Valid\nB.jpg,TEST\n")
    frame = pd.DataFrame(
        {"name": ["A.jpg", "A.jpg", "B.jpg"], "key": ["Fractured/A.jpg", "Normal/A.jpg", "Normal/B.jpg"]}
    )
    assert list(read_split_table(tmp_path / "s.csv", listed_only=False).applied(frame)["split"]) == [
        "train",
        "val",
        "test",
    ]
    (tmp_path / "s.csv").write_text("name,split\nNormal/B.jpg,train\nB.jpg,test\n")
    with pytest.raises(InputError, match=r"B\.jpg is there twice"):
        read_split_table(tmp_path / "s.csv", listed_only=False).applied(frame)


def test_a_damaged_image_is_left_out_though_the_manifest_has_its_size(tmp_path: Path) -> None:
    images(tmp_path, "a.png", "b.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:-40])
    splits = {"a": "train", "b": "val", "bad": "train", "cut": "val"}
    rows = [f"{name}.png,{split},1,48,64" for name, split in splits.items()]
    (tmp_path / "manifest.csv").write_text("\n".join(["file,split,label,width,height", *rows]))
    frame = load_manifest(tmp_path)
    assert list(frame["file"]) == ["a.png", "b.png"]
    assert [file for file, _ in frame.attrs["unreadable"]] == ["bad.png", "cut.png"]


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"0 0.5 wide\n", b"0 0.5 0.5 0.1 0.1\n" * 60_000])
def test_a_damaged_yolo_label_leaves_its_image_out(tmp_path: Path, content: bytes) -> None:
    (yolo(tmp_path) / "train" / "labels" / "1.txt").write_bytes(content)
    found = read_folder(tmp_path)
    assert found.errors == [] and said(found)["train/images/1.png"] == ("train", None)
    assert "(train/images/1.png)" in found.not_taken() and len(found.taken) == 5
    assert any("1 YOLO label cannot be read" in note and "train/labels/1.txt: " in note for note in found.notes)


def test_what_is_too_large_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("data.yaml", 3_000_000_000), ("annotations.json", 65_000_000)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    with pytest.raises(InputError, match=r"data\.yaml: 3000\.0 MB; expected at most 1"):
        names_in(tmp_path / "data.yaml")
    with pytest.raises(InputError, match=r"annotations\.json: .*65 MB; expected at most 64"):
        read_coco(tmp_path / "annotations.json")
    images(tmp_path / "listed", "a.png")
    (tmp_path / "listed" / "manifest.csv").write_text("file,split,label\n" + "a.png,train,1\n" * 50)
    monkeypatch.setattr(manifest, "MAX_ROWS", 40)
    assert "with 51 rows; expected at most 40" in read_folder(tmp_path / "listed").errors[0].replace("lines", "rows")


def test_a_mask_of_another_size_than_its_image_is_faulty(tmp_path: Path) -> None:
    shape = {"counts": [0, 10**8], "size": [10**4, 10**4]}
    assert run_lengths(shape, image_size=(48, 64)) == ([], "run lengths of 10000 x 10000 for an image of 48 x 64")
    listed = {"images": [{"id": 1, "file_name": "a.png", "width": 48, "height": 64}]}
    listed["annotations"] = [{"image_id": 1, "segmentation": shape}] * 20
    (tmp_path / "a.json").write_text(json.dumps(listed))
    coco = read_coco(tmp_path / "a.json")
    assert len(coco.faults) == 20 and not coco.found


def test_patients_by_a_named_group_and_with_flags(tmp_path: Path) -> None:
    images(tmp_path, "Fractured/P1_a.png", "Normal/P2_a.png")
    for pattern in (r"(?P<patient>P\d+)", r"(?i)(p\d+)"):
        assert list(read_folder(tmp_path, group_pattern=pattern).images["group"]) == ["P1", "P2"]
    with pytest.raises(InputError, match="it has no group; expected a regular expression with a group"):
        read_folder(tmp_path, group_pattern=r"P\d+")


def test_two_spellings_of_an_accent_are_one_name(tmp_path: Path) -> None:
    one, other = unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "é.png")
    assert FileNames([f"a/{one}"]).find(f"a/{other}") == f"a/{one}" and FileNames([other]).find(one) == other
    root = yolo(tmp_path)
    images(root, f"train/images/{one}")
    (root / "train" / "labels" / other.replace("png", "txt")).write_text(ROW)
    assert said(read_folder(root))[f"train/images/{one}"] == ("train", 1)


def test_a_picture_beside_mura_is_not_taken(tmp_path: Path) -> None:
    root = images(tmp_path / "MURA-v1.1", "logo.png", "train/XR_WRIST/patient00001/study1_positive/image1.png")
    found = read_folder(root)
    assert found.kind == "MURA" and found.errors == [] and "1 image without a label (logo.png)" in found.not_taken()


def test_names_that_hold_a_split(tmp_path: Path) -> None:
    for split, name in (("train", "train2017"), ("train", "Train_Images"), ("val", "val-set"), ("test", "test data")):
        root = images(tmp_path / f"of {name}", f"{name}/Fractured/a.png")
        assert set(read_folder(root).images["split"]) == {split}
    images(tmp_path / "odd", "my_train/Fractured/a.png", "my_val/Normal/b.png")
    notes = read_folder(tmp_path / "odd").notes
    assert "names like splits, but not taken for them: my_train/, my_val/; expected train, val, test" in notes


def test_a_table_of_ones_own_is_not_taken(tmp_path: Path) -> None:
    images(tmp_path, *SET)
    (tmp_path / "dataset.csv").write_text("image_id,age\ntrain0.png,40\n")
    found = read_folder(tmp_path)
    assert found.errors == [] and said(found) == SET and "1 file (1 .csv)" in found.not_taken()


def test_dicom_without_preamble_is_an_image() -> None:
    assert has_image_head(b"\x08\0\x05\0CS\x0a\0ISO_IR 100") and not has_image_head(b"\x08\0\x05\0??")


def test_one_is_said_in_the_singular() -> None:
    assert as_many(1, "rows of labels.csv have no image") == "1 row of labels.csv has no image"
    assert as_many(2, "rows of labels.csv have no image") == "2 rows of labels.csv have no image"


@pytest.mark.parametrize("content", [b"[]", b"[[1]]", b'{"a": 1}', b"[null]", b"7"])
def test_remembered_sizes_that_make_no_sense_are_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("FRACTURE_CACHE", str(tmp_path / "cache"))
    save(radiograph(1, width=64, height=80), tmp_path / "a.jpg")
    assert probe(tmp_path, ["a.jpg"], decode=True) == [(64, 80)]
    (memory,) = (tmp_path / "cache").rglob("sizes-*.json")
    write_sealed(memory, content)
    assert probe(tmp_path, ["a.jpg"], decode=True) == [(64, 80)]
