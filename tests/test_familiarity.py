"""Strange images are named, ordinary ones are left alone, and negatives are turned back."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.covariance import EmpiricalCovariance

from fracturelib import workflows
from fracturelib._io.files import InputError
from fracturelib.data.images import in_colour, load_images, to_square
from fracturelib.models import familiarity
from fracturelib.models.classifier import Classifier, load_classifier, save_classifier
from fracturelib.models.doubts import COLOUR, NEGATIVE, UNLIKE
from fracturelib.models.familiarity import collected_features, fit_familiarity, fit_familiarity_by_folds
from fracturelib.models.shipped import PRETRAINED
from fracturelib.training.train import with_familiarity
from fracturelib.tutorial import DEMO, SHIPPED_MODEL
from fracturelib.workflows import explain_paths, predict_paths
from tests.radiographs import radiograph, save
from tests.test_commands import fracture


@pytest.fixture(scope="module")
def shipped() -> Classifier:
    return load_classifier(SHIPPED_MODEL)


@pytest.fixture(scope="module")
def model(shipped: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network, to which bright shafts on a dark ground are ordinary."""
    squares = np.stack([to_square(radiograph(i, fractured=bool(i % 2)), shipped.size) for i in range(240)])
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_classifier(with_familiarity(shipped, squares[:200], squares[200:]), path)
    return path


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve ordinary images, two of their negatives, noise, and a picture in colour."""
    folder = tmp_path_factory.mktemp("few")
    for i in range(12):
        save(radiograph(1000 + i), folder / f"plain{i}.png")
    for i in (0, 1):
        save(255 - radiograph(1000 + i), folder / f"negative{i}.png")
    rng = np.random.default_rng(0)
    save(rng.integers(0, 256, (256, 256), dtype=np.uint8), folder / "noise.png")
    save(cv2.resize(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), (256, 256)), folder / "colour.png")
    return folder


def test_the_distance_is_mahalanobis(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(6, 6))
    train, other = rng.normal(size=(4000, 6)) @ mixed, rng.normal(size=(2000, 6)) @ mixed
    monkeypatch.setattr(familiarity, "AXES", 5)  # with one direction left, nothing is simplified
    found = fit_familiarity(train, other)
    expected = np.sqrt(EmpiricalCovariance().fit(train).mahalanobis(other) / 6)
    assert np.allclose(found.distance(other), expected, rtol=2e-2)
    assert (found.strangeness(other) > 1).mean() == pytest.approx(familiarity.DOUBTED, abs=0.001)


def test_far_in_any_direction_is_unlike(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    mixed = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    ordinary = rng.normal(size=(500, 40)) * ([5.0] * 4 + [0.5] * 36) @ mixed
    monkeypatch.setattr(familiarity, "AXES", 4)
    found = fit_familiarity(ordinary[:400], ordinary[400:])
    for direction, far in ((0, 100.0), (39, 10.0)):  # along what varies, and along what hardly does
        assert found.strangeness(far * mixed[direction : direction + 1])[0] > 1
        assert found.strangeness(far / 20 * mixed[direction : direction + 1])[0] < 1


def test_collecting_features_changes_nothing(shipped: Classifier) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 224, 224), dtype=np.uint8)
    plain = shipped.logits(images)
    with collected_features(shipped.model) as features:
        assert np.array_equal(shipped.logits(images), plain)
        found = features()
    with torch.inference_mode():
        x = shipped.model.stage2(shipped.model.stage1(shipped.model.contrast(shipped.tensor(images))))
        expected = torch.cat([x.mean((2, 3)), shipped.model.stage3(x).mean((2, 3))], 1)
    assert np.allclose(found, expected.numpy(), atol=1e-5)
    assert not any(m._forward_hooks for m in shipped.model.modules())


def test_the_shipped_networks_know_what_is_ordinary(shipped: Classifier) -> None:
    files = [p.relative_to(DEMO).as_posix() for p in sorted((DEMO / "test").rglob("*.jpg"))[::3]]
    squares = load_images(DEMO, files, size=shipped.size)
    assert (shipped.judge(squares).strangeness > 1).mean() <= 0.04
    real = load_classifier(PRETRAINED)
    assert real.familiarity is not None
    noise = np.random.default_rng(0).integers(0, 256, (2, real.size, real.size), dtype=np.uint8)
    assert (real.judge(noise).strangeness > 1).all()


def test_predict_says_what_is_strange(few: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = predict_paths([few], model, progress=False).set_index("file")
    assert "(column doubt): a score means little there" in capsys.readouterr().out
    assert table.loc["colour.png", "doubt"] == COLOUR and table.loc["noise.png", "doubt"] == UNLIKE
    plain = [name for name in table.index if name.startswith("plain")]
    assert (table.loc[plain, "doubt"] == "").mean() >= 0.9
    for i in (0, 1):
        assert table.loc[f"negative{i}.png", "doubt"] == NEGATIVE
        assert table.loc[f"negative{i}.png", "score"] == pytest.approx(table.loc[f"plain{i}.png", "score"], abs=1e-6)
    assert table["score"].notna().all()
    strict = predict_paths([few], model, strict=True, progress=False).set_index("file")
    assert "(column doubt): no score is given there" in capsys.readouterr().out
    refused = table["doubt"].isin([UNLIKE, COLOUR])
    assert strict.loc[refused, "score"].isna().all()
    assert strict.loc[refused, "reason"].str.endswith("no score is given, by --strict").all()
    assert strict.loc[~refused, "score"].equals(table.loc[~refused, "score"])


def test_what_is_strange_both_ways_is_not_turned(few: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A negative that is hardly less strange than the image proves nothing."""
    monkeypatch.setattr("fracturelib.models.doubts.CERTAIN", 1e9)
    table = predict_paths([few / "negative0.png"], model, progress=False)
    assert list(table["doubt"]) == [UNLIKE]


def test_the_commands_say_it_in_a_line(few: Path, model: Path, tmp_path: Path) -> None:
    done = fracture("predict", few, "--model", model, "--csv", tmp_path / "scores.csv", "--quiet")
    assert done.returncode == 0, done.stderr
    assert "2 images look inverted: scored as negatives" in done.stdout
    assert "look unlike those that the network learnt from (column doubt)" in done.stdout
    again = fracture("predict", few, "--model", model, "--csv", tmp_path / "scores.csv", "--strict", "--quiet")
    assert again.returncode == 0, again.stderr
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table["score"].isna().sum() >= 2
    names = [few / name for name in ("noise.png", "negative0.png")]
    frame = explain_paths(names, model, tmp_path / "maps", progress=False)
    assert list(frame["doubt"]) == [UNLIKE, NEGATIVE]
    assert "its score means little" in (tmp_path / "maps" / "index.html").read_text()


def test_colours(few: Path, tmp_path: Path) -> None:
    assert in_colour(few / "colour.png") and not in_colour(few / "noise.png")
    grey = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(np.stack([grey] * 3, axis=2)).save(tmp_path / "grey.jpg", quality=60)
    assert not in_colour(tmp_path / "grey.jpg")
    (tmp_path / "text.png").write_text("no picture")
    assert not in_colour(tmp_path / "text.png")


def test_a_checkpoint_keeps_it(shipped: Classifier, tmp_path: Path) -> None:
    save_classifier(shipped, tmp_path / "model.pt")
    again = load_classifier(tmp_path / "model.pt").familiarity
    assert again is not None and shipped.familiarity is not None
    for name, value in shipped.familiarity.tensors().items():
        assert torch.equal(value, again.tensors()[name]), name
    save_classifier(replace(shipped, familiarity=None), tmp_path / "none.pt")
    without = load_classifier(tmp_path / "none.pt")
    images = np.zeros((2, 224, 224), np.uint8)
    assert without.familiarity is None and not without.judge(images).strangeness.any()
    with pytest.raises(InputError, match="being an older checkpoint; expected no --strict"):
        predict_paths([tmp_path], tmp_path / "none.pt", strict=True)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"scale": torch.zeros(96)}, "deviations or a limit of 0 or less"),
        ({"limit": torch.tensor(float("nan"))}, "values that are no numbers"),
        ({"centre": torch.zeros(3)}, "shapes that do not fit together"),
        ({"more": torch.zeros(1)}, "holds"),
        ({"axes": torch.tensor(1.0)}, "axes that are no table"),
        ({"axes": torch.zeros(97, 96), "spread": torch.ones(97)}, "shapes that do not fit together"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    shipped: Classifier, tmp_path: Path, changed: dict[str, torch.Tensor], said: str
) -> None:
    path = tmp_path / "model.pt"
    save_classifier(shipped, path)
    payload = torch.load(path, weights_only=True)
    payload["familiarity"] |= changed
    torch.save(payload, path)
    with pytest.raises(InputError, match=said):
        load_classifier(path)


def test_that_of_another_network_is_refused(shipped: Classifier, tmp_path: Path) -> None:
    other = fit_familiarity(np.random.default_rng(0).normal(size=(40, 5)), np.zeros((9, 5)))
    save_classifier(replace(shipped, familiarity=other), tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"model\.pt: .* familiarity is of 5 features; expected 96"):
        load_classifier(tmp_path / "model.pt")


def test_images_that_are_all_the_same_can_be_kept(shipped: Classifier, tmp_path: Path) -> None:
    same = np.full((20, 224, 224), 90, np.uint8)
    save_classifier(with_familiarity(shipped, same, same), tmp_path / "model.pt")
    again = load_classifier(tmp_path / "model.pt")
    assert not (again.judge(same).strangeness > 1).any()


def test_a_file_that_goes_meanwhile_is_turned_back_all_the_same(
    few: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "negative.png").write_bytes((few / "negative0.png").read_bytes())
    real = workflows.to_square

    def gone(grey: np.ndarray, size: int) -> np.ndarray:
        (tmp_path / "negative.png").unlink(missing_ok=True)
        return real(grey, size)

    monkeypatch.setattr(workflows, "to_square", gone)
    assert list(predict_paths([tmp_path], model, progress=False)["doubt"]) == [NEGATIVE]


def test_inverted_fracatlas(fracatlas: Path, tmp_path: Path) -> None:
    files = sorted((fracatlas / "images" / "Fractured").glob("*.jpg"))[:10]
    for file in files:
        grey = np.asarray(Image.open(file).convert("L"))
        Image.fromarray(255 - grey).save(tmp_path / f"{file.stem}.png")
    table = predict_paths([tmp_path], PRETRAINED, progress=False)
    assert (table["doubt"] == NEGATIVE).mean() >= 0.8


def test_one_odd_fold_does_not_set_the_limit() -> None:
    """Where all images were learnt from, each fold is held against the others, and none alone says what is too far."""
    rng = np.random.default_rng(0)
    features, fold = rng.normal(size=(1000, 6)), np.arange(1000) % 5 + 1
    features[np.flatnonzero(fold == 1)[:4]] += 30
    found = fit_familiarity_by_folds(features, fold)
    plain = fit_familiarity(features[fold != 1], features[fold == 1])
    assert found.limit < 0.5 * plain.limit
    assert (found.strangeness(rng.normal(size=(500, 6))) > 1).mean() <= 0.03
    assert (found.strangeness(rng.normal(size=(50, 6)) + 30) > 1).all()
