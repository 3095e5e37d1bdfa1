"""What decides how a training goes, besides the data; apart from `train` so that reading it loads no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fracturelib._io.files import InputError
from fracturelib.models.poolings import POOLINGS

# The least and the most of each setting.
LIMITS: dict[str, tuple[float, float]] = {
    "size": (32, 2048),
    "epochs": (1, 100_000),
    "patience": (1, 100_000),
    "batch": (2, 100_000),
    "learning_rate": (1e-12, 10),
    "features_rate": (1e-12, 10),
    "weight_decay": (0, 10),
    "mask_loss_weight": (0, 1000),
    "peak_loss_weight": (0, 1000),
    "dropout": (0, 0.99),
    "ema_decay": (0, 1),
    "width": (1, 256),
    "seed": (0, 2**32 - 1),
}
WHOLE = ("size", "epochs", "patience", "batch", "width", "seed")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides how a training goes, besides the data.

    Attributes
    ----------
    architecture : str
        A key of `registry.MODELS`.
    size : int
        Side of the square input, in pixels.
    epochs, patience : int
        At most so many passes; stop after `patience` without a better validation AUC.
    batch : int
        Images in one step.
    learning_rate, weight_decay : float
        Of Adam; the rate falls to zero along half a cosine.
    augment : bool
        Mirror, turn, shift, zoom and re-expose each training image a little.
    precision : str
        "float32", "bfloat16" (of the layers' results, while training), or "auto": bfloat16 where the processor has it.
    seed : int
        Of the weights, the order and the augmentation.
    """

    architecture: str = "small_cnn"
    size: int = 224
    epochs: int = 20
    patience: int = 8
    batch: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    augment: bool = True
    precision: str = "auto"
    seed: int = 0

    noun = "image"  # what it learns from

    def __post_init__(self) -> None:
        require_within(vars(self))

    @property
    def options(self) -> dict[str, Any]:
        """What the network is built with."""
        return {}


@dataclass(frozen=True)
class StudyConfig(TrainConfig):
    """How a network of studies is trained: as one of images, of which a study holds several.

    Attributes
    ----------
    pooling : str
        How slices make a study: "softmax", "max", "mean", "attention" or "middle" (`StudyNetwork`).
    width : int
        Channels of the network's first stage.
    architecture, size, epochs, patience, batch, learning_rate, weight_decay, augment, seed
        As `TrainConfig`; `size` is the side of a slice in pixels, and `batch` counts studies.

    Examples
    --------
    >>> StudyConfig(pooling="max").options
    {'pooling': 'max', 'width': 12}
    """

    architecture: str = "study_network"
    size: int = 128
    epochs: int = 30
    patience: int = 30
    batch: int = 8
    learning_rate: float = 3e-3
    pooling: str = "softmax"
    width: int = 12

    noun = "study"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pooling not in POOLINGS:
            raise InputError(f"pooling is {self.pooling!r}; expected one of {', '.join(POOLINGS)}")

    @property
    def options(self) -> dict[str, Any]:
        """What the network is built with."""
        return {"pooling": self.pooling, "width": self.width}


@dataclass(frozen=True)
class FineTuneConfig:
    """How a pretrained network is fine-tuned to classify and to localize.

    Attributes
    ----------
    architecture : str
        A network that is trained to localize: a key of `registry.MODELS`, or "torchvision:NAME" or "timm:NAME".
    unfreeze : str
        What learns besides the heads: "heads" (nothing), "last" stage, "most" of the stages, "all".
    size : int
        Side of the square input, a multiple of 32.
    epochs, batch : int
    learning_rate, features_rate, weight_decay : float
        Of AdamW, for the heads and for the features; the rates rise and fall in one cycle (Smith & Topin 2019,
        arXiv 1708.07120).
    mask_loss_weight : float
        Weight of the loss over the cells of the map beside that of the image.
    peak_loss_weight : float
        Weight of the loss of the map's peak beside that of the image. If both are 0 the network learns whether, and
        not where: from labels alone, without outlines.
    dropout : float
        Proportion of the image's features that a training step leaves out.
    ema_decay : float
        Decay of the running average of the weights, which is what is kept.
    precision : str
        "float32", "bfloat16" (of the features, while training), or "auto": bfloat16 where the processor has it.
    seed : int
    """

    architecture: str = "localizing_efficientnet"
    unfreeze: str = "heads"
    size: int = 384
    epochs: int = 12
    batch: int = 32
    learning_rate: float = 2e-3
    features_rate: float = 4e-4
    weight_decay: float = 0.02
    mask_loss_weight: float = 0.5
    peak_loss_weight: float = 1.0
    dropout: float = 0.3
    ema_decay: float = 0.99
    precision: str = "auto"
    seed: int = 0

    noun = "image"

    def __post_init__(self) -> None:
        require_within(vars(self))

    @property
    def learns_where(self) -> bool:
        """Whether outlines of fractures teach it where they are."""
        return self.mask_loss_weight > 0 or self.peak_loss_weight > 0


def require_within(settings: dict[str, object]) -> None:
    """Raise InputError if a setting is no number within its `LIMITS`, or no whole one where it counts something."""
    for name, value in settings.items():
        least, most = LIMITS.get(name, (0, 0))
        kind = int if name in WHOLE else int | float
        if name in LIMITS and not (isinstance(value, kind) and not isinstance(value, bool) and least <= value <= most):
            what = "whole number" if name in WHOLE else "number"
            raise InputError(f"{name} is {value}; expected a {what} from {least:.10g} to {most:.10g}")


def best_epoch(val_auc: Sequence[float], val_loss: Sequence[float]) -> int:
    """Which epoch is kept, counted from 0: the best validation AUC, and among equals the lowest loss."""
    return max(range(len(val_auc)), key=lambda i: (val_auc[i], -val_loss[i]))
