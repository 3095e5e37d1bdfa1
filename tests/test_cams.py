"""The maps against the field's libraries, captum and grad-cam, on the field's networks; and each method's formula."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import densenet121, mobilenet_v3_small, resnet18

from fracturelib._files import InputError
from fracturelib.cams import METHODS
from fracturelib.gradcam import GradCAM, combined
from fracturelib.models import SmallCNN

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


def films(name: str, batch: int, height: int, width: int) -> Tensor:
    channels = 1 if name == "small_cnn" else 3
    x = torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(batch + width))
    return x.double() if name == "mobilenet_v3_small" else x


SHAPES = [(1, 64, 64), (3, 64, 64), (1, 64, 96), (3, 96, 64)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("name", "layer"), CASES)
def test_grad_cam_is_that_of_captum(name: str, layer: str, shape: tuple[int, int, int]) -> None:
    attr = pytest.importorskip("captum.attr", reason="captum is not installed: pip install -e '.[test]'")
    model, x = made(name), films(name, *shape)
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

    model, x = made(name), films(name, *shape)
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
    model, x = made("resnet18"), films("resnet18", 3, 64, 96)
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
    for heat, film in zip(found, activation.numpy(), strict=True):
        places = film.reshape(6, -1).T
        expected = PCA(1).fit_transform(places)[:, 0].reshape(5, 7)
        assert min(np.abs(heat - expected).max(), np.abs(heat + expected).max()) < 1e-4
        assert (heat.ravel() * (places.mean(axis=1) - places.mean())).sum() >= 0


@pytest.mark.parametrize("method", METHODS)
def test_every_method_from_one_pass(method: str) -> None:
    model, x = made("small_cnn"), films("small_cnn", 2, 64, 48)
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
    model, x = made("small_cnn"), films("small_cnn", 2, 64, 64)
    with torch.no_grad():
        expected = (model(x)[:, 1] - model.head.bias[1]).numpy()
    with GradCAM(model, model.stage4) as cam:
        found = cam(x, relu=False, method="HiResCAM").sum(axis=(1, 2))
    assert np.allclose(found, expected, atol=1e-5)


def test_an_unknown_method() -> None:
    with pytest.raises(InputError, match="method is 'CAM\\+\\+\\+'; expected one of Grad-CAM, "):
        combined(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), method="CAM+++")
