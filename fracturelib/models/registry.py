"""Networks by name."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from fracturelib._io.files import InputError, printable
from fracturelib.models.backbones import LocalizingBackbone, is_backbone
from fracturelib.models.localizer import LocalizingEfficientNet
from fracturelib.models.small_cnn import SmallCNN
from fracturelib.models.study import StudyNetwork

MODELS: dict[str, Callable[..., nn.Module]] = {
    "small_cnn": SmallCNN,
    "study_network": StudyNetwork,
    "localizing_efficientnet": LocalizingEfficientNet,
}


def require_model(name: str) -> None:
    """Raise InputError unless there is a network of that name: a key of `MODELS`, or torchvision's or timm's."""
    if is_backbone(name):
        with torch.device("meta"):  # its parts, without their numbers
            LocalizingBackbone(name)
    elif name not in MODELS:
        said = f"model is {printable(name)[:80]!r}; expected one of {', '.join(sorted(MODELS))}"
        raise InputError(f"{said}, torchvision:NAME, timm:NAME")


def model_class(name: str) -> Callable[..., nn.Module]:
    """What makes a network of that name from its options."""
    return partial(LocalizingBackbone, name) if is_backbone(name) else MODELS[name]


def build_model(name: str, *, seed: int | None = None, **options: Any) -> nn.Module:
    """A network by its name.

    Parameters
    ----------
    name : str
        A key of `MODELS`, or "torchvision:NAME" or "timm:NAME" (`LocalizingBackbone`).
    seed : int, optional
        Seed of the initial weights. The global random state is left as it was.
    **options
        Keyword arguments of the network's class.

    Raises
    ------
    InputError
        If there is no network of that name.
    """
    require_model(name)
    with torch.random.fork_rng(enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return model_class(name)(**options)


def stages(model: nn.Module) -> dict[str, nn.Module]:
    """The layers worth explaining, from fine to coarse: those that are called stage1, stage2, ...

    Raises
    ------
    InputError
        If the network has none.
    """
    found = {name: child for name, child in model.named_children() if name.startswith("stage")}
    if not found:
        raise InputError(f"model {type(model).__name__} has no layer called stage1, stage2, ...")
    return found
