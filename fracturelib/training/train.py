"""Training: one loop, read top to bottom, that can be killed at any moment and goes on exactly where it was."""

import copy
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn
from tqdm.auto import tqdm

from fracturelib._io.files import InputError
from fracturelib.metrics.classification import roc_auc
from fracturelib.metrics.operating_point import choose_threshold, threshold_for_sensitivity
from fracturelib.models.checkpoint_checks import classes_of
from fracturelib.models.classifier import (
    Classifier,
    fit_temperature,
    model_logits,
    normalised,
    scores_from_logits,
)
from fracturelib.models.familiarity import collected_features, fit_familiarity, fit_familiarity_by_folds
from fracturelib.models.regions import FEWEST, fit_regions, shifts_of
from fracturelib.models.registry import build_model
from fracturelib.training.augment import augmented, augmented_studies
from fracturelib.training.config import FineTuneConfig, TrainConfig
from fracturelib.training.distributed import ProcessGroup
from fracturelib.training.precision import autocast, resolved_precision
from fracturelib.training.state import STATE_FILE, TrainingState, begun_with

STATE_FORMAT = "fracturelib training state"
FAMILIAR = 1000  # so many images of the training say what is ordinary
SATURATED = 1e-15  # a score nearer to 0 or 1 is taken as if it were so near
JUDGED_ON = "validation images"  # in a checkpoint's `extra`: how many its thresholds were chosen on


@dataclass(frozen=True)
class Images:
    """Squares and their labels: images (n, size, size) uint8, labels (n,) of 0 and 1.

    Or studies and theirs: images (n, slices, size, size) uint8, filled up with empty slices.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise InputError(
                f"labels has {len(self.labels)} values; expected one for each of {len(self.images)} images"
            )


def training_batches(radiographs: Images, config: TrainConfig, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in an order that only the seed and the epoch decide: images (b, s, s) uint8, labels (b,) int64.

    Of studies, (b, slices, s, s) uint8.
    """
    generator = torch.Generator().manual_seed(1_000_003 * config.seed + epoch)
    changed = augmented if radiographs.images.ndim == 3 else augmented_studies
    order = torch.randperm(len(radiographs.images), generator=generator).numpy()
    for start in range(0, len(order), config.batch):
        chosen = np.sort(order[start : start + config.batch])
        images = torch.from_numpy(np.ascontiguousarray(radiographs.images[chosen]))
        yield changed(images, generator) if config.augment else images, torch.from_numpy(radiographs.labels[chosen])


def grey_statistics(images: NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation of grey values in 0..1: (n, s, s) uint8 -> two floats.

    Examples
    --------
    >>> mean, std = grey_statistics(np.array([[[0, 255], [0, 255]]], np.uint8))
    >>> print(f"{mean:.2f} {std:.2f}")
    0.50 0.50
    """
    counts = np.zeros(256)
    for image in images:  # one at a time: to count, each byte becomes eight
        counts += np.bincount(np.asarray(image).ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = (counts @ values) / counts.sum()
    return float(mean), float(max(np.sqrt(counts @ (values - mean) ** 2 / counts.sum()), 1e-3))


@dataclass(frozen=True)
class _Learner:
    """A network that learns, what it reads images with, and who learns together."""

    model: nn.Module
    joined: nn.Module  # the same one; its gradients are averaged over the processes
    optimizer: torch.optim.Optimizer
    mean: float
    std: float
    precision: str
    ranks: ProcessGroup

    @classmethod
    def begun(
        cls, images: NDArray[np.uint8], config: TrainConfig, initial: dict[str, Tensor] | None, ranks: ProcessGroup
    ) -> "_Learner":
        """Before the first epoch."""
        model = build_model(config.architecture, seed=config.seed, **config.options)
        model = model.to(ranks.device).to(memory_format=torch.channels_last)
        if initial is not None:
            model.load_state_dict(initial)
        joined = ranks.joined(model)
        optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        return cls(model, joined, optimizer, *grey_statistics(images), resolved_precision(config.precision), ranks)


def fit(
    train: Images,
    val: Images | None,
    config: TrainConfig,
    *,
    until: int | None = None,
    out: Path | None = None,
    fingerprint: str = "",
    initial: dict[str, Tensor] | None = None,
    ranks: ProcessGroup | None = None,
    progress: bool = True,
) -> tuple[Classifier, pd.DataFrame]:
    """Train with cross-entropy and Adam, keep the epoch with the best validation AUC, and calibrate it.

    Parameters
    ----------
    train, val : Images
        Images (n, config.size, config.size) uint8 and labels. Without `val` nothing is chosen: the last epoch is kept,
        and the scores are not calibrated.
    config : TrainConfig
    until : int, optional
        Stop after so many of `config.epochs` epochs.
    out : Path, optional
        Folder for `state.pt`, written after each epoch. If it is there already, training goes on from it, and ends
        with the same bits as if it had never stopped.
    fingerprint : str
        Of the data; kept in the checkpoint, and a state of other data is refused.
    initial : dict, optional
        Weights to start from, of the same architecture.
    ranks : ProcessGroup, optional
        The processes that train together; each takes its part of a batch.
    progress : bool
        Show a bar on the terminal.

    Returns
    -------
    Classifier
        With temperature and thresholds chosen on `val`.
    history : DataFrame
        epoch, learning_rate, train_loss, val_loss, val_auc; one row an epoch.

    Raises
    ------
    InputError
        If a set lacks a class, or `out` belongs to another training.
    """
    _require_both_classes(train=train, **({} if val is None else {"val": val}))
    learner = _Learner.begun(train.images, config, initial, ranks or ProcessGroup())
    parts = {"model": learner.model, "optimizer": learner.optimizer}
    signature = begun_with(config, fingerprint, initial) | {"precision": learner.precision}
    state = TrainingState(STATE_FORMAT, parts, signature, None if out is None else out / STATE_FILE, best={})
    state.resume()
    _learn(learner, train, val, config, state, until=until or config.epochs, progress=progress)
    assert state.best is not None
    learner.model.load_state_dict(state.best)
    model, mean, std = learner.model.cpu().eval(), learner.mean, learner.std
    classifier = calibrated(model, config, val, mean=mean, std=std, fingerprint=fingerprint)
    return classifier, pd.DataFrame(state.history).astype({"epoch": int})


def _learn(
    learner: _Learner,
    train: Images,
    val: Images | None,
    config: TrainConfig,
    state: TrainingState,
    *,
    until: int,
    progress: bool,
) -> None:
    """The loop: epochs, and in each the batches, the loss, the gradients and a step; then a look at `val`."""
    model, optimizer, ranks = learner.model, learner.optimizer, learner.ranks
    talks = progress and ranks.first
    bar = tqdm(total=until, initial=state.epoch, desc="training", unit="epoch", disable=not talks)
    for epoch in range(state.epoch, until):
        if val is not None and state.history and epoch - 1 - state.best_epoch >= config.patience:
            break
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / config.epochs))
        model.train()
        losses = []
        for images, labels in training_batches(train, config, epoch):
            if len(labels) < ranks.count:  # the rest of an epoch that not every process can have a part of
                break
            mine = ranks.part(np.arange(len(labels)))
            x = normalised(images[mine], learner.mean, learner.std)
            with autocast(ranks.device, learner.precision):
                logits = learner.joined(x.to(ranks.device)).float()  # (b, 2)
            # DDP takes the mean of the processes' gradients, whose parts of a batch may differ in size by one.
            share = len(mine) * ranks.count / len(labels)
            loss = F.cross_entropy(logits, labels[mine].to(ranks.device)) * share
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(ranks.total(loss.item()) / ranks.count)
        row = _row(epoch, losses, learner, val, config)
        state.history.append(row)
        if val is None or state.best_epoch == epoch:
            state.best = copy.deepcopy(model.state_dict())
        if ranks.first:
            state.save()
        ranks.wait()
        bar.update()
        bar.set_postfix_str(f"loss {row['train_loss']:.3f}, validation AUC {row['val_auc']:.3f}")
    bar.close()


def _row(
    epoch: int, losses: list[float], learner: _Learner, val: Images | None, config: TrainConfig
) -> dict[str, float]:
    """What an epoch came to, judged on `val`, if there is any, by all processes together."""
    rate = learner.optimizer.param_groups[0]["lr"]
    row = {"epoch": epoch + 1, "learning_rate": rate, "train_loss": float(np.mean(losses))}
    if val is None:
        require_finite(epoch, losses, np.zeros((0, 2)), rate=config.learning_rate)
        return row | {"val_loss": float("nan"), "val_auc": float("nan")}
    mine = learner.ranks.part(np.arange(len(val.labels)))
    found = model_logits(learner.model, val.images[mine], mean=learner.mean, std=learner.std)
    logits = learner.ranks.gathered(found)
    require_finite(epoch, losses, logits, rate=config.learning_rate)
    return row | {
        "val_loss": float(F.cross_entropy(torch.from_numpy(logits), torch.tensor(val.labels))),
        "val_auc": roc_auc(val.labels, scores_from_logits(logits)),
    }


def _require_both_classes(**sets: Images) -> None:
    for name, radiographs in sets.items():
        if len(np.unique(radiographs.labels)) != 2:
            raise InputError(
                f"{name}: {len(radiographs.labels)} images of {len(np.unique(radiographs.labels))} class; "
                "expected both classes"
            )


def require_finite(epoch: int, losses: list[float], logits: NDArray[np.floating], *, rate: float) -> None:
    """Raise InputError if a training has diverged; what it left before stays as it is."""
    if not (np.isfinite(losses).all() and np.isfinite(logits).all()):
        odd = int((~np.isfinite(logits)).any(axis=1).sum())
        raise InputError(
            f"epoch {epoch + 1}: the loss became {np.mean(losses):g} and {odd} of {len(logits)} validation images have "
            f"no score; expected numbers, as a lower learning rate than {rate:g} may give"
        )


def calibrated(
    model: nn.Module,
    config: TrainConfig | FineTuneConfig,
    val: Images | None,
    *,
    mean: float,
    std: float,
    fingerprint: str,
) -> Classifier:
    """A classifier whose temperature and thresholds are chosen on `val`; as it is, where there is none."""
    own = {"name": config.architecture, **(config.options if isinstance(config, TrainConfig) else {})}
    classifier = Classifier(model, own, config.size, mean, std, fingerprint, extra={"config": asdict(config)})
    classifier = replace(classifier, classes=classes_of(config.architecture))
    if val is None:
        return classifier
    return calibrated_by(classifier, classifier.logits(val.images), val.labels)


def calibrated_by(classifier: Classifier, logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Classifier:
    """The same classifier, its temperature and thresholds chosen by logits (n, 2) of images that it never learnt."""
    temperature, thresholds = calibration(logits, labels)
    return replace(
        classifier,
        temperature=temperature,
        thresholds=thresholds,
        default_rule="sensitivity=0.90",
        extra=classifier.extra | {JUDGED_ON: len(labels)},
    )


def calibration(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, dict[str, float]]:
    """The temperature, and the threshold of each rule, from logits (n, 2) of validation and labels (n,)."""
    temperature = fit_temperature(logits, labels)
    return temperature, thresholds_of(scores_from_logits(logits, temperature), labels)


def thresholds_of(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """The threshold of each rule, from scores (n,) and labels (n,) of images that were not learnt from."""
    return {
        "sensitivity=0.90": threshold_for_sensitivity(labels, scores, 0.90),
        "sensitivity=0.95": threshold_for_sensitivity(labels, scores, 0.95),
        "youden": choose_threshold(labels, scores, "youden").threshold,
    }


def with_familiarity(classifier: Classifier, train: NDArray[np.uint8], other: NDArray[np.uint8]) -> Classifier:
    """The same classifier, which knows images like those of `train`; hardly one like `other` will be doubted."""
    ordinary, unseen = (features_of(classifier, images) for images in (train, other))
    return replace(classifier, familiarity=fit_familiarity(ordinary, unseen))


def some_of(many: int) -> NDArray[np.int64]:
    """At most `FAMILIAR` indices of so many images, evenly spread."""
    return np.unique(np.linspace(0, many - 1, min(many, FAMILIAR)).astype(np.int64))


def features_of(classifier: Classifier, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What `collected_features` gives of `some_of` the images."""
    with collected_features(classifier.model) as features:
        classifier.logits(images[some_of(len(images))])
        return features()


def with_regions(
    classifier: Classifier, images: NDArray[np.uint8], region: pd.Series, held: pd.DataFrame, evidence: NDArray
) -> Classifier:
    """The same, its threshold moved by region (`Regions`), and all thresholds chosen anew for that.

    Parameters
    ----------
    images, region : (n, size, size) uint8 and (n,), of str or numbers
        From which it learns to tell regions apart.
    held : DataFrame
        label and region of images that it did not learn from.
    evidence : (m,) float
        The logits of their scores.
    """
    labels = held["label"].to_numpy(np.int64)
    shown, of_held = region.iloc[some_of(len(images))].astype("string"), held["region"].astype("string")
    learnt = set(shown.dropna())  # what it never saw, it cannot name
    shifts = {name: by for name, by in shifts_of(evidence, labels, of_held).items() if name in learnt}
    if not shifts:
        print(f"note: no region has {FEWEST} fractures among {len(held)} validation images: one threshold for all")
    regions = fit_regions(features_of(classifier, images), shown, shifts)
    moved = evidence - of_held.map(shifts).fillna(0).to_numpy(float)
    thresholds = thresholds_of(expit(moved), labels)
    if classifier.closer_look is None:
        return replace(classifier, regions=regions, thresholds=thresholds)
    return replace(classifier, regions=regions, closer_look=replace(classifier.closer_look, thresholds=thresholds))


def with_familiarity_by_folds(classifier: Classifier, images: NDArray[np.uint8], fold: NDArray[np.int64]) -> Classifier:
    """The same, where all images (n, size, size) were learnt from: hardly one is doubted by those of other folds."""
    with collected_features(classifier.model) as features:
        classifier.logits(images)
        found = features()
    return replace(classifier, familiarity=fit_familiarity_by_folds(found, fold))
