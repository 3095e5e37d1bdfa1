"""A trained network together with everything needed to use it, in one file that runs no code when it is read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from torch import Tensor, nn

from fracturelib import __version__
from fracturelib._io.files import InputError, atomic_path, printable
from fracturelib._io.words import STUDY, WORDS
from fracturelib.data.labels import CLASSES, STUDY_CLASSES
from fracturelib.models.checkpoint_checks import (
    OddCheckpointError,
    check_shapes,
    check_values,
    check_weights,
    classes_of,
    familiarity_of,
    from_older_version,
    refusal,
    require_fitting_regions,
)
from fracturelib.models.closer_look import CloserLook, corner, strongest_cuts, strongest_place, with_closer_map
from fracturelib.models.familiarity import Familiarity, collected_features
from fracturelib.models.localizer import LocalizingNetwork
from fracturelib.models.regions import Regions
from fracturelib.models.registry import build_model
from fracturelib.models.tensor_file import read_header, require_undamaged

__all__ = [
    "Classifier", "batches", "describe", "fit_temperature", "load_classifier", "load_payload",
    "model_logits", "normalised", "save_classifier", "scores_from_logits",
]  # fmt: skip
FORMAT = "fracturelib checkpoint"
FORMAT_VERSION = 5
PARTS = ("format", "format_version", "values", "weights", "familiarity")  # the last since version 3
NOT_KEPT = ("model", "familiarity", "magnified")  # among the values of a checkpoint

Radiographs = NDArray[np.uint8] | Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Judged:
    """What a classifier makes of images.

    Attributes
    ----------
    logits : (n, 2) float64
        As `Classifier.logits`.
    strangeness : (n,) float64
        How unlike the training's images each is (`Familiarity.strangeness`): above 1 it is doubted. 0 where that was
        not measured.
    thresholds : (n,) float64
        An image is predicted fractured if its score is at least its own.
    regions : (n,) of str, or None
        What each shows, where thresholds depend on it.
    """

    logits: NDArray[np.float64]
    strangeness: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    regions: NDArray[np.str_] | None


@dataclass(frozen=True)
class Classifier:
    """A trained network and how to use it.

    Attributes
    ----------
    model : nn.Module
        (n, 1, size, size) float32 -> (n, 2) logits, of "not fractured" and "fractured".
    architecture : dict
        `name` and options, as `build_model` takes them.
    size : int
        Side of the square input, in pixels.
    mean, std : float
        Of grey values in 0..1, for the normalisation (x / 255 - mean) / std.
    fingerprint : str
        Of the training data.
    temperature : float
        Divides the logits; fitted on validation (Guo et al. 2017, arXiv 1706.04599).
    thresholds : dict
        Rule -> threshold on the score, chosen on validation.
    default_rule : str
        The key of `thresholds` that decisions use.
    version : str
        Of fracturelib, when it was saved.
    extra : dict
        Plain values worth keeping: attribution, config, results.
    closer_look : CloserLook or None
        How a closer look at the most suspicious place counts, if the network learnt to take one.
    magnified : bool
        Scores are of both looks, and need the images as they are stored: see `with_closer_look`.
    familiarity : Familiarity or None
        Which images are like those that it learnt from, if that was measured.
    regions : Regions or None
        How the threshold depends on what an image shows, if it does. Of a network with a closer look that is so of the
        threshold on both looks.
    """

    model: nn.Module
    architecture: dict[str, Any]
    size: int
    mean: float
    std: float
    fingerprint: str = ""
    temperature: float = 1.0
    thresholds: dict[str, float] = field(default_factory=lambda: {"score=0.5": 0.5})
    default_rule: str = "score=0.5"
    classes: tuple[str, ...] = CLASSES
    version: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    closer_look: CloserLook | None = None
    magnified: bool = False
    familiarity: Familiarity | None = None
    regions: Regions | None = None

    @property
    def noun(self) -> str:
        """What it scores: an image, or a study, which is a stack of slices."""
        return STUDY if tuple(self.classes) == STUDY_CLASSES else "image"

    @property
    def threshold(self) -> float:
        """An image is predicted fractured if its score is at least this, moved by its region (`regions`)."""
        return self.thresholds[self.default_rule]

    @property
    def by_region(self) -> Regions | None:
        """How the threshold on the scores that it gives now depends on the region."""
        return self.regions if self.closer_look is None or self.magnified else None

    @property
    def threshold_in_words(self) -> str:
        """The threshold; where it depends on the region, the least and the highest."""
        if self.by_region is None:
            return f"{self.threshold:.3f}"
        each = self.by_region.thresholds(self.threshold, np.arange(len(self.by_region.names)))
        return f"{each.min():.3f}" + (f" to {each.max():.3f}, by region" if len(each) > 1 else "")

    def tensor(self, images: NDArray[np.uint8]) -> Tensor:
        """Normalised input of the network: (n, size, size) uint8 -> (n, 1, size, size) float32."""
        return normalised(torch.from_numpy(np.ascontiguousarray(images)), self.mean, self.std)

    def logits(
        self, images: NDArray[np.uint8], *, stored: Radiographs | None = None, batch: int = 64
    ) -> NDArray[np.float64]:
        """Logits before the temperature: (n, size, size) uint8 -> (n, 2) float64.

        `stored` are the images as they are stored, (h, w) uint8 each, which a closer look needs (`with_closer_look`).
        """
        if not self.magnified:
            return model_logits(self.model, images, mean=self.mean, std=self.std, batch=batch)
        if self.closer_look is None or stored is None or len(stored) != len(images):
            raise ValueError(f"stored is of {'no' if stored is None else len(stored)} images; expected {len(images)}")
        model: Any = self.model
        how: dict[str, Any] = {"mean": self.mean, "std": self.std, "batch": batch}
        first, cells = looked(model, images, **how)
        second = model_logits(model.closer, strongest_cuts(stored, cells, self.size), **how)
        return self.closer_look.logits(first[:, 1] - first[:, 0], second[:, 1] - second[:, 0])

    def judge(self, images: NDArray[np.uint8], *, stored: Radiographs | None = None) -> Judged:
        """Logits, strangeness and thresholds of images (n, size, size) uint8, in one pass; `stored` as in `logits`."""
        if (self.familiarity is None and self.by_region is None) or not len(images):
            alike = np.full(len(images), self.threshold)
            return Judged(self.logits(images, stored=stored), np.zeros(len(images)), alike, None)
        with collected_features(self.model) as features:
            logits = self.logits(images, stored=stored)
            found = features()
        strangeness = np.zeros(len(images)) if self.familiarity is None else self.familiarity.strangeness(found)
        return Judged(logits, strangeness, *self.thresholds_by(found))

    def thresholds_by(self, features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.str_] | None]:
        """The threshold of each image, (n,), and its region, if that matters, by its `collected_features` (n, d)."""
        if self.by_region is None:
            return np.full(len(features), self.threshold), None
        region = self.by_region.judged(features)
        return self.by_region.thresholds(self.threshold, region), np.array(self.by_region.names)[region]

    def with_closer_look(self) -> "Classifier":
        """The same network, with a closer look where it learnt to take one; else as it is.

        Its scores and its threshold are of the whole image and its most suspicious place together, at less than half
        more of the cost, and `logits` and `scores` need the images as they are stored.
        """
        if self.closer_look is None:
            return self
        return replace(self, magnified=True, temperature=1.0, thresholds=self.closer_look.thresholds)

    def scores(
        self, images: NDArray[np.uint8], *, stored: Radiographs | None = None, batch: int = 64
    ) -> NDArray[np.float64]:
        """P(Fractured) in 0..1, temperature applied: (n, size, size) uint8 -> (n,) float64; `stored` as in `logits`.

        Raises
        ------
        InputError
            If the network gives no number for an image.
        """
        scores = scores_from_logits(self.logits(images, stored=stored, batch=batch), self.temperature)
        if not np.isfinite(scores).all():
            odd, many = np.flatnonzero(~np.isfinite(scores)), WORDS[self.noun].many
            raise InputError(
                f"the network ({self.architecture['name']}) gives no number for {len(odd)} of {len(scores)} {many}, "
                f"the first of them number {odd[0]}; expected a score in 0..1"
            )
        return scores

    @property
    def localizes(self) -> bool:
        """Whether the network was trained to localize, from outlines, and has a map of its own."""
        config = self.extra.get("config", {})
        weights = [config.get(name, 1) for name in ("mask_loss_weight", "peak_loss_weight")]
        return hasattr(self.model, "mark") and weights != [0, 0]

    def localize(self, images: NDArray[np.uint8], *, stored: Radiographs | None = None) -> NDArray[np.float32]:
        """Where a localizing network sees a fracture: (n, size, size) uint8 -> (n, h', w') float32 in 0..1.

        With a closer look, which needs the images as they are `stored`, (n, size, size); both maps count in the cut.

        Raises
        ------
        InputError
            If the network was not trained to localize.
        """
        if not self.localizes:
            raise InputError(
                f"model {self.architecture['name']} was not trained to localize; expected localizing_efficientnet, "
                "trained with outlines"
            )
        model: Any = self.model
        found = self._marked(model, images)
        if self.magnified:
            _, cells = looked(model, images, mean=self.mean, std=self.std)
            each = zip(found, cells, stored or (), strict=True)
            found = np.array([self._closer_map(*one) for one in each], np.float32)
        if not np.isfinite(found).all():
            raise InputError("the map has values that are not finite; expected numbers in 0..1")
        return np.asarray(expit(found), np.float32)

    def _marked(self, model: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        model.eval()
        with torch.inference_mode():
            parts = [model.mark(self.tensor(part)).numpy() for part in batches(images, 32)]
        return np.concatenate(parts) if parts else np.zeros((0, 0, 0), np.float32)

    def _closer_map(
        self, whole: NDArray[np.float32], cells: NDArray[np.float32], image: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """The map of an image, (size, size) logits, with what the closer look saw."""
        height, width = image.shape
        at = corner(*strongest_place(cells, width, height, self.size), width, height)
        model: Any = self.model
        second = self._marked(model.closer, strongest_cuts([image], cells[None], self.size))[0]
        large = np.asarray(cv2.resize(whole, (self.size, self.size), interpolation=cv2.INTER_LINEAR), np.float32)
        return with_closer_map(large, second, at, width, height)

    def decide(self, scores: NDArray[np.float64], thresholds: NDArray[np.float64] | None = None) -> list[str]:
        """The class name of each score at its threshold, or the default one; empty where the score is no number."""
        at = np.full(len(scores), self.threshold) if thresholds is None else thresholds
        return [self.classes[int(s >= t)] if np.isfinite(s) else "" for s, t in zip(scores, at, strict=True)]


def normalised(images: Tensor, mean: float, std: float) -> Tensor:
    """(n, s, s) uint8 -> (n, 1, s, s) float32 of mean 0 and deviation 1 over the training set, channels last.

    Of studies, (n, slices, s, s) uint8 -> the same shape.
    """
    x = (images.float() / 255 - mean) / std
    return x if x.ndim == 4 else x.unsqueeze(1).contiguous(memory_format=torch.channels_last)


def model_logits(
    model: nn.Module, images: NDArray[np.uint8], *, mean: float, std: float, batch: int = 64
) -> NDArray[np.float64]:
    """Logits of a network in evaluation mode, its mode left as it was: (n, s, s) uint8 -> (n, 2) float64.

    Of studies, (n, slices, s, s) uint8. At most `batch` images at a time; of more than 224 pixels hardly more than one
    for each thread, so that what a layer leaves is still in the processor's cache when the next one takes it up, and
    memory does not grow with their size.
    """
    parts = [found.double().cpu().numpy() for found in _passed(model, model, images, mean, std, batch)]
    return np.concatenate(parts) if parts else np.empty((0, 2))


def looked(
    model: LocalizingNetwork, images: NDArray[np.uint8], *, mean: float, std: float, batch: int = 64
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Logits, as `model_logits`, and what a network that localizes makes of each place (n, s/8, s/8), in one pass."""
    parts = list(_passed(model, lambda x: model.judge(*model.features(x)), images, mean, std, batch))
    if not parts:
        return np.empty((0, 2)), np.empty((0, images.shape[1] // 8, images.shape[1] // 8), np.float32)
    logits, cells = (torch.cat(found).float().cpu() for found in zip(*parts, strict=True))
    return logits.double().numpy(), cells.numpy()


def _passed(
    model: nn.Module, look: Callable[[Tensor], Any], images: NDArray[np.uint8], mean: float, std: float, batch: int
) -> Iterator[Any]:
    """What `look` makes of images, a batch at a time, with `model` in evaluation mode."""
    if images.ndim == 3 and images.shape[1] > 224:
        batch = min(batch, max(torch.get_num_threads(), 6 * 224**2 // images.shape[1] ** 2))
    if images.ndim == 4:
        batch = max(1, batch // max(1, images.shape[1]))
    training = model.training
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    model.eval()
    try:
        with torch.inference_mode():
            for chunk in batches(images, batch):
                yield look(normalised(torch.from_numpy(np.ascontiguousarray(chunk)), mean, std).to(device))
    finally:
        model.train(training)


def batches(images: NDArray[np.uint8], batch: int) -> Iterator[NDArray[np.uint8]]:
    """Consecutive slices of at most `batch` images."""
    for start in range(0, len(images), batch):
        yield images[start : start + batch]


def scores_from_logits(logits: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
    """P(Fractured) by a softmax of logits / temperature: (n, 2) -> (n,).

    Examples
    --------
    >>> scores_from_logits(np.array([[0.0, 0.0], [0.0, 2.0]])).round(2)
    array([0.5 , 0.88])
    """
    return softmax(logits / temperature, axis=1)[:, 1]


def fit_temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """The temperature in 0.05..20 with the least cross-entropy (Guo et al. 2017): (n, 2), (n,) -> float.

    Raises
    ------
    InputError
        If a logit is not finite.
    """
    if not np.isfinite(logits).all():
        odd = int((~np.isfinite(logits).all(axis=1)).sum())
        raise InputError(f"logits are not finite for {odd} of {len(logits)} images; expected numbers")

    def cross_entropy(log_temperature: float) -> float:
        chosen = log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(len(labels)), labels]
        return float(-chosen.mean())

    best = minimize_scalar(cross_entropy, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(best.x))


def save_classifier(classifier: Classifier, path: str | Path, *, half: bool = False) -> None:
    """Write a checkpoint, whole or not at all; with `half`, its weights as float16, in half the space.

    Raises
    ------
    InputError
        If it would not be read again: a weight, the temperature or a threshold is no number. Nothing is written then.
    """
    if classifier.magnified:
        raise InputError(f"{path}: not written: its thresholds are those of a closer look; expected it as it was read")
    familiarity = classifier.familiarity
    values = {f: getattr(classifier, f) for f in classifier.__dataclass_fields__ if f not in NOT_KEPT}
    values["classes"] = list(classifier.classes)
    values["closer_look"] = None if classifier.closer_look is None else asdict(classifier.closer_look)
    values["regions"] = None if classifier.regions is None else classifier.regions.values()
    values["version"] = __version__
    try:
        check_values(values)
        check_weights(classifier.model)
    except OddCheckpointError as error:
        raise InputError(f"{path}: not written, because {error}") from None
    payload = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "values": values,
        "weights": {
            k: (v.half() if half and v.is_floating_point() else v).detach().cpu().contiguous()
            for k, v in classifier.model.state_dict().items()
        },
        "familiarity": None if familiarity is None else familiarity.tensors(),
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:  # by its path, its name would be in the bytes
        torch.save(payload, file)


def load_payload(
    path: str | Path, *, expected: str, version: int, oldest: int | None = None,
    check: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Read a file of tensors and plain values without running anything that it may contain.

    `check` is shown what the file says that it holds, with headers for tensors, before any of it is loaded.

    Raises
    ------
    InputError
        If there is no such file, it is not such a file, it holds more than plain values, or it is of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a {expected} (.pt)")
    header = read_header(path, expected=expected)
    if not isinstance(header, dict) or header.get("format") != expected:
        raise InputError(f"{path}: not a {expected}; it was saved by something else")
    found = header.get("format_version")
    if type(found) is not int or not (version if oldest is None else oldest) <= found <= version:
        raise InputError(
            f"{path}: a {expected} of version {printable(repr(found))[:40]}; this fracturelib reads version {version}"
        )
    if check is not None:
        check(header)
    require_undamaged(path, expected=expected)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is damaged raises whatever its bytes happen to say
        reason = printable(str(error).strip().split("\n")[0] or type(error).__name__)
        raise InputError(f"{path}: not a {expected} ({reason})") from None


def load_classifier(path: str | Path) -> Classifier:
    """Read a checkpoint. The network is in evaluation mode.

    Raises
    ------
    InputError
        If the file is missing, damaged, unsafe or of another version, its weights do not fit its architecture, or a
        value in it cannot be meant: a weight or the temperature that is no number, a threshold that is no score.
    """

    def check(header: dict[str, Any]) -> None:
        values, weights = header.get("values"), header.get("weights")
        parts = PARTS if header["format_version"] > 2 else PARTS[:-1]
        if header.keys() != set(parts):
            raise OddCheckpointError(f"it holds {', '.join(map(str, header))}", ", ".join(parts))
        if not isinstance(values, dict) or not isinstance(weights, dict):
            raise OddCheckpointError("values or weights are no mapping", "values and weights by name")
        values = from_older_version(values, header["format_version"])
        check_values(values)
        check_shapes(values["architecture"], weights)

    try:
        payload = load_payload(path, expected=FORMAT, version=FORMAT_VERSION, oldest=1, check=check)
        values = from_older_version(payload["values"], payload["format_version"])
        again = values["closer_look"]
        values |= {
            "classes": classes_of(values["architecture"]["name"]),
            "closer_look": None if again is None else CloserLook(tuple(again["weights"]), again["thresholds"]),
            "regions": None if values["regions"] is None else Regions.of_values(values["regions"]),
        }
        model = build_model(**values["architecture"])
        model.load_state_dict(payload["weights"])
        check_weights(model)
        kept = payload.get("familiarity")
        familiarity = None if kept is None else familiarity_of(kept, model)
        require_fitting_regions(values["regions"], model)
    except OddCheckpointError as error:
        raise refusal(path, error) from None
    return Classifier(model=model.to(memory_format=torch.channels_last).eval(), familiarity=familiarity, **values)


def describe(classifier: Classifier) -> dict[str, Any]:
    """Plain values of a classifier, for tables and JSON."""
    return {
        "architecture": classifier.architecture["name"],
        "size": classifier.size,
        "parameters": sum(p.numel() for p in classifier.model.parameters()),
        "temperature": classifier.temperature,
        "thresholds": classifier.thresholds,
        "decides by": classifier.default_rule,
        **({} if classifier.closer_look is None else {"closer look": asdict(classifier.closer_look)}),
        **({} if classifier.regions is None else {"logits added to the threshold": classifier.regions.by_name}),
        "trained on": classifier.fingerprint,
        "version": classifier.version,
    }
