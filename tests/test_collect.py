"""What is scored, what it is called, and what is known of it: from parts of sets, several folders and single images."""

from pathlib import Path

import pandas as pd
import pytest

from fracturelib._io.files import InputError
from fracturelib.cli import main
from fracturelib.data.dataset import load_annotations, load_manifest
from fracturelib.training.runs import training_frame
from fracturelib.workflows import collect
from tests.radiographs import plain_folder, radiograph, save
from tests.test_layouts_agree import LAYOUTS, Made, tiny_model


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/ with three splits, and model.pt."""
    root = tmp_path_factory.mktemp("work")
    plain_folder(root / "data", splits={"train": 4, "val": 6, "test": 3})
    tiny_model(root / "model.pt")
    return root


def predict(work: Path, out: Path, *paths: Path) -> pd.DataFrame:
    given = [str(p) for p in paths]
    assert main(["predict", *given, "--model", str(work / "model.pt"), "--csv", str(out), "--quiet"]) == 0
    return pd.read_csv(out)


@pytest.mark.parametrize(
    "given", ["the set", "a split", "two classes", "two splits", "images", "an image and a folder"]
)
def test_the_way_from_class_folders_to_a_report(work: Path, tmp_path: Path, given: str) -> None:
    """Scores carry label, group and split, whatever part of the set was given, so that they can be judged."""
    data, val = work / "data", work / "data" / "val"
    paths = {
        "the set": [data],
        "a split": [val],
        "two classes": [val / "fractured", val / "not fractured"],
        "two splits": [val, data / "test"],
        "images": sorted(val.rglob("*.jpg")),
        "an image and a folder": [val / "fractured" / "image000.jpg", val / "not fractured"],
    }[given]
    frame = predict(work, tmp_path / "scores.csv", *paths)
    known = load_manifest(data).set_index("file")
    for row in frame.itertuples():
        assert (row.label, row.split, row.group) == (
            known.at[row.group, "label"],
            known.at[row.group, "split"],
            row.group,
        )
        assert row.group.endswith(row.file) or row.file.endswith(row.group)
    assert frame["group"].is_unique and frame["file"].is_unique
    assert main(["evaluate", str(tmp_path / "scores.csv"), "--threshold", "0.5"]) == 0


@pytest.mark.parametrize("part", ["train", "train/Fractured"])
def test_a_part_of_a_set_has_its_annotations(tmp_path: Path, part: str) -> None:
    folder = LAYOUTS["coco_bare"](Made(tmp_path / "set")).root
    outlines = load_annotations(folder)
    for source in collect([folder / part]):
        whole = source.path.relative_to(folder).as_posix()
        assert len(source.annotations) == len(outlines.get(whole, [])) == source.label and source.split == "train"


def test_a_part_of_a_set_has_its_manifest(tmp_path: Path) -> None:
    folder = LAYOUTS["a_manifest"](Made(tmp_path / "set")).root
    (folder / "img").rename(folder / "images")
    table = pd.read_csv(folder / "manifest.csv")
    table.assign(file=table["file"].str.replace("img/", "images/")).to_csv(folder / "manifest.csv", index=False)
    found = {s.name: (s.label, s.group, s.split) for s in collect([folder / "images"])}
    rows = table[["file", "label", "group", "split"]].itertuples(index=False)
    assert found == {file.removeprefix("img/"): (label, group, split) for file, label, group, split in rows}


def test_a_folder_called_test_does_not_make_the_folder_above_it_be_read(tmp_path: Path) -> None:
    save(radiograph(1), tmp_path / "other" / "a.png")
    save(radiograph(2), tmp_path / "test" / "b.png")
    assert [(s.name, s.label, s.split) for s in collect([tmp_path / "test"])] == [("b.png", None, "test")]


def test_what_is_no_image_is_not_scored_in_silence(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("report.pdf", "in/a.pdf", "in/b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no image")
    with pytest.raises(InputError, match=r"report\.pdf: not an image; expected JPEG"):
        collect([tmp_path / "report.pdf"])
    with pytest.raises(InputError, match="in: has no image"):
        collect([tmp_path / "in"])
    save(radiograph(1), tmp_path / "in" / "c.png")
    capsys.readouterr()
    assert len(collect([tmp_path / "in"])) == 1
    assert capsys.readouterr().out == f"{tmp_path / 'in'}: not taken: 2 files (1 .pdf, 1 .txt)\n"
    with pytest.raises(InputError, match=r"c\.png: given twice; expected each image once"):
        collect([tmp_path / "in" / "c.png", tmp_path / "in"])


def test_guessed_patients_in_two_splits_are_said_and_trained_on(tmp_path: Path) -> None:
    for i in range(24):
        split, kind = ("train" if i < 13 else "val"), ("Fractured" if i % 2 else "Normal")
        save(radiograph(i), tmp_path / split / kind / f"P{i // 3:04d}_{i % 3}.png")
    notes = training_frame(tmp_path).attrs["notes"]
    assert "1 patient is in more than one split, such as p0004, if the guess is right" in notes[-1]
