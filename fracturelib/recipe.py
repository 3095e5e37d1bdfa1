"""What decides how a training goes, besides the data; apart from `train` so that reading it loads no torch."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a training goes, besides the data.

    Attributes
    ----------
    architecture : str
        A key of `models.MODELS`.
    size : int
        Side of the square input, in pixels.
    epochs, patience : int
        At most so many passes; stop after `patience` without a better validation AUC.
    batch : int
        Films in one step.
    learning_rate, weight_decay : float
        Of Adam; the rate falls to zero along half a cosine.
    augment : bool
        Mirror, turn, shift, zoom and re-expose each training film a little.
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
    seed: int = 0


def best_epoch(val_auc: Sequence[float], val_loss: Sequence[float]) -> int:
    """Which epoch is kept, counted from 0: the best validation AUC, and among equals the lowest loss."""
    return max(range(len(val_auc)), key=lambda i: (val_auc[i], -val_loss[i]))
