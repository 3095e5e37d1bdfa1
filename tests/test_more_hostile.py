"""What an attacker tried: layers whose channels cannot be told, odd arguments, checkpoints that mean nothing."""

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer

from fracturelib._io.files import InputError
from fracturelib.explain.gradcam import GradCAM, weights_of
from fracturelib.models.classifier import load_classifier, save_classifier
from fracturelib.models.shipped import PRETRAINED
from fracturelib.models.small_cnn import SmallCNN
from tests.conftest import ROOT
from tests.test_checkpoint import made

INF = math.inf
X = torch.randn(2, 1, 48, 48, generator=torch.Generator().manual_seed(1))


def last(output: Tensor) -> Tensor:
    return output.permute(0, 3, 1, 2)


# Twelve channels at twelve by twelve places


@pytest.fixture(scope="module")
def swin() -> nn.Module:
    torch.manual_seed(0)
    return SwinTransformer([4, 4], 12, [2], [2], [4, 4], num_classes=2, stochastic_depth_prob=0.1).eval()


@pytest.mark.parametrize(
    "layer", ["features.0.1", "features.1.0.stochastic_depth", "features.1.1.mlp.4", "features.1.1.stochastic_depth"]
)
def test_a_cube_beside_channels_that_come_last_is_asked_about(swin: nn.Module, layer: str) -> None:
    module, x = swin.get_submodule(layer), X.expand(-1, 3, -1, -1)
    assert not list(module.parameters())
    with GradCAM(swin, module) as cam, pytest.raises(InputError, match=r"gives \(2, 12, 12, 12\), .* expected reshape"):
        cam(x)
    with GradCAM(swin, module, reshape=last) as cam:
        assert cam(x, relu=False).shape == (2, 12, 12)
    with GradCAM(swin, module) as cam:  # of other proportions it is clear
        assert cam(torch.zeros(1, 3, 48, 96), relu=False).shape == (1, 12, 24)


class Widened(nn.Module):
    """A GELU between two linear layers on the last axis, and no other sign of the layout."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.first, self.act = nn.Conv2d(1, 6, 4, 4), nn.Linear(6, 12), nn.GELU()
        self.head = nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.first(self.patches(x).permute(0, 2, 3, 1))).mean(dim=(1, 2)))


def test_a_gelu_after_a_linear_layer_is_explained_once_its_axes_are_said() -> None:
    torch.manual_seed(0)
    model = Widened().eval()
    with GradCAM(model, model.act) as cam, pytest.raises(InputError, match=r"layer 'GELU' gives .* may come second or"):
        cam(X)
    with GradCAM(model, model.act, reshape=last) as cam:
        added = cam(X, relu=False).sum(axis=(1, 2)) + model.head.bias[1].item()
    assert np.allclose(added, model(X)[:, 1].detach(), atol=1e-5)


def cnn(*middle: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 4, 4), *middle, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 12), nn.Linear(12, 2)
    ).eval()


@pytest.mark.parametrize(
    "middle",
    [
        [nn.ReLU()],
        [nn.BatchNorm2d(12), nn.Sequential(nn.GELU(), nn.Dropout(0.1))],
        [nn.MaxPool2d(3, 1, 1), nn.Conv2d(12, 12, 1)],
        [nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU()],
        [nn.LayerNorm([12, 12, 12]), nn.ReLU()],
        [nn.Identity(), nn.Identity()],
    ],
    ids=str,
)
def test_a_cube_in_a_plain_network_has_its_channels_first(middle: list[nn.Module]) -> None:
    model = cnn(*middle)
    plain = [m for m in middle if not list(m.parameters())]
    for layer in plain:
        with GradCAM(model, layer) as cam, GradCAM(model, layer, reshape=lambda o: o) as told:
            assert np.array_equal(cam(X, relu=False), told(X, relu=False))
            assert np.abs(cam(X, relu=False)).max() > 0
    assert not any(m._forward_hooks for m in model.modules())


def test_a_relu_before_tokens_has_its_channels_first() -> None:
    class Hybrid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.act = nn.Conv2d(1, 12, 4, 4), nn.ReLU()
            self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.act(self.stem(x)).flatten(2).transpose(1, 2)).mean(dim=1))

    torch.manual_seed(0)
    model = Hybrid().eval()
    with GradCAM(model, model.act) as cam, GradCAM(model, model.act, reshape=lambda o: o) as told:
        assert np.array_equal(cam(X), told(X))


# A part of the network under its own no_grad


class Frozen(nn.Module):
    def __init__(self, context: Any = torch.no_grad, *, detach: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.context, self.detach = context, detach
        self.early, self.late = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.neck, self.head = nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        with self.context():
            x = self.late(self.early(x).relu()).relu()
        x = self.neck(x.detach() if self.detach else x).relu()
        return self.head(x.mean(dim=(2, 3)))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_a_layer_whose_graph_the_model_ends_is_named(context: Any, frozen: bool) -> None:
    for model in (Frozen(context), Frozen(context, detach=True), Frozen(detach=True)):
        model.eval().requires_grad_(not frozen)
        for names in (["late"], ["early", "late"], ["late", "neck"]):
            layers = {name: model.get_submodule(name) for name in names}
            with (
                GradCAM(model, layers) as cam,
                pytest.raises(
                    InputError, match=f"'{names[0]}' does not reach the logit, or is .* torch.no_grad of the model"
                ),
            ):
                cam(X)
        with GradCAM(model, model.neck) as cam:  # what comes after it is explained
            assert cam(X, relu=False).any()
        assert torch.is_grad_enabled() and all(p.grad is None for p in model.parameters())


# Arguments


@pytest.fixture(scope="module")
def small() -> SmallCNN:
    torch.manual_seed(0)
    return SmallCNN(width=4).eval()


def test_a_layer_that_is_none_is_named(small: SmallCNN) -> None:
    for layer, said in (
        ("stage4", "layer is 'stage4'"),
        ([small.stage4], "layer is of type list"),
        ({}, r"layer is \{\}"),
        (None, "layer is None"),
    ):
        with pytest.raises(InputError, match=f"^{said}; expected a part of the model, such as model.layer4, or a dict"):
            GradCAM(small, layer)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="layer 'a' is not a part of the model"):
        GradCAM(small, {"a": "stage4"})  # type: ignore[dict-item]
    with pytest.raises(InputError, match="model is 'SmallCNN'; expected a torch"):
        GradCAM("SmallCNN", small.stage4)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="reshape is 'no'; expected a function"):
        GradCAM(small, small.stage4, reshape="no")  # type: ignore[arg-type]
    model = cnn(nn.ReLU())
    model.unused = nn.Conv2d(1, 1, 1)
    model.forward = lambda x: nn.Sequential(*list(model)[:-1])(x)  # type: ignore[method-assign]
    with GradCAM(model, model.unused) as cam, pytest.raises(InputError, match=r"^layer 'Conv2d' did not run; expected"):
        cam(X)


@pytest.mark.parametrize("odd", [X.numpy(), X.tolist(), None, "x", {}], ids=lambda v: type(v).__name__)
def test_what_is_no_tensor_is_named(small: SmallCNN, odd: Any) -> None:
    with GradCAM(small, small.stage4) as cam, pytest.raises(InputError, match=r"^x is .*; expected a torch\.Tensor"):
        cam(odd)


def test_any_integer_is_a_target(small: SmallCNN) -> None:
    with GradCAM(small, small.stage4) as cam:
        expected = cam(X, 1, relu=False)
        for target in (np.int64(1), np.uint8(1), np.array(1), torch.tensor(1), -1):
            assert np.array_equal(cam(X, target, relu=False), expected)
    for odd in (True, np.bool_(True), torch.tensor(True), 1.0, np.float64(1), None, [1], np.array([0, 1]), b"1"):
        with pytest.raises(InputError, match=r"target is .*; expected one of fractured, not fractured, difference"):
            weights_of(odd, 2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="target is 2; expected a logit from 0 to 1"):
        weights_of(np.int64(2), 2)


def test_a_reshape_that_gives_no_tensor_is_named(small: SmallCNN) -> None:
    for reshape, kind in ((lambda o: None, "NoneType"), (lambda o: o.numpy(), "ndarray")):
        with (
            GradCAM(small, small.stage4, reshape=reshape) as cam,  # type: ignore[arg-type]
            pytest.raises(InputError, match=rf"reshape makes {kind} of \(2, .*; expected \(n, k, h, w\)"),
        ):
            cam(X)


def test_a_block_within_its_own_block(small: SmallCNN) -> None:
    with GradCAM(small, small.stage4) as cam:
        expected = cam(X)
        with cam as inner:
            assert inner is cam and np.array_equal(cam(X), expected)
        assert np.array_equal(cam(X), expected)
    assert not any(m._forward_hooks for m in small.modules())
    with pytest.raises(InputError, match="outside its block"):
        cam(X)
    with cam:
        assert np.array_equal(cam(X), expected)


# Checkpoints


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "good.pt"
    save_classifier(made(extra={"validation images": 16}), path)
    return path


def rule(name: str, threshold: float) -> dict[str, Any]:
    return {"thresholds": {name: threshold}, "default_rule": name}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "score=0.5 at 0.9": (rule("score=0.5", 0.9), "threshold of score=0.5 is 0.9; expected 0.5, as the rule says"),
    "score=0.5 at inf": (rule("score=0.5", INF), "threshold of score=0.5 is inf; expected 0.5, as the rule says"),
    "sensitivity=7": (rule("sensitivity=7", 0.5), "a rule in thresholds is 'sensitivity=7'; expected one such as"),
    "no rule": (rule("what I like", 0.5), "a rule in thresholds is 'what I like'; expected one such as"),
    "another rule that is none": (
        {"thresholds": {"score=0.5": 0.5, "cost=0:1": 0.2}},
        "a rule in thresholds is 'cost=0:1'; expected one such as",
    ),
    "a rule of two lines": (rule("youden\n", 0.5), "default_rule is 'youden\\n'; expected text of one line"),
    "a rule beside it of two lines": (
        {"thresholds": {"score=0.5": 0.5, "youden\n": 0.5}},
        "expected a threshold for each rule",
    ),
    "a version of two lines": (
        {"version": "0.1\nall is well"},
        "version is '0.1\\nall is well'; expected text of one",
    ),
    "a version that steers": ({"version": "\x1b[2J"}, "expected text of one line"),
    "a fingerprint of two lines": ({"fingerprint": "a\u2028b"}, "expected text of one line"),
    **{
        f"validation images {odd!r}": (
            {"extra": {"validation images": odd}},
            f"extra validation images is {odd!r}; expected how many they are, 1 or more",
        )
        for odd in (-5, 0, "many", True, 2.5, None)
    },
}


def changed(good: Path, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    payload = torch.load(good, weights_only=True)
    change(payload)
    torch.save(payload, path)
    return path


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError) as error:
        load_classifier(path)
    line = str(error.value)
    assert message in line and line.startswith(f"{path}: ") and "\n" not in line


@pytest.mark.parametrize("case", REFUSED)
def test_what_means_nothing_is_not_read_and_not_written(tmp_path: Path, good: Path, case: str) -> None:
    change, message = REFUSED[case]
    refused(changed(good, tmp_path / "odd.pt", lambda p: p["values"].update(change)), message)
    if "version" not in change:  # which is always our own
        with pytest.raises(InputError, match="not written, because"):
            save_classifier(made(**change), tmp_path / "model.pt")
        assert not (tmp_path / "model.pt").exists()


@pytest.mark.parametrize("count", [-1, -(2**40)])
def test_a_count_below_nothing_is_refused(tmp_path: Path, good: Path, count: int) -> None:
    name = "stage1.0.1.num_batches_tracked"
    path = changed(good, tmp_path / "odd.pt", lambda p: p["weights"].update({name: torch.tensor(count)}))
    refused(path, f"{name} is negative ({count}); expected a count of 0 or more")


@pytest.mark.parametrize(
    ("name", "size"),
    [("stray.bin", 2**22), ("stray", 0), ("data/999", 64), ("data/0/more", 1), (".note", 5000), ("data.pkl/x", 10)],
)
def test_an_entry_that_nothing_refers_to_is_refused(tmp_path: Path, good: Path, name: str, size: int) -> None:
    path = tmp_path / "odd.pt"
    path.write_bytes(good.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{folder}/{name}", bytes(size))
    refused(path, f"holds {name!r}, {size} bytes that nothing refers to; expected a fracturelib checkpoint only")


def test_what_means_something_is_read(tmp_path: Path, good: Path) -> None:
    """Also the notes that a later torch may add, a score of many digits, and every rule that can be chosen."""
    path = tmp_path / "more.pt"
    path.write_bytes(good.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/.a_later_note", b"1")
    assert load_classifier(path).extra == {"validation images": 16}
    for name, threshold in (
        ("score=0.123457", 0.1234567), ("score=1", 1), ("score=0", 0.0), ("sensitivity=0.90", 0.3), ("youden", 0.2),
        ("specificity=0.9", INF), ("f_beta=2", 0.2), ("cost=10:1@0.02", INF), ("alerts=0.2", 0.4),
    ):  # fmt: skip
        save_classifier(made(**rule(name, threshold)), tmp_path / "rule.pt")
        assert load_classifier(tmp_path / "rule.pt").threshold == threshold
    save_classifier(made(extra={"attribution": "Of one,\nand another"}), tmp_path / "lines.pt")
    assert load_classifier(tmp_path / "lines.pt").extra == {"attribution": "Of one,\nand another"}


@pytest.mark.parametrize("path", [PRETRAINED, *sorted((ROOT / "data" / "checkpoints").glob("*.pt"))], ids=str)
def test_the_shipped_checkpoints_are_read(path: Path) -> None:
    assert torch.load(path, weights_only=True)["format_version"] in (3, 4, 5)
    assert load_classifier(path).default_rule == "sensitivity=0.90"
