"""The network that is taught where: its two heads, its loss, and that features are computed once."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fracturelib import transfer
from fracturelib._files import InputError
from fracturelib.checkpoint import normalised
from fracturelib.gradcam import GradCAM
from fracturelib.models import stages
from fracturelib.recipe import TransferRecipe
from fracturelib.taught import STRONGEST, TaughtLite0, focal_loss, grid_of
from fracturelib.train import Films
from fracturelib.transfer import fit_heads, frozen_features, judged, peak_hits


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


def test_the_logit_is_the_class_head_and_the_strongest_places() -> None:
    model, x = made(), torch.randn(3, 1, 64, 96)
    with torch.inference_mode():
        logits, marks = model(x), model.mark(x)
        _, whole = model.features(x)
        plain = model.head(whole)
    assert logits.shape == (3, 2) and marks.shape == (3, 4, 6)
    strongest = marks.flatten(1).sort(dim=1, descending=True).values[:, :STRONGEST].mean(dim=1)
    assert torch.allclose(logits[:, 0], plain[:, 0])
    assert torch.allclose(logits[:, 1], plain[:, 1] + model.trust * strongest, atol=1e-5)


def test_its_layers_can_be_explained() -> None:
    model, x = made(), torch.randn(1, 1, 64, 64)
    with GradCAM(model, stages(model)) as cam:
        maps = cam(x, relu=False)
    assert {k: v.shape for k, v in maps.items()} == {
        "stage1": (1, 16, 16), "stage2": (1, 8, 8), "stage3": (1, 4, 4), "stage4": (1, 2, 2),
    }  # fmt: skip
    assert all(np.abs(v).max() > 0 for v in maps.values())


def test_only_the_heads_are_learnt() -> None:
    model = made()
    names = {name for name, p in model.named_parameters() if any(p is q for q in model.heads())}
    assert names == {name for name, _ in model.named_parameters() if not name.startswith("stage")}


def test_the_grid_keeps_the_smallest_fracture() -> None:
    masks = torch.zeros(2, 64, 64)
    masks[0, 17, 40] = 1
    grid = grid_of(masks, (4, 4))
    assert grid.sum() == 1 and grid[0, 1, 2] == 1


def test_focal_loss_by_definition() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 4, generator=generator)
    truth = (torch.rand(2, 4, 4, generator=generator) < 0.3).float()
    p = torch.sigmoid(logits)
    expected = torch.where(truth == 1, -0.75 * (1 - p) ** 2 * p.log(), -0.25 * p**2 * (1 - p).log()).sum() / truth.sum()
    assert focal_loss(logits, truth) == pytest.approx(float(expected), rel=1e-4)
    weighted = F.binary_cross_entropy_with_logits(logits, truth, reduction="sum") / 2 / truth.sum()
    assert focal_loss(logits, truth, gamma=0, positive=0.5) == pytest.approx(float(weighted), rel=1e-5)
    assert torch.isfinite(focal_loss(logits, torch.zeros_like(logits)))


def test_features_are_computed_once_and_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (films, _) = made(), squares()
    first = frozen_features(model, films.images)
    x = normalised(torch.from_numpy(films.images), 0.5, 0.5)
    with torch.inference_mode():
        for i, films_now in enumerate((x, x.flip(3))):
            fine, whole = model.features(films_now)
            assert np.allclose(first.whole[i], whole.numpy(), atol=1e-3)
            assert np.allclose(first.fine[i], fine.numpy(), atol=1e-2, rtol=1e-2)
    calls: list[int] = []
    monkeypatch.setattr(transfer, "_compute", lambda *a: calls.append(1))
    again = frozen_features(model, films.images)
    assert not calls and np.array_equal(again.whole, first.whole)
    with pytest.raises(FileNotFoundError):
        frozen_features(made(seed=1), films.images)
    assert calls


def test_judging_features_is_judging_films() -> None:
    model, (films, _) = made(), squares()
    logits, marks = judged(model, frozen_features(model, films.images), batch=5)
    with torch.inference_mode():
        x = normalised(torch.from_numpy(films.images), 0.5, 0.5)
        assert torch.allclose(logits, model(x), atol=2e-2) and torch.allclose(marks, model.mark(x), atol=2e-2)


def test_peak_hits() -> None:
    marks, truth = torch.zeros(2, 3, 3), torch.zeros(2, 3, 3)
    marks[0, 1, 2] = marks[1, 0, 0] = 1.0
    truth[0, 1, 2] = truth[1, 2, 2] = 1.0
    assert peak_hits(marks, truth) == 0.5


def test_the_heads_learn_whether_and_where_and_repeat() -> None:
    films, masks = squares(24)
    recipe = TransferRecipe(size=64, epochs=12, batch=8, learning_rate=5e-3)
    runs = [fit_heads(films, films, masks, masks, recipe, model=made(), progress=False) for _ in range(2)]
    (model, history), (_, again) = runs
    assert history["val_auc"].iloc[-1] > 0.9 and history["val_peak"].iloc[-1] >= 0.5
    assert history["train_loss"].iloc[-1] < 0.5 * history["train_loss"].iloc[0]
    assert np.allclose(history, again) and not model.training


def test_a_size_that_does_not_fit() -> None:
    films, masks = squares(4)
    with pytest.raises(InputError, match="size is 100; expected a multiple of 32"):
        fit_heads(films, films, masks, masks, TransferRecipe(size=100), model=made(), progress=False)
