"""Which data and which classifier the notebooks get."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fracturelib._io.files import InputError
from fracturelib.data.dataset import load_manifest
from fracturelib.data.labels import CLASSES
from fracturelib.data.predictions import read_predictions
from fracturelib.metrics import roc_auc
from fracturelib.models.shipped import PRETRAINED_SPLITS
from fracturelib.training.config import TrainConfig
from fracturelib.training.folds import folds_by_patient
from fracturelib.tutorial import (
    CHECKPOINTS,
    DEMO,
    Split,
    classifier_line,
    data_line,
    is_demo,
    learnt_from,
    open_classifier,
    open_explorer,
    open_predictions,
    open_split,
    run_folder,
    train_course_model,
)
from tests.own_folders import FOLDERS
from tests.radiographs import plain_folder


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of a few images that is not the demo set, and no runs."""
    manifest = pd.read_csv(DEMO / "manifest.csv").groupby(["split", "label"]).head(1)
    for file in manifest["file"]:
        (tmp_path / "few" / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(DEMO / file, tmp_path / "few" / file)
    manifest.to_csv(tmp_path / "few" / "manifest.csv", index=False)
    monkeypatch.setenv("FRACTURE_DATA", str(tmp_path / "few"))
    monkeypatch.setenv("FRACTURE_RUNS", str(tmp_path / "runs"))
    return tmp_path / "few"


def test_the_demo_set_gets_its_own_classifier(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FRACTURE_DATA", raising=False)
    monkeypatch.setenv("FRACTURE_RUNS", str(tmp_path))
    for real in (False, True):
        assert open_classifier(real=real).architecture["name"] == "small_cnn"
        assert classifier_line(real=real) == "Classifier: the shipped one, trained on the demo set"


def test_other_images_get_the_network_for_real_images_where_it_is_asked_for(few: Path) -> None:
    assert open_classifier().architecture["name"] == "small_cnn"
    assert "run lesson 02" in classifier_line()
    assert open_classifier(real=True).localizes
    said = "Classifier: the shipped one for real images, trained on FracAtlas: its first look alone"
    assert classifier_line(real=True) == said
    assert open_explorer().classifier.localizes


def test_it_says_when_it_learnt_from_the_images_that_are_to_judge_it(few: Path) -> None:
    known = pd.read_csv(PRETRAINED_SPLITS).set_index("name")["split"]
    manifest = pd.read_csv(few / "manifest.csv")
    judged = manifest.index[manifest["split"] != "train"]
    new = f"test/Fractured/{known.index[known == 'val'][0]}"
    (few / manifest.loc[judged[0], "file"]).rename(few / "moved.jpg")
    (few / new).parent.mkdir(parents=True, exist_ok=True)
    (few / "moved.jpg").rename(few / new)
    manifest.loc[judged[0], "file"] = new
    manifest.to_csv(few / "manifest.csv", index=False)
    assert learnt_from(manifest) == 1
    assert "; 1 images of val and test are called like images that it learnt from: no judge of it" in classifier_line(
        real=True
    )


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an own folder will be, and no runs."""
    monkeypatch.setenv("FRACTURE_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("FRACTURE_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("FRACTURE_SHIPPED", raising=False)
    return tmp_path / "own"


@pytest.mark.parametrize("folder", ["twenty", "test_of_one_class"])
def test_without_a_test_of_both_classes_val_is_judged_on_and_the_first_line_says_so(folder: str, own: Path) -> None:
    FOLDERS[folder](own)
    said = data_line()
    assert "val stands in for it" in said and "No patients are known" in said and said.startswith("Data: your folder")
    val, test = open_split("val"), open_split("test")
    assert list(val.frame["file"]) == list(test.frame["file"])
    shipped = open_predictions()
    train_course_model(TrainConfig(size=32, epochs=1))
    assert (run_folder() / "predictions.csv").is_file()
    for found in (shipped, open_predictions()):  # with the shipped network, and with the reader's own
        parts = [found[found["split"] == s] for s in ("val", "test")]
        assert list(parts[0]["file"]) == list(parts[1]["file"]) == list(val.frame["file"])
        assert list(parts[0]["score"]) == list(parts[1]["score"])


def test_the_finished_run_of_the_demo_set_opens_without_training(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FOLDERS["twenty"](own)
    with pytest.raises(InputError, match="the finished run is of the demo set"):
        train_course_model(finished=True)
    monkeypatch.delenv("FRACTURE_DATA")
    run = train_course_model(finished=True)
    assert not run_folder().exists() and list(run.history["epoch"]) == list(range(1, 21))
    val = run.predictions[run.predictions["split"] == "val"]
    auc = roc_auc(val["label"], val["score"])  # the kept epoch is the history's best one
    assert run.history["val_auc"].max() == pytest.approx(auc, abs=0.001)


def test_a_test_of_both_classes_is_kept(own: Path) -> None:
    FOLDERS["small_test"](own)
    assert "stands in" not in data_line()
    assert set(open_split("test").frame["split"]) == {"test"}
    found = open_predictions()
    assert not set(found.loc[found["split"] == "val", "file"]) & set(found.loc[found["split"] == "test", "file"])


def test_the_demo_set_stands_in_for_what_a_lesson_cannot_use(own: Path) -> None:
    FOLDERS["twenty"](own)
    assert data_line(patients=3).startswith("Data: your folder 'own'") and not is_demo()
    said = data_line(patients=4).splitlines()
    assert said[0] == (
        "Your folder 'own' has 3 patients with a fracture in val, where this lesson needs 4: "
        "the demo set stands in for it."
    )
    assert said[1].startswith("Data: the embedded demo set") and is_demo()
    assert data_line(patients=4) == said[1]


def test_the_demo_set_stands_in_for_outlines(own: Path) -> None:
    FOLDERS["outlined"](own)
    assert data_line(outlined=3).startswith("Data: your folder 'own'")
    (own / "annotations.json").unlink()
    assert "has 0 patients with an outlined fracture in train" in data_line(outlined=3)


@pytest.mark.parametrize("splits", [{"train": 3}, {"train": 3, "test": 3}])
def test_a_folder_without_val_says_so(own: Path, splits: dict[str, int]) -> None:
    plain_folder(own, splits=splits)
    assert "has 0 patients without a fracture in val, where this lesson needs 1" in data_line()
    assert is_demo()


def test_some_of_each_takes_as_many_of_both() -> None:
    labels = np.array([0, 1, 0, 0, 1, 0, 0])
    for count, expected in ((1, 1), (2, 2), (5, 2)):
        negative, fractured = Split(pd.DataFrame(), np.zeros((7, 4, 4)), labels, None).some_of_each(count, seed=1)
        assert len(negative) == len(fractured) == expected
        assert (labels[negative] == 0).all() and (labels[fractured] == 1).all()


def test_the_shipped_folds_are_those_of_the_demo_set() -> None:
    """Dealt as the command deals them; nobody's patient is in two, and those of test are in none."""
    frame, table = load_manifest(DEMO), read_predictions(CHECKPOINTS / "demo-small-cnn-folds.csv")
    assert sorted(table["file"]) == sorted(frame["file"])
    learnt = frame[frame["split"] != "test"].reset_index(drop=True)
    fold = table.set_index("file")["fold"]
    assert list(fold.loc[learnt["file"]]) == list(folds_by_patient(learnt, 5, seed=0))
    assert fold.loc[frame.loc[frame["split"] == "test", "file"]].isna().all()
    assert table["decision"].isin(CLASSES).all()
