"""Whether an image is like those that a network learnt from, by the features that it makes of each image anyway."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

AXES = 64  # directions in which the features of ordinary images differ most
DOUBTED = 0.005  # of validation images; other patients lie a little farther out, so about one in a hundred of theirs
LAYERS = ("stage2", "stage3")  # the last stages forget what no fracture depends on, such as which way grey values run


@dataclass(frozen=True)
class Familiarity:
    """How far an image's features lie from those of ordinary images, and how far is too far.

    The distance is Mahalanobis' (Lee et al. 2018, arXiv 1807.03888), by a model of few directions and the same
    variance in all others (Tipping & Bishop 1999, doi 10.1111/1467-9868.00196).

    Attributes
    ----------
    centre, scale : (d,) float32
        Mean and deviation of each feature over ordinary images.
    axes : (k, d) float32
        Orthonormal directions of the scaled features.
    spread : (k,) float32
        Deviation along each.
    rest : float
        Deviation along any other direction.
    limit : float
        Hardly one ordinary image lies farther away: `DOUBTED` of those that it was chosen on.
    """

    centre: NDArray[np.float32]
    scale: NDArray[np.float32]
    axes: NDArray[np.float32]
    spread: NDArray[np.float32]
    rest: float
    limit: float

    def distance(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Of each image from the ordinary ones, 1 for a typical one: (n, d) -> (n,)."""
        scaled = (features.astype(np.float64) - self.centre) / self.scale
        along = scaled @ self.axes.T.astype(np.float64)
        across = np.maximum((scaled**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        squared = ((along / self.spread) ** 2).sum(axis=1) + across / self.rest**2
        return np.sqrt(squared / scaled.shape[1])

    def strangeness(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """The distance of each image over the limit, so that above 1 an image is doubted: (n, d) -> (n,)."""
        return self.distance(features) / self.limit

    def tensors(self) -> dict[str, Tensor]:
        """As a checkpoint keeps it."""
        return {f.name: torch.as_tensor(np.asarray(getattr(self, f.name), np.float32)) for f in fields(self)}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> "Familiarity":
        """As it was kept.

        Raises
        ------
        ValueError
            If the tensors are not those of `tensors`, or cannot be meant.
        """
        if tensors.keys() != {f.name for f in fields(cls)}:
            raise ValueError(f"holds {', '.join(map(str, tensors))}")
        arrays = {name: np.asarray(value.detach().float()) for name, value in tensors.items()}
        if arrays["axes"].ndim != 2:
            raise ValueError("has axes that are no table")
        k, d = arrays["axes"].shape
        shapes = {"centre": (d,), "scale": (d,), "axes": (k, d), "spread": (k,), "rest": (), "limit": ()}
        if k > d or {name: value.shape for name, value in arrays.items()} != shapes:
            raise ValueError("has shapes that do not fit together")
        if not all(np.isfinite(value).all() for value in arrays.values()):
            raise ValueError("has values that are no numbers")
        if any((arrays[name] <= 0).any() for name in ("scale", "spread", "rest", "limit")):
            raise ValueError("has deviations or a limit of 0 or less")
        rest, limit = (float(arrays.pop(name)) for name in ("rest", "limit"))
        return cls(**arrays, rest=rest, limit=limit)


def fit_familiarity(train: NDArray[np.floating], other: NDArray[np.floating]) -> Familiarity:
    """From features (n, d) of what the network learnt from, with the limit from ordinary images that it did not."""
    centre, scale = train.mean(axis=0, dtype=np.float64), train.std(axis=0, dtype=np.float64) + 1e-3
    scaled = (train - centre) / scale
    _, singular, axes = np.linalg.svd(scaled, full_matrices=False)
    k = min(AXES, len(train) // 4, train.shape[1] - 1)
    spread = singular[:k] / np.sqrt(len(train))
    rest = np.sqrt(max(float((singular[k:] ** 2).sum()), 1e-6) / len(train) / (train.shape[1] - k))
    arrays = [np.asarray(a, np.float32) for a in (centre, scale, axes[:k], np.maximum(spread, 1e-3))]
    made = Familiarity(arrays[0], arrays[1], arrays[2], arrays[3], float(rest), np.inf)
    limit = float(np.quantile(made.distance(other), 1 - DOUBTED))
    return replace(made, limit=max(limit, 1e-3))  # images that are all the same have no distance


def fit_familiarity_by_folds(features: NDArray[np.floating], fold: NDArray[np.int64]) -> Familiarity:
    """From features (n, d) of all that it learnt from, with the limit from how far each fold lies from the others."""
    apart = [fit_familiarity(features[fold != k], features[fold == k]).distance(features[fold == k]) for k in set(fold)]
    limit = float(np.quantile(np.concatenate(apart), 1 - DOUBTED))
    return replace(fit_familiarity(features, features), limit=max(limit, 1e-3))


@contextmanager
def collected_features(model: nn.Module) -> Iterator[Callable[[], NDArray[np.float32]]]:
    """Yield a function that gives the features, (n, d), of all images that went through `model` in the block.

    They are the means over places of what its layers `LAYERS` give.
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in LAYERS}

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, __: Any, made: Tensor) -> None:
            parts[name].append(made.detach().float().mean(dim=(2, 3)).cpu())

        return hook

    handles = [getattr(model, name).register_forward_hook(keep(name)) for name in LAYERS]
    try:
        yield lambda: torch.cat([torch.cat(found) for found in parts.values()], dim=1).numpy()
    finally:
        for handle in handles:
            handle.remove()
