"""The maps against the field's libraries, captum and grad-cam, on the field's networks; and each method's formula."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import (
    VisionTransformer,
    convnext_tiny,
    densenet121,
    mobilenet_v3_small,
    resnet18,
    swin_t,
    swin_v2_t,
)

from fracturelib._io.files import InputError
from fracturelib.explain.cam_methods import METHODS
from fracturelib.explain.gradcam import GradCAM, combined, layout
from fracturelib.models.small_cnn import SmallCNN

NETWORKS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "resnet18": (lambda: resnet18(num_classes=2), ["layer4", "layer4.1.bn2", "layer4.1.relu"]),
    "densenet121": (lambda: densenet121(num_classes=2), ["features"]),
    "mobilenet_v3_small": (lambda: mobilenet_v3_small(num_classes=2), ["features"]),
    "small_cnn": (lambda: SmallCNN(width=8), ["stage2", "stage4"]),
}
CASES = [(name, layer) for name, (_, layers) in NETWORKS.items() for layer in layers]
# What follows writes over these in place, and grad-cam keeps no copy: it explains them right only if a copy follows.
OVERWRITTEN = {("resnet18", "layer4.1.bn2"), ("densenet121", "features")}
# Called twice: grad-cam explains the first call, captum and we the last, whose output is that of the block.
SAME_TENSOR = {("resnet18", "layer4.1.relu"): "layer4.1"}
LOGIT = {"mobilenet_v3_small": 0}  # the one for which these random weights give some evidence


class Copy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


def made(name: str) -> nn.Module:
    return deepcopy(network(name))


@cache
def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETWORKS[name][0]().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.7, 1.5)
    # Random weights give mobilenet's map so little relief that rounding shows in it: it is compared in double.
    return model.double() if name == "mobilenet_v3_small" else model


def images(name: str, batch: int, height: int, width: int) -> Tensor:
    channels = 1 if name == "small_cnn" else 3
    x = torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(batch + width))
    return x.double() if name == "mobilenet_v3_small" else x


SHAPES = [(1, 64, 64), (3, 64, 64), (1, 64, 96), (3, 96, 64)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "layer"), CASES)
def test_grad_cam_is_that_of_captum(name: str, layer: str, shape: tuple[int, int, int]) -> None:
    attr = pytest.importorskip("captum.attr", reason="captum is not installed: pip install -e '.[test]'")
    model, x = made(name), images(name, *shape)
    expected = attr.LayerGradCam(model, model.get_submodule(layer)).attribute(
        x.clone(), target=LOGIT.get(name, 1), relu_attributions=True
    )
    with GradCAM(model, model.get_submodule(layer)) as cam:
        found = cam(x, LOGIT.get(name, 1))
    expected = expected[:, 0].detach().numpy()
    assert found.shape == expected.shape and expected.max() > 0
    assert np.abs(found - expected).max() <= 1e-6 * max(1.0, float(expected.max()))


def twice_normalised(raw: np.ndarray, height: int, width: int) -> np.ndarray:
    """As grad-cam shows its maps: from least to most, enlarged, and so again."""
    shown = []
    for heat in raw:
        for size in (True, False):
            heat = heat - heat.min()
            heat = heat / (1e-7 + heat.max())
            heat = np.maximum(cv2.resize(heat, (width, height)) if size else heat, 0)
        shown.append(heat)
    return np.stack(shown)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "layer"), CASES)
def test_grad_cam_is_that_of_grad_cam(name: str, layer: str, shape: tuple[int, int, int]) -> None:
    package = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed: pip install -e '.[test]'")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, x = made(name), images(name, *shape)
    with GradCAM(model, model.get_submodule(layer)) as cam:
        found = twice_normalised(cam(x, LOGIT.get(name, 1)), *shape[1:])
    watched = model.get_submodule(SAME_TENSOR.get((name, layer), layer))
    if (name, layer) in OVERWRITTEN:
        parent, _, last = layer.rpartition(".")
        setattr(model.get_submodule(parent), last, nn.Sequential(watched, Copy()))
    with package.GradCAM(model=model, target_layers=[watched]) as peer:
        expected = peer(input_tensor=x.clone(), targets=[ClassifierOutputTarget(LOGIT.get(name, 1))] * shape[0])
    assert found.shape == expected.shape and expected.max() > 0.9
    assert np.abs(found - expected).max() <= 1e-5


@pytest.mark.parametrize("method", [m for m in METHODS if m != "Eigen-CAM"])
def test_other_methods_are_those_of_grad_cam(method: str) -> None:
    package = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed: pip install -e '.[test]'")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    peers = {
        "Grad-CAM": package.GradCAM,
        "Grad-CAM++": package.GradCAMPlusPlus,
        "LayerCAM": package.LayerCAM,
        "HiResCAM": package.HiResCAM,
    }
    model, x = made("resnet18"), images("resnet18", 3, 64, 96)
    with GradCAM(model, model.layer3) as cam:
        raw = cam(x, method=method)
    with peers[method](model=model, target_layers=[model.layer3]) as peer:
        expected = peer(input_tensor=x.clone(), targets=[ClassifierOutputTarget(1)] * 3)
    assert np.abs(twice_normalised(raw, 64, 96) - expected).max() <= 1e-4


def test_eigen_cam_is_the_first_principal_component() -> None:
    from sklearn.decomposition import PCA

    generator = torch.Generator().manual_seed(0)
    activation = torch.randn(2, 6, 5, 7, generator=generator) * torch.arange(1, 7)[None, :, None, None]
    found = combined(activation, activation, method="Eigen-CAM", relu=False)
    for heat, image in zip(found, activation.numpy(), strict=True):
        places = image.reshape(6, -1).T
        expected = PCA(1).fit_transform(places)[:, 0].reshape(5, 7)
        assert min(np.abs(heat - expected).max(), np.abs(heat + expected).max()) < 1e-4
        assert (heat.ravel() * (places.mean(axis=1) - places.mean())).sum() >= 0


@pytest.mark.parametrize("method", METHODS)
def test_every_method_from_one_pass(method: str) -> None:
    model, x = made("small_cnn"), images("small_cnn", 2, 64, 48)
    passes: list[int] = []
    model.head.register_forward_hook(lambda *_: passes.append(1))
    with GradCAM(model, {"a": model.stage3, "b": model.stage4}) as cam:
        evidence = cam.evidence(x)
        assert len(passes) == 1
        together = cam(x, method=method)
    for name, parts in evidence.items():
        found = combined(*parts, method=method)
        assert np.array_equal(found, together[name]) and found.min() >= 0 and found.dtype == np.float32


def test_hires_cam_adds_up_to_the_logit() -> None:
    model, x = made("small_cnn"), images("small_cnn", 2, 64, 64)
    with torch.no_grad():
        expected = (model(x)[:, 1] - model.head.bias[1]).numpy()
    with GradCAM(model, model.stage4) as cam:
        found = cam(x, relu=False, method="HiResCAM").sum(axis=(1, 2))
    assert np.allclose(found, expected, atol=1e-5)


def test_an_unknown_method() -> None:
    with pytest.raises(InputError, match="method is 'CAM\\+\\+\\+'; expected one of Grad-CAM, "):
        combined(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), method="CAM+++")


# Layers whose channels come last, or that give tokens


SWIN = {  # layer -> its places at 64 x 96 pixels
    "features.0": (16, 24), "features.1": (16, 24), "features.2": (8, 12), "features.2.norm": (8, 12),
    "features.3.0": (8, 12), "features.5.1.mlp": (4, 6), "features.7": (2, 3), "norm": (2, 3), "permute": (2, 3),
}  # fmt: skip


@cache
def random_swin(make: Callable[..., nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    model = make(weights=None, num_classes=2).eval()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.weight.data.normal_(1, 0.3)
            module.bias.data.normal_(0, 0.3)
    return model


@pytest.mark.parametrize("layer", [name for name in SWIN if name != "features.2.norm"])
def test_channels_last_are_seen_as_grad_cam_is_told(layer: str) -> None:
    package = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed: pip install -e '.[test]'")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, x = random_swin(swin_t), images("swin_t", 2, 64, 96)
    with GradCAM(model, model.get_submodule(layer)) as cam:
        raw = cam(x)
        unclipped = cam(x, relu=False)
    told = None if layer == "permute" else (lambda output: output.permute(0, 3, 1, 2))
    watched = {"target_layers": [model.get_submodule(layer)], "reshape_transform": told}
    with package.GradCAM(model=model, **watched) as peer:
        expected = peer(input_tensor=x.clone(), targets=[ClassifierOutputTarget(1)] * 2)
    assert raw.shape == (2, *SWIN[layer]) and np.abs(unclipped).max() > 0
    assert np.abs(twice_normalised(raw, 64, 96) - expected).max() <= 1e-4


def test_channels_last_are_seen_as_captum_sees_them_first() -> None:
    attr = pytest.importorskip("captum.attr", reason="captum is not installed: pip install -e '.[test]'")
    model, x = random_swin(swin_v2_t), images("swin_v2_t", 2, 64, 96)
    first = attr.LayerGradCam(model, model.permute).attribute(x.clone(), target=1)[:, 0].detach().numpy()
    with GradCAM(model, {"norm": model.norm, "permute": model.permute}) as cam:
        found = cam(x, relu=False)
    for name in ("norm", "permute"):
        assert np.abs(found[name] - first).max() <= 1e-6 * max(1.0, float(np.abs(first).max())), name


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (224, 224)], ids=str)
def test_channels_first_stay_first(size: tuple[int, int]) -> None:
    """Also where the last part of a block is a linear layer, or normalises channels that come last within it."""
    torch.manual_seed(0)
    model, x = convnext_tiny(num_classes=2).eval(), images("convnext", 1, *size)
    layers = {"block": model.features[1][0], "stage": model.features[3], "last": model.features[7]}
    with GradCAM(model, layers) as cam:
        found = cam(x, relu=False)
    for name, cell in (("block", 4), ("stage", 8), ("last", 32)):
        assert found[name].shape == (1, size[0] // cell, size[1] // cell)


def test_a_layout_that_cannot_be_told_is_asked_for() -> None:
    cube, image = (1, 16, 16, 16), (64, 64)
    assert layout(nn.Conv2d(3, 16, 1), cube, image) == "channels first"
    assert layout(nn.ReLU(), cube, image) == "channels first"
    assert layout(nn.LayerNorm(16), cube, image) == "unclear"
    assert layout(nn.LayerNorm(16), (1, 8, 8, 16), image) == "channels last"
    assert layout(nn.LayerNorm(16), (1, 16, 8, 8), image) == "channels first"
    # Pooled to a square: its places have no longer the image's proportions, but its channels are known.
    assert layout(nn.Sequential(nn.Linear(4, 48), nn.AdaptiveAvgPool2d(7)), (1, 7, 7, 48), (64, 96)) == "channels last"
    assert layout(nn.Sequential(nn.Conv2d(4, 48, 1), nn.ReLU()), (1, 48, 7, 7), (64, 96)) == "channels first"

    class Cube(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.norm, self.head = nn.Conv2d(3, 16, 4, 4), nn.LayerNorm(16), nn.Linear(16, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.patches(x).permute(0, 2, 3, 1)).mean(dim=(1, 2)))

    torch.manual_seed(0)
    model, x = Cube().eval(), images("cube", 2, 64, 64)
    with GradCAM(model, model.norm) as cam, pytest.raises(InputError, match=r"'LayerNorm' gives .* expected reshape"):
        cam(x)
    with GradCAM(model, model.norm, reshape=lambda o: o.permute(0, 3, 1, 2)) as cam:
        assert np.allclose(cam(x, relu=False).sum(axis=(1, 2)) + model.head.bias[1].item(), model(x)[:, 1].detach(),
                           atol=1e-5)  # fmt: skip


def test_tokens_are_explained_once_their_places_are_said() -> None:
    package = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed: pip install -e '.[test]'")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    torch.manual_seed(0)
    model = VisionTransformer(
        image_size=64, patch_size=16, num_layers=2, num_heads=2, hidden_dim=24, mlp_dim=48, num_classes=2
    ).eval()
    nn.init.normal_(model.heads.head.weight)
    layer, x = model.encoder.layers[-1].ln_1, images("vit", 2, 64, 64)
    with (
        GradCAM(model, layer) as cam,
        pytest.raises(InputError, match=r"shape \(2, 17, 24\); .* need reshape"),
    ):
        cam(x)

    def places(tokens: Tensor) -> Tensor:
        return tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 4))

    with GradCAM(model, layer, reshape=places) as cam:
        found = cam(x)
    with package.GradCAM(model=model, target_layers=[layer], reshape_transform=places) as peer:
        expected = peer(input_tensor=x.clone(), targets=[ClassifierOutputTarget(1)] * 2)
    assert found.shape == (2, 4, 4) and np.abs(twice_normalised(found, 64, 64) - expected).max() <= 1e-4
    with (
        GradCAM(model, layer, reshape=lambda o: o[:, 1:]) as cam,
        pytest.raises(InputError, match=r"reshape makes \(2, 16, 24\) of \(2, 17, 24\); expected \(n, k, h, w\)"),
    ):
        cam(x)


def test_of_more_than_two_logits_one_is_named() -> None:
    torch.manual_seed(0)
    model, x = resnet18(num_classes=5).eval(), images("resnet18", 1, 64, 64)
    with GradCAM(model, model.layer4) as cam:
        for target in ("fractured", "not fractured", "difference"):
            with pytest.raises(InputError, match=f"target is '{target}' of 5 logits; expected the index of one"):
                cam(x, target)
        assert cam(x, 4).shape == (1, 2, 2) and not np.array_equal(cam(x, 4), cam(x, 1))
