"""Other people's networks as features: torchvision's and timm's by name, with weights from a file, medical ones too."""

import hashlib
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fracturelib._io.files import InputError, printable
from fracturelib.models.localizer import STAGES, LocalizingNetwork
from fracturelib.models.tensor_file import read_header, require_undamaged

NAME = re.compile(r"(torchvision|timm):[A-Za-z0-9_.]+")
EXAMPLES = "torchvision:resnet18, torchvision:densenet121, timm:convnext_tiny"
SIDE = 128  # of the square on which the stages are found; they leave it at a quarter, an eighth, ... of that
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of the red, green and blue of ImageNet
XRAYVISION = 1024.0  # torchxrayvision's networks read grey values from -1024 to 1024
LARGEST = 2 * 10**9  # bytes of a file of weights
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLE = (torch.int32, torch.int64)


def is_backbone(name: str) -> bool:
    """Whether a network's name is one of torchvision's or timm's: "torchvision:NAME" or "timm:NAME"."""
    return bool(NAME.fullmatch(name))


class GreyInput(nn.Module):
    """Grey values as a network of colours was taught to see them: (n, 1, h, w) -> (n, 3, h, w) float32.

    `scale` and `shift`, (3,) each, turn (grey value / 255 - 0.5) / 0.5 into what each of its channels expects.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(3))
        self.register_buffer("shift", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1, h, w) to (n, 3, h, w)."""
        return x * self.scale[:, None, None] + self.shift[:, None, None]

    def expect(self, mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
        """Make the channels have these means and deviations subtracted and divided by, of grey values in 0..1."""
        self.scale = 0.5 / torch.tensor(deviation)
        self.shift = (0.5 - torch.tensor(mean)) / torch.tensor(deviation)


class LocalizingBackbone(LocalizingNetwork):
    """A network of torchvision or timm whose heads learn to classify and to localize, as `LocalizingEfficientNet`.

    Parameters
    ----------
    name : str
        "torchvision:NAME" or "timm:NAME": a convolutional network whose parts come one after the other and halve the
        image five times, such as ResNet, DenseNet, MobileNet, EfficientNet, ConvNeXt or VGG.
    width : int
        Channels of the head that localizes, a multiple of 8.
    closer : bool
        With a second network for cuts of images, as `LocalizingEfficientNet`.

    Raises
    ------
    InputError
        If there is no such network, its library is not installed, or its parts are of another kind.

    Notes
    -----
    Its stages leave the image at a quarter, an eighth, a sixteenth and a thirty-second of its side. Batch normalisation
    keeps the statistics that it came with, and nothing is dropped at random in the features, so that nothing depends
    on the other images of a batch. The weights are random: see `load_backbone_weights`.
    """

    def __init__(self, name: str, width: int = 64, closer: bool = False) -> None:
        super().__init__()
        found = _found(name)
        cuts, channels = _cuts(name, [part for _, part in found.parts])
        for number, (start, end) in enumerate(pairwise(cuts), 1):
            self.add_module(f"stage{number}", nn.Sequential(*(part for _, part in found.parts[start:end])))
        self.name, self.children_names = name, found.children
        self.prefixes = [[prefix for prefix, _ in found.parts[start:end]] for start, end in pairwise(cuts)]
        self.first = _first_convolution(found.parts)
        self.grey = GreyInput()
        self.grey.expect(found.mean, found.deviation)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.add_heads(width, channels)
        if closer:
            self.closer = LocalizingBackbone(name, width)

    def coloured(self, x: Tensor) -> Tensor:
        """(n, 1, h, w) to (n, 3, h, w), as the features were taught to see images."""
        found: Tensor = self.grey(x)
        return found

    def train(self, mode: bool = True) -> "LocalizingBackbone":
        """Set the mode of the heads; the features stay in evaluation mode."""
        super().train(mode)
        for name in STAGES:
            getattr(self, name).eval()
        return self


@dataclass(frozen=True)
class _Found:
    """A network taken apart: its parts in order, each by its name in the whole, and what it expects of its input."""

    parts: list[tuple[str, nn.Module]]
    children: list[str]  # names of all children of the whole
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


def _found(name: str) -> _Found:
    library, _, own = name.partition(":")
    return _of_torchvision(own) if library == "torchvision" else _of_timm(own)


def _within(network: nn.Module, name: str) -> list[tuple[str, nn.Module]]:
    """The parts of one of a network's children, by their names in the network."""
    return [(f"{name}.{key}", part) for key, part in getattr(network, name).named_children()]


def _of_torchvision(name: str) -> _Found:
    from torchvision import models  # it takes a second, and most commands do without it

    if name not in models.list_models(module=models):
        raise InputError(
            f"model is torchvision:{name}, which torchvision does not have; expected one such as {EXAMPLES}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torchvision says of weights that are not wanted
        try:
            network = models.get_model(name, weights=None)
        except Exception:  # RegNet computes its widths by tensors, which a checkpoint's shapes are compared without
            raise _unfit(f"torchvision:{name}") from None
    children = dict(network.named_children())
    if "layer4" in children:  # ResNet and its like
        parts = [(key, child) for key, child in children.items() if key not in ("avgpool", "fc")]
    elif isinstance(children.get("features"), nn.Sequential):
        parts = _within(network, "features")
        if isinstance(network, models.DenseNet):
            parts.append(("relu", nn.ReLU()))  # which it has in `forward` alone
    else:
        raise _unfit(f"torchvision:{name}")
    return _Found(parts, list(children), *IMAGENET)


def _of_timm(name: str) -> _Found:
    try:
        import timm  # an extra of its own
    except ImportError:
        raise InputError(
            f"model is timm:{name}, and timm is not installed; expected it to be (pip install timm)"
        ) from None
    try:
        network = timm.create_model(name, pretrained=False, features_only=True)
        config = timm.get_pretrained_cfg(name)
    except Exception as error:  # what it cannot make raises many kinds
        said = printable(str(error).split("\n")[0])[:100]
        raise InputError(
            f"model is timm:{name}, which timm does not make ({said}); expected one such as {EXAMPLES}"
        ) from None
    children = dict(network.named_children())
    if isinstance(network, nn.ModuleDict):
        parts = list(children.items())
    elif (
        {"conv_stem", "blocks"} <= children.keys() <= {"conv_stem", "bn1", "act1", "blocks"}
    ):  # EfficientNet, MobileNet
        parts = [(key, child) for key, child in children.items() if key != "blocks"] + _within(network, "blocks")
    else:
        raise _unfit(f"timm:{name}")
    mean, deviation = (config.mean, config.std) if config is not None else IMAGENET
    return _Found(parts, list(children), mean, deviation)


def _unfit(name: str) -> InputError:
    return InputError(
        f"model is {name}, whose parts do not halve the image five times one after the other; expected a "
        f"convolutional network such as {EXAMPLES}"
    )


def _cuts(name: str, parts: list[nn.Module]) -> tuple[list[int], tuple[int, int, int]]:
    """Where the four stages begin and end, and how many channels the last three leave."""
    sides, channels = [], []
    x = torch.zeros(1, 3, SIDE, SIDE)
    try:
        for part in parts:
            with torch.no_grad():
                x = part.eval()(x)
            sides.append(x.shape[2] if x.ndim == 4 and x.shape[2] == x.shape[3] else 0)
            channels.append(x.shape[1])
    except Exception:  # they do not follow one another; other people's code raises what it likes
        raise _unfit(name) from None
    ends = []
    for side in (SIDE // 4, SIDE // 8, SIDE // 16, SIDE // 32):
        if side not in sides:
            raise _unfit(name)
        ends.append(len(sides) - sides[::-1].index(side))
    if sides[-1] != SIDE // 32 or sides != sorted(sides, reverse=True):
        raise _unfit(name)
    middle, fine, whole = (channels[end - 1] for end in ends[1:])
    return [0, *ends], (middle, fine, whole)


def _first_convolution(parts: list[tuple[str, nn.Module]]) -> str:
    """The name of the weight that sees the image."""
    names = (f"{p}.{k}" for p, part in parts for k, value in part.state_dict().items() if value.ndim == 4)
    return next(names)


@dataclass(frozen=True)
class BackboneWeights:
    """What a file of weights holds.

    Attributes
    ----------
    tensors : dict
        By the names that the file gives them.
    digest : str
        SHA-256 of the file.
    """

    tensors: dict[str, Tensor]
    digest: str


def read_backbone_weights(path: Path) -> BackboneWeights:
    """Read a file of `torch.save(network.state_dict(), path)` or of safetensors; nothing in it is run.

    Raises
    ------
    InputError
        If it is no such file, is damaged, compressed, larger than 2 GB, or holds something else than plain tensors.
    """
    expected = "expected tensors by name, as torch.save(network.state_dict(), FILE) leaves them"
    if not path.is_file():
        raise InputError(f"{path}: {'not a file' if path.exists() else 'no such file'}; {expected}")
    if path.stat().st_size > LARGEST:
        raise InputError(f"{path}: {path.stat().st_size / 1e9:.0f} GB; {expected}, at most {LARGEST / 1e9:.0f}")
    if zipfile.is_zipfile(path):  # before anything is allocated; torch's older files are no zip
        read_header(path, expected="file of weights")
        require_undamaged(path, expected="file of weights")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # comes with timm

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except ImportError:
        raise InputError(f"{path}: needs safetensors to be read; expected it to be (pip install safetensors)") from None
    except Exception as error:  # a damaged or foreign file raises many kinds
        said = "holds more than tensors, and reading it would run it" if "GLOBAL" in str(error) else "is damaged"
        raise InputError(f"{path}: {said}; {expected}") from None
    for wrapped in ("state_dict", "model", "model_state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(wrapped), Mapping):
            found = found[wrapped]
    tensors = {k: v for k, v in found.items() if isinstance(v, Tensor)} if isinstance(found, Mapping) else {}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        raise InputError(f"{path}: holds no tensors by name; {expected}")
    return BackboneWeights(tensors, digest)


def load_backbone_weights(model: LocalizingBackbone, weights: BackboneWeights, path: Path) -> str:
    """Give the features of `model` weights, in place; the classifier among them is left out.

    Parameters
    ----------
    model : LocalizingBackbone
    weights : BackboneWeights
        Of the same network, as torchvision and timm publish them, as RadImageNet does (Mei et al. 2022,
        doi 10.1148/ryai.210315: names such as `backbone.0.weight`), or as torchxrayvision's networks name them (Cohen
        et al. 2022, arXiv 2111.00595: one channel of grey values from -1024 to 1024).
    path : Path
        Where they are from, for messages.

    Returns
    -------
    str
        What they were taken for, and how grey values are shown to them, in a line.

    Raises
    ------
    InputError
        If they are of another network, or no numbers.
    """
    found, medical = _renamed(weights.tensors, model.children_names, path)
    said = "grey values as torchvision or timm show them"
    for number, prefixes in enumerate(model.prefixes, 1):
        for prefix, part in zip(prefixes, getattr(model, f"stage{number}"), strict=True):
            for key, own in part.state_dict().items():
                name = f"{prefix}.{key}"
                value = found.get(_plain(name))
                if value is None and key.endswith("num_batches_tracked"):
                    continue
                if value is None:
                    raise InputError(f"{path}: has no {name}; expected the weights of {model.name}")
                if name == model.first and value.shape == (own.shape[0], 1, *own.shape[2:]) != own.shape:
                    value = torch.cat([value, torch.zeros_like(value), torch.zeros_like(value)], dim=1)
                    model.grey.scale, model.grey.shift = torch.tensor([XRAYVISION, 0, 0]), torch.zeros(3)
                    said = "one channel: torchxrayvision's, grey values from -1024 to 1024"
                _copy(own, value, f"{path}: {name}")
    if medical:
        model.grey.expect((0.5,) * 3, (0.5,) * 3)
        said = "RadImageNet's, grey values from -1 to 1"
    return f"weights of {path.name}: {said}"


def _copy(own: Tensor, value: Tensor, name: str) -> None:
    """Copy a plain tensor of the same kind and shape; raise InputError, beginning with `name`, if it is another."""
    plain = value.layout is torch.strided and value.device.type == "cpu" and not (value.is_nested or value.is_quantized)
    kinds = FLOATS if own.is_floating_point() else WHOLE
    if not plain or value.dtype not in kinds:
        kind = str(value.dtype).removeprefix("torch.") if plain else "no plain tensor"
        raise InputError(f"{name} is {kind}; expected {'float32' if own.is_floating_point() else 'int64'}")
    if value.shape != own.shape:
        raise InputError(f"{name} is {tuple(value.shape)}; expected {tuple(own.shape)}")
    own.copy_(value)
    if not bool(torch.isfinite(own).all()):
        raise InputError(f"{name} is NaN or infinite in places; expected numbers")


def _plain(name: str) -> str:
    """A tensor's name as timm's two ways of writing it have in common."""
    return name.replace("_", ".")


def _renamed(found: Mapping[str, Tensor], children: list[str], path: Path) -> tuple[dict[str, Tensor], bool]:
    """The tensors by the names that their library gives them, `_plain`; whether they came in RadImageNet's layout."""
    medical, result = False, {}
    for key, value in found.items():
        name = re.sub(r"^(module\.)?(model\.)?", "", key)
        # RadImageNet numbers the network's children; torchvision's DenseNets were published with a dot too many.
        if numbered := re.match(r"backbone\.(\d{1,3})\.", name):
            medical = True
            i = int(numbered[1])
            name = f"{children[i] if i < len(children) else numbered[1]}.{name[numbered.end() :]}"
        name = _plain(re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)", r"\1", name))
        if name in result:
            raise InputError(f"{path}: {printable(key)[:80]} is there under two names; expected one network's weights")
        result[name] = value
    return result, medical
