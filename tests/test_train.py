"""The loop, and what must survive a kill."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from fracturelib._io.files import InputError
from fracturelib.metrics.operating_point import threshold_for_sensitivity
from fracturelib.models.classifier import load_classifier, normalised
from fracturelib.models.registry import build_model
from fracturelib.training.augment import augmented
from fracturelib.training.config import TrainConfig, best_epoch
from fracturelib.training.train import Images, fit, grey_statistics, training_batches
from tests.moves import fills, measured, three_discs
from tests.radiographs import radiograph

SMALL = TrainConfig(size=64, epochs=6, batch=16, learning_rate=3e-3, patience=6, augment=False, precision="float32")


def radiographs(n: int, seed: int) -> Images:
    labels = np.arange(n) % 2
    images = np.stack(
        [radiograph(seed + i, fractured=bool(label), width=64, height=64) for i, label in enumerate(labels)]
    )
    return Images(images, labels.astype(np.int64))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_classifier(path).model.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_it_learns_to_see_a_gap() -> None:
    train, val, test = radiographs(128, 0), radiographs(64, 1000), radiographs(64, 2000)
    classifier, history = fit(train, val, replace(SMALL, epochs=12, patience=12), progress=False)
    assert list(history.columns) == ["epoch", "learning_rate", "train_loss", "val_loss", "val_auc"]
    assert history["train_loss"].iloc[-1] < history["train_loss"].iloc[0]
    assert roc_auc_score(test.labels, classifier.scores(test.images)) > 0.9
    kept = roc_auc_score(val.labels, classifier.scores(val.images))
    assert kept == pytest.approx(history["val_auc"].max(), abs=1e-12)


def test_the_threshold_keeps_its_promise_on_validation() -> None:
    classifier, _ = fit(radiographs(64, 0), radiographs(64, 1000), replace(SMALL, epochs=2), progress=False)
    val = radiographs(64, 1000)
    scores = classifier.scores(val.images)
    for rule, wanted in (("sensitivity=0.90", 0.90), ("sensitivity=0.95", 0.95)):
        assert (scores[val.labels == 1] >= classifier.thresholds[rule]).mean() >= wanted
        assert classifier.thresholds[rule] == threshold_for_sensitivity(val.labels, scores, wanted)
    assert abs(np.log(classifier.temperature)) > 0.01  # else scores with and without it would be the same


def test_a_seed_decides_everything() -> None:
    results = [
        fit(radiographs(48, 0), radiographs(32, 1000), replace(SMALL, epochs=2, seed=s), progress=False)
        for s in (5, 5, 6)
    ]
    states = [classifier.model.state_dict() for classifier, _ in results]
    assert same(states[0], states[1]) and not same(states[0], states[2])
    assert results[0][1].equals(results[1][1])


def test_in_bfloat16_the_layers_compute_and_the_weights_stay_as_they_are(tmp_path: Path) -> None:
    """A training in bfloat16 ends near one in float32, is no other one by name, and is not gone on with in another."""
    train, val = radiographs(48, 0), radiographs(32, 1000)
    fitted = {
        name: fit(train, val, replace(SMALL, epochs=2, precision=name), out=tmp_path / name, progress=False)[0]
        for name in ("float32", "bfloat16")
    }
    states = {name: classifier.model.state_dict() for name, classifier in fitted.items()}
    assert {value.dtype for value in states["bfloat16"].values()} <= {torch.float32, torch.int64}
    weights = {name: states[name]["stage1.0.0.weight"] for name in states}
    moved = (weights["float32"] - build_model("small_cnn", seed=0).stage1[0][0].weight.detach()).abs().mean()
    apart = (weights["float32"] - weights["bfloat16"]).abs().mean()
    assert 0 < float(apart) < float(moved)
    with pytest.raises(InputError, match="precision"):
        fit(train, val, replace(SMALL, epochs=2, precision="float32"), out=tmp_path / "bfloat16", progress=False)
    with pytest.raises(InputError, match="precision is 'int8'; expected auto, float32 or bfloat16"):
        fit(train, val, replace(SMALL, precision="int8"), progress=False)


def test_early_stopping_keeps_the_best_epoch() -> None:
    config = replace(SMALL, epochs=40, patience=2, learning_rate=0.01)
    val = radiographs(32, 1000)
    classifier, history = fit(radiographs(32, 0), val, config, progress=False)
    best = int(history["val_auc"].idxmax())
    assert len(history) == best + 1 + 2 < 40
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(classifier.logits(val.images)), torch.tensor(val.labels))
    assert float(loss) == pytest.approx(history["val_loss"][best], abs=1e-9)
    assert float(loss) != pytest.approx(history["val_loss"].iloc[-1], abs=1e-3)


def test_of_equal_epochs_the_one_with_the_lowest_loss_is_kept() -> None:
    assert best_epoch([0.8, 0.9, 0.9, 0.9, 0.7], [0.1, 0.5, 0.3, 0.4, 0.2]) == 2
    assert best_epoch([0.9, 0.9], [0.3, 0.3]) == 0


def test_weights_are_learnt_from_train_alone() -> None:
    train, val = radiographs(32, 0), radiographs(32, 1000)
    other = Images(255 - val.images, 1 - val.labels)
    states = [
        fit(a, b, replace(SMALL, epochs=1), progress=False)[0].model.state_dict()
        for a, b in ((train, val), (train, other), (Images(train.images, 1 - train.labels), val))
    ]
    assert same(states[0], states[1]) and not same(states[0], states[2])


def test_an_epoch_shows_each_image_once() -> None:
    data = radiographs(50, 0)
    data = Images(data.images, np.arange(50))
    for epoch in (0, 1):
        seen = np.concatenate([labels.numpy() for _, labels in training_batches(data, SMALL, epoch)])
        assert sorted(seen) == list(range(50))
    first = np.concatenate([labels.numpy() for _, labels in training_batches(data, SMALL, 0)])
    assert not np.array_equal(first, seen)


def test_augmented_images_stay_images() -> None:
    images = torch.from_numpy(radiographs(8, 0).images)
    one, two = (augmented(images, torch.Generator().manual_seed(s)) for s in (1, 2))
    assert one.shape == images.shape and one.dtype == torch.uint8
    assert not torch.equal(one, two)
    assert torch.equal(one, augmented(images, torch.Generator().manual_seed(1)))


def test_augmented_images_are_moved_as_is_said() -> None:
    """Each of 300 is turned, zoomed, shifted, mirrored and exposed by as much as the docstring says, and no more."""
    image, before = three_discs()
    made = augmented(torch.from_numpy(np.stack([image] * 300)), torch.Generator().manual_seed(0)).numpy()
    moves = [measured(one, before) for one in made]
    assert 0.4 < np.mean([move.mirrored for move in moves]) < 0.6
    for name, low, high in (
        ("angle", -8, 8), ("zoom", 15 / 16, 17 / 16), ("right", -1 / 16, 1 / 16), ("down", -1 / 16, 1 / 16),
        ("contrast", 0.8, 1.2), ("brightness", -20, 20),
    ):  # fmt: skip
        assert fills([getattr(move, name) for move in moves], low, high), name


def test_what_is_moved_into_the_image_is_black_before_it_is_exposed() -> None:
    images = torch.full((50, 32, 32), 200, dtype=torch.uint8)
    made = augmented(images, torch.Generator().manual_seed(1))
    corners = made[:, [0, 0, -1, -1], [0, -1, 0, -1]].float()
    assert corners.min() < 60 and (made[:, 16, 16] > 150).all()


def test_augmenting_is_what_the_recipe_says() -> None:
    data = radiographs(16, 0)
    (plain, _), (moved, _) = (
        next(iter(training_batches(data, replace(SMALL, augment=augment), 0))) for augment in (False, True)
    )
    assert plain.shape == moved.shape and not torch.equal(plain, moved)


def test_an_image_keeps_its_label_in_a_batch() -> None:
    data = radiographs(50, 0)
    label = {image.tobytes(): int(y) for image, y in zip(data.images, data.labels, strict=True)}
    for images, labels in training_batches(data, SMALL, 3):
        assert [label[image.numpy().tobytes()] for image in images] == labels.tolist()


def test_grey_statistics_are_those_of_the_pixels() -> None:
    images = radiographs(8, 0).images
    mean, std = grey_statistics(images)
    assert mean == pytest.approx((images / 255).mean()) and std == pytest.approx((images / 255).std())


def test_the_normalisation_is_that_of_the_training_set() -> None:
    images = radiographs(8, 0).images
    mean, std = grey_statistics(images)
    x = normalised(torch.from_numpy(images), mean, std)
    assert x.shape == (8, 1, 64, 64) and x.dtype == torch.float32
    assert float(x.mean()) == pytest.approx(0, abs=1e-5) and float(x.std()) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(x[:, 0].numpy(), (images / 255 - mean) / std, atol=1e-5)
    assert float(normalised(torch.full((1, 2, 2), 255, dtype=torch.uint8), 0.5, 0.25).max()) == 2


def test_one_class_is_refused() -> None:
    only = radiographs(8, 0)
    only = Images(only.images, np.zeros(8, np.int64))
    with pytest.raises(InputError, match=r"val: .* expected both classes"):
        fit(radiographs(8, 0), only, SMALL, progress=False)


def test_a_run_of_another_recipe_is_refused(tmp_path: Path) -> None:
    fit(radiographs(16, 0), radiographs(16, 1000), replace(SMALL, epochs=1), out=tmp_path, progress=False)
    with pytest.raises(InputError, match="was begun with learning_rate"):
        fit(
            radiographs(16, 0),
            radiographs(16, 1000),
            replace(SMALL, epochs=1, learning_rate=1.0),
            out=tmp_path,
            progress=False,
        )
    with pytest.raises(InputError, match="was begun with other data"):
        fit(
            radiographs(16, 0),
            radiographs(16, 1000),
            replace(SMALL, epochs=1),
            out=tmp_path,
            fingerprint="x",
            progress=False,
        )


def test_a_run_of_another_start_is_refused(tmp_path: Path) -> None:
    data, val = radiographs(16, 0), radiographs(16, 1000)
    one, two = (fit(data, val, replace(SMALL, epochs=1, seed=s), progress=False)[0].model.state_dict() for s in (1, 2))
    options = {"out": tmp_path, "progress": False}
    first, _ = fit(data, val, replace(SMALL, epochs=1), initial=one, **options)  # type: ignore[arg-type]
    again, _ = fit(data, val, replace(SMALL, epochs=1), initial=one, **options)  # type: ignore[arg-type]
    assert same(first.model.state_dict(), again.model.state_dict())
    with pytest.raises(InputError, match=r"was begun with start = weights .*, now weights "):
        fit(data, val, replace(SMALL, epochs=1), initial=two, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"was begun with start = weights .*, now None"):
        fit(data, val, replace(SMALL, epochs=1), **options)  # type: ignore[arg-type]
