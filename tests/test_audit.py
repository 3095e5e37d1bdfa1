"""What is wrong with a folder is found and said; whatever the folder holds, there is no traceback."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fracturelib._io.files import InputError, printable
from fracturelib.cli import main
from fracturelib.curate import audit_report
from fracturelib.curate.audit import audit_folder
from fracturelib.curate.audit_report import to_dict, to_html, to_json
from fracturelib.curate.cleaning import Drop, repaired
from fracturelib.curate.duplicates import copies_in
from fracturelib.curate.findings import Audit, problem_line
from fracturelib.curate.importer import import_dataset
from fracturelib.curate.shortcuts import find_shortcuts, number_in_name
from fracturelib.data.coco import Annotation
from fracturelib.data.dataset import load_manifest
from fracturelib.data.found import KINDS, Problem
from tests.conftest import ROOT
from tests.radiographs import plain_folder, radiograph, save
from tests.test_importer import made_up_fracatlas

DEMO = ROOT / "data" / "demo"


def sample(root: Path, each: int = 12) -> list[Path]:
    """Demo images in train, val and test, `each` of both classes; their paths in the new folder."""
    result = []
    for split in ("train", "val", "test"):
        for label in ("Fractured", "Not Fractured"):
            for path in sorted((DEMO / split / label).glob("*_1.jpg"))[:each]:
                target = root / split / label / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                result.append(Path(shutil.copy(path, target)))
    return result


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """A set with a leak, a contradiction, a truncated copy, a broken and a blank file."""
    root = tmp_path_factory.mktemp("sick") / "set"
    images = {p.relative_to(root).as_posix(): p for p in sample(root)}
    fractured = sorted(p for name, p in images.items() if name.startswith("train/Fractured"))
    intact = sorted(p for name, p in images.items() if name.startswith("train/Not"))
    for i, path in enumerate(fractured[:3]):
        with Image.open(path) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(root / "test" / "Fractured" / f"leak{i}.jpg")
    shutil.copy(intact[0], root / "train" / "Fractured" / "opposite.jpg")
    (root / "val" / "Not Fractured" / "half.jpg").write_bytes(
        intact[1].read_bytes()[: intact[1].stat().st_size * 3 // 4]
    )
    (root / "val" / "Not Fractured" / "text.jpg").write_text("no picture")
    save(np.full((64, 64), 9, np.uint8), root / "val" / "Fractured" / "blank.png")
    return audit_folder(root)


def test_a_clean_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample(tmp_path / "set")
    code = main(["audit", str(tmp_path / "set"), "--quiet", "--json", str(tmp_path / "a.json")])
    said = capsys.readouterr().out
    assert code == 0 and said.startswith("Clean: 72 images"), said
    assert json.loads((tmp_path / "a.json").read_text())["clean"] is True


def test_leaks_contradictions_and_broken_files(sick: Audit) -> None:
    assert not sick.clean and len(sick.leaks) == 4 and len(sick.contradictions) == 1 and sick.extra == 5
    kinds = {(p.kind, Path(p.file).name) for p in sick.problems}
    assert kinds == {("unreadable", "half.jpg"), ("unreadable", "text.jpg"), ("blank", "blank.png")}
    files = [sorted(Path(sick.images["file"][i]).name for i in g) for g in sick.copies.groups]
    assert any("half.jpg" in g for g in files) and any("opposite.jpg" in g for g in files)


def test_looking_up_copies(sick: Audit) -> None:
    look = sick.lookup
    assert look is not None and (look.images, look.found, look.found_accuracy) == (27, 3, 1.0)
    # The commoner class of train and val is Fractured by a contradiction and a blank image, or not; all else is
    # guessed.
    assert look.accuracy >= look.guessing
    assert "3 of 27 test images are copies" in sick.verdict


@pytest.mark.parametrize("split", ["train", "val"])
def test_copies_in_train_and_in_val_are_looked_up(tmp_path: Path, split: str) -> None:
    folder = plain_folder(tmp_path / "set", splits={"train": 2, "val": 2, "test": 2})
    shutil.copy(folder / split / "fractured" / "image000.jpg", folder / "test" / "fractured" / "again.jpg")
    look = audit_folder(folder).lookup
    assert look is not None and (look.images, look.found, look.found_accuracy) == (5, 1, 1.0)


def test_the_splits_in_radiographs(sick: Audit) -> None:
    summary = sick.summary().set_index("split")
    assert summary.loc["train", "images"] == 25 and summary.loc["train", "radiographs"] == 24
    assert summary.loc["test", "images"] == summary.loc["test", "radiographs"] == 27
    assert summary.loc["val", "unreadable"] == 2


def test_json_is_as_documented(sick: Audit) -> None:
    told = json.loads(to_json(sick))
    assert told == json.loads(json.dumps(to_dict(sick)))
    head = audit_report.__doc__ or ""
    assert set(told) == {
        "format", "version", "folder", "verdict", "clean", "splits", "problems", "groups", "copies", "leaks",
        "contradictions", "shared_patients", "lookup", "shortcuts", "notes", "balance", "advice",
    }  # fmt: skip
    assert all(name in head for name in told)
    assert {p["kind"] for p in told["problems"]} <= set(KINDS)
    leaking = [g for g in told["groups"] if g["leak"]]
    assert len(leaking) == told["leaks"] == 4 and all(len(set(g["splits"])) > 1 for g in leaking)
    assert any("mirrored" in link["how"] for g in leaking for link in g["links"])


def test_the_page_needs_nothing_else(sick: Audit) -> None:
    page = to_html(sick)
    assert "http" not in page and page.count("data:image/jpeg;base64,") == sum(map(len, sick.copies.groups))
    assert page.index('class="verdict"') < page.index("What to do")
    assert "both labels" in page and "in more than one split" in page


def test_the_text_says_the_worst_first(sick: Audit) -> None:
    lines = str(sick).splitlines()
    assert lines[0] == sick.verdict and "What to do:" in lines and all(len(line) < 400 for line in lines)


def test_patients_in_two_splits(tmp_path: Path) -> None:
    images = sample(tmp_path / "set", 4)
    rows = [(p.relative_to(tmp_path / "set").as_posix(), f"P{i % 5}") for i, p in enumerate(images)]
    frame = pd.DataFrame(rows, columns=["file", "group"])
    frame["split"] = frame["file"].str.split("/").str[0]
    frame.loc[frame["split"] == "val", "group"] = "V"  # so that the others are in two splits, and not in three
    frame["label"] = frame["file"].str.contains("/Fractured/").astype(int)
    frame.loc[0, "label"] = 1 - frame.loc[0, "label"]
    frame.loc[1, "file"] = "train/Fractured/lost.jpg"
    frame.to_csv(tmp_path / "set" / "manifest.csv", index=False)
    audit = audit_folder(tmp_path / "set")
    assert audit.shared_patients == ("P0", "P1", "P2", "P3", "P4") and "patients" in audit.verdict
    assert [p.kind for p in audit.problems] == ["image_without_row", "labels_disagree", "row_without_image"]


def test_fracatlas_in_its_layout(tmp_path: Path) -> None:
    source = made_up_fracatlas(tmp_path / "FracAtlas", 60)
    table = pd.read_csv(source / "dataset.csv")
    table.loc[4, "fractured"] = 1
    table.drop(index=5).to_csv(source / "dataset.csv", index=False)
    coco = source / "Annotations" / "COCO JSON" / "COCO_fracture_masks.json"
    told = json.loads(coco.read_text())
    told["annotations"][0]["bbox"] = [40, 20, 20, 4]
    told["images"][1]["width"] = 96
    told["images"].append({"id": 900, "file_name": "IMG0000900.jpg", "width": 48, "height": 64})
    told["annotations"].append({"id": 900, "image_id": 900, "category_id": 0, "bbox": [1, 1, 2, 2], "segmentation": []})
    del told["annotations"][2]
    coco.write_text(json.dumps(told))
    audit = audit_folder(source)
    assert {(p.kind, Path(p.file).name) for p in audit.problems} == {
        ("labels_disagree", "IMG0000004.jpg"),
        ("image_without_row", "IMG0000005.jpg"),
        ("box_outside", "IMG0000000.jpg"),
        ("size_differs", "IMG0000003.jpg"),
        ("annotation_without_image", "IMG0000900.jpg"),
        ("fracture_without_annotation", "IMG0000006.jpg"),
    }
    assert {"region", "view"} <= set(audit.images) and audit.lookup is None
    assert audit.summary()["split"].tolist() == ["all"]
    assert "1 file is labelled fractured, and has no annotation, though others have:" in str(audit)


def test_an_image_turned_against_its_annotations(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(radiograph(1, fractured=True), tmp_path / "set" / "train" / "Fractured" / "a.jpg", exif=exif)
    save(radiograph(2), tmp_path / "set" / "train" / "Normal" / "b.jpg")
    image = {"id": 1, "file_name": "train/Fractured/a.jpg", "width": 48, "height": 64}
    told = {"images": [image], "annotations": [{"image_id": 1, "bbox": [10, 40, 8, 8]}]}
    (tmp_path / "set" / "annotations.json").write_text(json.dumps(told))
    assert [p.kind for p in audit_folder(tmp_path / "set").problems] == ["turned"]


def test_a_file_with_two_problems_of_a_kind_is_one_file() -> None:
    problems = [
        Problem("box_outside", file, detail) for file, detail in (("a.png", "1"), ("a.png", "2"), ("b.png", "3"))
    ]
    assert problem_line("box_outside", problems).startswith("2 files ")
    assert problem_line("box_outside", problems[:2]).startswith("1 file ")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"width": 9, "height": 48}, "9 x 48 in the table, 64 x 48 pixels in truth"),
        ({"width": 9}, "9 x ? in the table, 64 x 48 pixels in truth"),
        ({"height": 9}, "? x 9 in the table, 64 x 48 pixels in truth"),
        ({"width": 64, "height": 48}, ""),
        ({"width": 64}, ""),
        ({}, ""),
    ],
)
def test_sizes_in_the_table_are_checked_one_by_one(tmp_path: Path, table: dict[str, int], said: str) -> None:
    for split, name in (("train", "a"), ("train", "b"), ("val", "c")):
        save(radiograph(ord(name), width=64, height=48), tmp_path / split / f"{name}.png")
    rows = [{"file": f"{split}/{n}.png", "label": i % 2, "split": split, **table}
            for i, (split, n) in enumerate([("train", "a"), ("train", "b"), ("val", "c")])]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    found = [p.detail for p in audit_folder(tmp_path).problems if p.kind == "size_in_table"]
    assert found == [said] * 3 * bool(said)


def test_a_planted_shortcut_comes_first() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 400)
    frame = pd.DataFrame(
        {
            "noise": rng.normal(size=400),
            "width": np.where(rng.uniform(size=400) < 0.9, label, 1 - label) * 100 + 300,
            "machine": np.where(rng.uniform(size=400) < 0.7, label, 1 - label).astype(str),
            "type": np.where(label == 1, rng.choice(["oblique", "spiral"], 400), None),
        }
    )
    kinds = ["picture", "picture", "metadata", "metadata"]
    found = find_shortcuts(frame, kinds, label, np.arange(400))
    names = [s.name for s in found]
    assert names[-1] == "type" and found[-1].describes and set(names[:2]) == {"width", "all together"}
    by_name = {s.name: s for s in found}
    assert by_name["width"].auc.value == pytest.approx(0.9, abs=0.04) and by_name["width"].suspect
    assert by_name["machine"].auc.low < 0.7 < by_name["machine"].auc.high
    assert by_name["noise"].auc.low < 0.5 < by_name["noise"].auc.high and not by_name["noise"].suspect


def test_groups_keep_a_shortcut_honest() -> None:
    """A variable that knows the patient, not the label, is worth nothing where patients stay together."""
    rng = np.random.default_rng(1)
    patient = np.repeat(np.arange(60), 8)
    label = rng.integers(0, 2, 60)[patient]
    frame = pd.DataFrame({"machine": rng.normal(size=60)[patient] + rng.normal(0, 1e-3, 480)})
    grouped = find_shortcuts(frame, ["metadata"], label, patient)[0]
    assert grouped.auc.low < 0.5 < grouped.auc.high and not grouped.suspect


def test_numbers_in_names() -> None:
    ranks = number_in_name(["a/IMG10.jpg", "b/IMG9.jpg", "x/none.jpg", "IMG9.png"])
    assert ranks[0] > ranks[1] == ranks[3] and np.isnan(ranks[2])


def test_too_few_images_for_shortcuts(tmp_path: Path) -> None:
    plain_folder(tmp_path / "set", splits={"train": 2, "val": 2})
    audit = audit_folder(tmp_path / "set")
    assert audit.shortcuts == () and audit.verdict.endswith("too few of both classes to look for shortcuts.")


@pytest.mark.parametrize("given", ["nowhere", "file", "empty", "words"])
def test_what_cannot_be_audited(tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "notes.txt").write_text("no image")
    assert main(["audit", str(tmp_path / given), "--quiet"]) == 2
    line = capsys.readouterr().err.strip()
    assert len(line.splitlines()) == 1 and given in line and "expected" in line
    with pytest.raises(InputError):
        audit_folder(tmp_path / given)


def garbage(root: Path, seed: int) -> None:
    """A folder of random names and bytes, some with the look of images, tables and annotations."""
    rng = np.random.default_rng(seed)
    letters = [*"ab .-_'\"$%&é中\n\t\\;|<>", "\udcff", "train", "Fractured", "test", "normal", "\u202e"]
    heads = [
        b"",
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"II*\0",
        b"BM",
        b"RIFF....WEBP",
        b"\0" * 128 + b"DICM",
        b"GIF8",
    ]
    for i in range(int(rng.integers(1, 12))):
        folder = root
        for _ in range(int(rng.integers(0, 3))):
            folder = folder / ("x" + "".join(rng.choice(letters, 3)).replace("/", ""))
        folder.mkdir(parents=True, exist_ok=True)
        suffix = rng.choice([".jpg", ".png", ".tif", ".bmp", ".webp", ".dcm", ".txt", ""])
        path = folder / (f"{i}" + "".join(rng.choice(letters, 4)).replace("/", "") + suffix)
        if rng.uniform() < 0.2:
            save(radiograph(i), root / "plain" / f"{i}.png")
        elif rng.uniform() < 0.1:
            path.symlink_to(root / "nowhere")
        else:
            path.write_bytes(heads[int(rng.integers(len(heads)))] + rng.bytes(int(rng.integers(0, 2000))))
    for name in ("manifest.csv", "annotations.json", "dataset.csv"):
        if rng.uniform() < 0.4:
            text = [
                b"file,label,group,split\n1.png,7,,\n",
                b'{"images": 3}',
                b"[]",
                b"",
                b'{"a":',
                rng.bytes(300),
                b"file\n\xff",
            ]
            (root / name).write_bytes(text[int(rng.integers(len(text)))])
    if rng.uniform() < 0.3:
        (root / "images").mkdir(exist_ok=True)


def test_a_hundred_folders_of_garbage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes = []
    for seed in range(100):
        root = tmp_path / str(seed)
        root.mkdir()
        garbage(root, seed)
        out = [str(tmp_path / f"{seed}.json"), str(tmp_path / f"{seed}.html")]
        codes.append(main(["audit", str(root), "--quiet", "--json", out[0], "--html", out[1]]))
        said = capsys.readouterr()
        assert "Traceback" not in said.err and len(said.err.splitlines()) <= 1
        (said.out + said.err).encode()
    assert set(codes) <= {0, 1, 2} and codes.count(1) > 50


def test_names_are_shown_harmlessly() -> None:
    assert printable("a\nb\x1b[31m\udcff\u202e.jpg") == "a\\nb\\x1b[31m\\udcff\\u202e.jpg"


def test_an_import_keeps_copies_together(tmp_path: Path) -> None:
    images = [p for p in sample(tmp_path / "in", 10) if "train" in p.parts or "test" in p.parts]
    flat = tmp_path / "flat"
    for path in images:
        target = flat / path.parent.name / f"{path.parent.parent.name}{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        with Image.open(path) as image:
            image.rotate(90, expand=True).save(target.with_name(f"turned-{target.name}"), quality=80)
    import_dataset(flat, tmp_path / "out", progress=False)
    frame = load_manifest(tmp_path / "out")
    assert len(frame) == 80 and frame["group"].nunique() == 40
    assert frame.groupby("group")["split"].nunique().max() == 1


def test_of_copies_the_annotated_one_is_kept_else_the_largest() -> None:
    rows = [("small", 40, 900), ("large", 80, 500), ("heavy", 80, 700), ("alone", 10, 1)]
    images = pd.DataFrame(rows, columns=["key", "width", "import_bytes"])
    images = images.assign(file=images["key"], label=1, height=50, import_contrast=9.0, import_copy=[0, 0, 0, 1])
    outline = [Annotation((np.array([[1.0, 1], [5, 1], [5, 5]]),), (1, 1, 4, 4))]
    for annotations, kept in (({}, "heavy"), ({"small": outline}, "small"), ({"alone": outline}, "heavy")):
        left, out = repaired(images, annotations, Drop(copies=True), stay=pd.Series([False] * 4))
        assert left["key"].tolist() == [k for k, _, _ in rows if k in (kept, "alone")]
        assert {(one.kind, one.reason) for one in out} == {("copy", f"a copy of {kept}")}


def test_an_import_repairs(tmp_path: Path, sick: Audit) -> None:
    drop = Drop(copies=True, contradictions=True, broken=True)
    report = import_dataset(sick.folder, tmp_path / "out", drop=drop, progress=False)
    log = pd.read_csv(tmp_path / "out" / "left_out.csv")
    assert log["kind"].value_counts().to_dict() == {"copy": 3, "unreadable": 2, "contradiction": 2, "broken": 1}
    assert len(log) == len(report.left_out) and "left out: 8 images" in report.summary
    assert audit_folder(tmp_path / "out").clean
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    assert not import_dataset(sick.folder, tmp_path / "out", drop=drop, progress=False).changed
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}


def test_an_import_moves_leaks_out_of_test(tmp_path: Path, sick: Audit) -> None:
    report = import_dataset(sick.folder, tmp_path / "out", progress=False)
    again = audit_folder(tmp_path / "out")
    assert not again.leaks and again.lookup is not None and again.lookup.found == 0
    assert "Copying the labels" in str(sick) and "Copying the labels" not in str(again)
    assert any("moved to train or val" in note for note in report.notes)
    assert len(again.contradictions) == 1


def test_the_command_repairs(tmp_path: Path, sick: Audit, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--drop-copies", "--drop-contradictions", "--drop-broken", "--quiet"]
    assert main(["data", "import", str(sick.folder), str(tmp_path / "out"), *flags]) == 0
    assert main(["audit", str(tmp_path / "out"), "--quiet"]) == 0
    assert "Clean" in capsys.readouterr().out


def test_fracatlas_itself(fracatlas: Path) -> None:
    """Two images are there twice, once predicted fractured and once not, the second time cut short."""
    names = ["Fractured/IMG0002617", "Non_fractured/IMG0004028", "Fractured/IMG0002886", "Non_fractured/IMG0004243"]
    strangers = sorted((fracatlas / "images" / "Fractured").glob("*.jpg"))[:30]
    images = [fracatlas / "images" / f"{name}.jpg" for name in names]
    assert copies_in([*images, *strangers]).groups == [[0, 1], [2, 3]]


def test_a_set_without_a_label_is_not_called_clean(tmp_path: Path) -> None:
    for i in range(3):
        save(radiograph(i), tmp_path / "set" / f"{i}.png")
    verdict = audit_folder(tmp_path / "set").verdict
    assert verdict == "No copies and nothing broken, but no label to judge by: 3 images."


def test_labels_of_one_class_teach_nothing(tmp_path: Path) -> None:
    for i in range(3):
        save(radiograph(i), tmp_path / "set" / "train" / "Fractured" / f"{i}.png")
    assert audit_folder(tmp_path / "set").advice() == [
        "All labels say fractured: nothing can be learnt without the other class."
    ]
