"""The map: its arithmetic, its identity, and that it leaves nothing behind."""

import numpy as np
import pytest
import torch
from torch import nn

from fracturelib._io.files import InputError
from fracturelib.explain.cam_methods import METHODS
from fracturelib.explain.gradcam import GradCAM, combined
from fracturelib.explain.localization import (
    energy_in_mask,
    found_parts,
    judge_images,
    marked,
    otsu_cut,
    peak,
    pointing_game,
    rank_accuracy,
)
from fracturelib.explain.overlay import normalise, overlay, upsample
from fracturelib.explain.perturbation import occlusion, score_cam
from fracturelib.models.registry import stages
from fracturelib.models.small_cnn import SmallCNN
from fracturelib.viz._explorer_render import levels


class Tiny(nn.Module):
    """Two convolutions, an in-place ReLU, an average, a linear head of one or two logits."""

    def __init__(self, logits: int = 2, *, inplace: bool = True, twice: bool = False) -> None:
        super().__init__()
        self.twice = twice
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(4, logits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x))
        if self.twice:
            x = self.second(x)
        return self.head(self.relu(self.norm(x)).mean(dim=(2, 3)))


def made(cls: type[nn.Module] = Tiny, **options: object) -> nn.Module:
    torch.manual_seed(0)
    model = cls(**options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return model


def by_definition(model: nn.Module, layer: nn.Module, x: torch.Tensor, pick: object) -> np.ndarray:
    """Grad-CAM with a full backward pass and a copy of the model's activations, one image at a time."""
    model.eval()
    result = []
    for image in x:
        kept: list[torch.Tensor] = []

        def hook(
            module: nn.Module, inputs: object, output: torch.Tensor, kept: list[torch.Tensor] = kept
        ) -> torch.Tensor:
            output.retain_grad()
            kept.append(output)
            return output.clone()

        handle = layer.register_forward_hook(hook)
        with torch.enable_grad():
            pick(model(image[None].clone().requires_grad_()))[0].backward()  # type: ignore[operator]
        handle.remove()
        weights = kept[-1].grad.mean(dim=(2, 3), keepdim=True)
        result.append((weights * kept[-1]).sum(1)[0].relu().detach().numpy())
    model.zero_grad()
    return np.stack(result)


class Depthwise(nn.Module):
    """A depthwise convolution, and a head on all places, flattened by `view`, which takes one layout of memory only."""

    def __init__(self, *, strict: bool) -> None:
        super().__init__()
        self.strict, self.calls = strict, 0
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.head = nn.Linear(4 * 20 * 28, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = self.second(self.first(x)).relu()
        return self.head(x.view(len(x), -1) if self.strict else x.flatten(1))


X = torch.randn(3, 1, 20, 28, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("layer", ["first", "second", "norm", "relu"])
def test_it_is_grad_cam_by_definition(layer: str, batch: int) -> None:
    model = made(inplace=layer != "relu")
    expected = by_definition(model, getattr(model, layer), X[:batch], lambda z: z[:, 1])
    with GradCAM(model, getattr(model, layer)) as cam:
        found = cam(X[:batch])
    assert found.shape == (batch, 20, 28) and found.dtype == np.float32 and found.max() > 0
    assert np.abs(found - expected).max() < 1e-6


@pytest.mark.parametrize(
    ("target", "pick"),
    [
        ("fractured", lambda z: z[:, 1]),
        ("not fractured", lambda z: z[:, 0]),
        ("difference", lambda z: z[:, 1] - z[:, 0]),
        (0, lambda z: z[:, 0]),
    ],
)
def test_targets_of_two_logits(target: str | int, pick: object) -> None:
    model = made()
    with GradCAM(model, model.norm) as cam:
        assert np.abs(cam(X, target) - by_definition(model, model.norm, X, pick)).max() < 1e-6


def test_targets_of_one_logit() -> None:
    model = made(logits=1)
    with GradCAM(model, model.norm) as cam:
        plus, minus, difference = (cam(X, t, relu=False) for t in ("fractured", "not fractured", "difference"))
    assert np.allclose(plus, -minus) and np.allclose(plus, difference) and np.abs(plus).max() > 0


def test_the_last_call_of_a_layer_that_runs_twice() -> None:
    model = made(twice=True)
    expected = by_definition(model, model.second, X, lambda z: z[:, 1])
    with GradCAM(model, model.second) as cam:
        assert np.abs(cam(X) - expected).max() < 1e-6


@pytest.mark.parametrize("target", [0, 1])
def test_the_signed_map_adds_up_to_the_logit(target: int) -> None:
    model = made(SmallCNN, width=4).eval()
    x = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = model(x)[:, target] - model.head.bias[target]
    with GradCAM(model, model.stage4) as cam:
        found = cam(x, target, relu=False).sum(axis=(1, 2))
    assert np.allclose(found, expected.numpy(), atol=1e-5)


def test_several_layers_in_one_pass() -> None:
    model = made(SmallCNN, width=4).eval()
    x = torch.randn(2, 1, 64, 48, generator=torch.Generator().manual_seed(2))
    passes = []
    model.head.register_forward_hook(lambda *_: passes.append(1))
    with GradCAM(model, stages(model)) as cam:
        together = cam(x)
    assert len(passes) == 1
    for name, layer in stages(model).items():
        with GradCAM(model, layer) as cam:
            assert np.allclose(cam(x), together[name], atol=1e-6), name


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_it_works_anywhere_and_leaves_nothing_behind(frozen: bool, context: type) -> None:
    model = made()
    model.requires_grad_(not frozen)
    model.train()
    model.norm.eval()
    modes = [m.training for m in model.modules()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    with GradCAM(model, model.second) as reference:
        expected = reference(X)
    with context(), GradCAM(model, model.second) as cam:
        assert np.array_equal(cam(X.clone()), expected)
        before = torch.is_grad_enabled()
        assert before == (context is torch.enable_grad)
    assert [m.training for m in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())


def test_plain_calls_in_the_block_are_untouched() -> None:
    model = made().eval()
    with torch.no_grad(), GradCAM(model, model.second) as cam:
        expected = made().eval()(X)
        assert torch.equal(model(X), expected)
        cam(X)
        out = model(X)
    assert torch.equal(out, expected) and not out.requires_grad


def test_hooks_go_when_something_fails() -> None:
    model = made()
    with pytest.raises(RuntimeError), GradCAM(model, model.second) as cam:
        cam(torch.zeros(1, 3, 8, 8))
    assert not any(m._forward_hooks for m in model.modules()) and model.training


def test_mistakes_are_named() -> None:
    model = made()
    with pytest.raises(InputError, match="not a part of the model"):
        GradCAM(model, nn.Conv2d(1, 1, 1))
    cam = GradCAM(model, model.second)
    with pytest.raises(InputError, match="outside its block"):
        cam(X)
    with cam:
        with pytest.raises(InputError, match="target is 'maybe'; expected one of fractured, not fractured, difference"):
            cam(X, "maybe")
        with pytest.raises(InputError, match="target is 2; expected a logit from 0 to 1"):
            cam(X, 2)
    with GradCAM(model, model.head) as wrong, pytest.raises(InputError, match=r"gives no \(n, k, h, w\) tensor"):
        wrong(X)
    model.unused = nn.Conv2d(1, 1, 1)
    with GradCAM(model, model.unused) as unused, pytest.raises(InputError, match="did not run"):
        unused(X)


def test_a_map_without_evidence_is_never_stretched() -> None:
    for empty in (np.zeros((4, 4), np.float32), np.full((4, 4), -3, np.float32)):
        shown, positive = normalise(empty)
        assert not positive and not shown.any()
    shown, positive = normalise(np.array([[-1, 1], [2, 4]], np.float32))
    assert positive and shown.tolist() == [[0, 0.25], [0.5, 1]]


def test_upsampling_keeps_the_place() -> None:
    heat = np.zeros((4, 6), np.float32)
    heat[1, 4] = 1
    large = upsample(heat, (40, 60))
    row, column = np.unravel_index(large.argmax(), large.shape)
    assert large.shape == (40, 60) and 10 <= row < 20 and 40 <= column < 50
    assert upsample(heat, 32).shape == (32, 32)


def test_the_overlay_leaves_the_image_where_nothing_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    heat = np.zeros((16, 16), np.float32)
    heat[:4] = 1
    shown = overlay(image, heat, opacity=0.6)
    assert shown.shape == (16, 16, 3) and shown.dtype == np.uint8
    assert (shown[4:] == image[4:, :, None]).all() and (shown[:4] != image[:4, :, None]).any()
    assert (overlay(image, heat, opacity=0) == image[..., None]).all()


def test_the_overlay_has_the_colours_of_matplotlib() -> None:
    from matplotlib import colormaps

    image, heat = np.full((4, 4), 100, np.uint8), np.full((4, 4), 0.7, np.float32)
    expected = 0.65 * 100 + 0.35 * 255 * np.array(colormaps["inferno"](0.7)[:3])
    assert np.abs(overlay(image, heat, opacity=0.5)[0, 0] - expected).max() < 3


def test_between_two_places_a_map_is_linear() -> None:
    found = upsample(np.array([[0.0, 1.0]], np.float32), (1, 8))[0]
    np.testing.assert_allclose(found, np.clip((np.arange(8) + 0.5) / 4 - 0.5, 0, 1), atol=1e-6)


def test_the_overlay_names_what_does_not_fit() -> None:
    with pytest.raises(InputError, match=r"heat has shape \(2, 2\); expected that of the image"):
        overlay(np.zeros((3, 3), np.uint8), np.zeros((2, 2), np.float32))


def test_a_network_in_double_precision_is_explained() -> None:
    torch.manual_seed(0)
    model, x = SmallCNN(width=4).double().eval(), torch.randn(1, 1, 64, 64)
    with GradCAM(model, model.stage4) as cam:
        double = cam(x.double(), relu=False)
    with GradCAM(model.float(), model.stage4) as cam:
        np.testing.assert_allclose(double, cam(x, relu=False), atol=1e-4 * np.abs(double).max())


@pytest.mark.parametrize("strict", [False, True])
def test_the_layout_of_memory_changes_no_map(strict: bool) -> None:
    model, images = made(Depthwise, strict=strict), X.repeat(1, 3, 1, 1) * torch.tensor([1, -1, 0.5])[:, None, None]
    for layer in (model.first, model.second):
        expected = by_definition(model, layer, images, lambda z: z[:, 1])
        with GradCAM(model, layer) as cam:
            model.calls = 0
            first, calls = cam(images), model.calls
            second = cam(images)
        assert np.abs(first - expected).max() < 1e-6 and np.array_equal(first, second) and expected.max() > 0
        assert (calls, model.calls) == ((2, 3) if strict else (1, 2)), "a layout that was refused is not tried again"


def test_a_mistake_in_the_network_is_not_taken_for_the_layout() -> None:
    model = made(Depthwise, strict=False)
    with GradCAM(model, model.second) as cam, pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        cam(torch.randn(1, 3, 30, 28))
    assert torch.is_grad_enabled() and not model.second._forward_hooks


# A number that is none is no absence of evidence


ODD = [float("nan"), float("inf"), -float("inf")]


@pytest.mark.parametrize("odd", ODD)
def test_a_map_that_is_not_finite_is_not_without_evidence(odd: float) -> None:
    heat = np.zeros((16, 16), np.float32)
    heat[3, 4] = odd
    image, mask = np.zeros((16, 16), np.uint8), np.ones((16, 16), np.uint8)
    readers = {
        "normalise": lambda: normalise(heat),
        "overlay": lambda: overlay(image, heat),
        "levels": lambda: levels(heat),
        "peak": lambda: peak(heat),
        "pointing_game": lambda: pointing_game(heat, mask),
        "energy_in_mask": lambda: energy_in_mask(heat, mask),
        "rank_accuracy": lambda: rank_accuracy(heat, mask),
        "marked": lambda: marked(heat, 0.5),
        "otsu_cut": lambda: otsu_cut(heat),
        "found_parts": lambda: found_parts(heat, mask, 0.5),
        "judge_images": lambda: judge_images(heat[None], mask[None], tolerance=1, cut=0.5),
        "combined": lambda: combined(torch.from_numpy(heat)[None, None], torch.ones(1, 1, 16, 16)),
    }
    for name, read in readers.items():
        with pytest.raises(InputError, match="finite"):
            print(name, read())


@pytest.mark.parametrize("method", METHODS)
def test_one_image_without_numbers_is_named(method: str) -> None:
    model = made(SmallCNN, width=4).eval()
    x = torch.randn(3, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    x[1, 0, 5, 5] = float("nan")
    with GradCAM(model, model.stage3) as cam:
        with pytest.raises(InputError, match="the logits: not finite for image 1 of 3; expected numbers"):
            cam(x, method=method)
        assert np.isfinite(cam(x[[0, 2]], method=method)).all()
    for slow in (score_cam(model, model.stage3, x[:1]), occlusion(model, x[:1], side=32, stride=32)):
        assert np.isfinite(slow).all()
    with pytest.raises(InputError, match="not finite"):
        occlusion(model, x[1:2], side=32, stride=32)
    with pytest.raises(InputError, match="not finite"):
        score_cam(model, model.stage3, x[1:2])


def test_a_layer_that_is_not_finite_is_named_though_the_logit_is() -> None:
    class Ending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.first(x).clamp(-1, 1).mean(dim=(2, 3)))

    model = made(Ending)
    with torch.no_grad():
        model.first.bias[2] = float("inf")
    with GradCAM(model, model.first) as cam, pytest.raises(InputError, match="what layer 'Conv2d' gives: not finite"):
        cam(X)


def test_a_model_or_a_layer_that_leads_nowhere_is_named() -> None:
    class Named(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return {"out": super().forward(x)}  # type: ignore[return-value]

    class Aside(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.relu(self.norm(x.expand(-1, 4, -1, -1)))
            return self.head(self.second(self.first(x)).mean(dim=(2, 3)))

    model = made(Named)
    with GradCAM(model, model.norm) as cam, pytest.raises(InputError, match="the model gives dict; expected logits"):
        cam(X)
    model = made(Aside)
    layers = {"first": model.first, "norm": model.norm}
    with GradCAM(model, layers) as cam, pytest.raises(InputError, match="layer 'norm' does not reach the logit"):
        cam(X)


def test_true_is_no_logit() -> None:
    model = made()
    with GradCAM(model, model.norm) as cam, pytest.raises(InputError, match="target is True; expected one of"):
        cam(X, True)
