"""Teaching a pretrained network whether and where: one loop, for the heads alone or for the features with them."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from fracturelib._io.files import InputError
from fracturelib.metrics.classification import average_precision, roc_auc
from fracturelib.models.classifier import Classifier, normalised, scores_from_logits
from fracturelib.models.localizer import (
    UNFREEZE,
    LocalizingEfficientNet,
    LocalizingNetwork,
    free,
    with_imagenet_weights,
)
from fracturelib.training.augment import augmented_with_masks
from fracturelib.training.config import FineTuneConfig
from fracturelib.training.distributed import ProcessGroup
from fracturelib.training.features import MEAN, STD, Features, frozen_features
from fracturelib.training.losses import focal_loss, grid_of, peak_hits, peak_loss
from fracturelib.training.precision import autocast, resolved_precision
from fracturelib.training.state import STATE_FILE, TrainingState, begun_with
from fracturelib.training.train import Images, calibrated, require_finite

STATE_FORMAT = "fracturelib fine-tuning state"
WITH_IMAGES = ("most", "all")  # what is tuned there begins so early that features cannot be kept
STEEPEST = 5.0  # norm of the gradients, there: most steps have less, and one with ten times as much undoes many
AT_ONCE = 8  # images, there: more of them leave less in the processor's cache


class Step(nn.Module):
    """From what is kept of an image, or from the image itself, to logits, of it and of its cells: the part that learns.

    Its input depends on `config.unfreeze`: middle, fine and whole features for "heads"; middle and fine for "last";
    normalised images (n, 1, s, s) for "most" and "all".
    """

    def __init__(self, model: LocalizingNetwork, tune: str) -> None:
        super().__init__()
        self.model, self.tune = model, tune

    def forward(self, inputs: tuple[Tensor, ...], keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (n, 2) and those of the cells (n, h, w); `keep` (n, c) is the dropout."""
        model = self.model
        if self.tune == "heads":
            middle, fine, whole = inputs
        elif self.tune == "last":
            middle, fine = inputs
            whole = model.whole(fine)
        elif self.tune == "most":
            with torch.no_grad():
                early = model.early(inputs[0])
            middle = model.stage2(early)
            fine = model.stage3(middle)
            whole = model.whole(fine)
        else:
            middle, fine, whole = model.features(inputs[0])
        logits, cells = model.judge(middle, fine, whole, keep=keep)
        return logits.float(), cells.float()


@dataclass(frozen=True)
class _Outlined:
    """Images to learn from or to be judged on, and where they are broken."""

    images: Images
    masks: NDArray[np.uint8]  # (n, size, size)
    truth: Tensor  # (n, h, w): which cells of the map
    kept: Features | None  # where the features stay as they are

    @classmethod
    def of(cls, images: Images, masks: NDArray[np.uint8], size: int, kept: Features | None) -> "_Outlined":
        """With the cells of a map of images of `size` pixels."""
        grid = (size // 8, size // 8)
        cells = [grid_of(torch.from_numpy(np.ascontiguousarray(mask[None])), grid) for mask in masks]
        return cls(images, masks, torch.cat(cells), kept)


@dataclass(frozen=True)
class _Learner:
    """A network that learns whether and where, and what changes with it."""

    model: LocalizingNetwork
    step: nn.Module  # the same one, as `Step`; its gradients are averaged over the processes
    average: AveragedModel  # of its weights: what is kept
    optimizer: torch.optim.Optimizer
    cycle: torch.optim.lr_scheduler.OneCycleLR  # of the rates
    precision: str
    ranks: ProcessGroup

    @classmethod
    def begun(
        cls,
        model: LocalizingNetwork,
        rates: list[dict[str, Any]],
        config: FineTuneConfig,
        images: int,
        ranks: ProcessGroup,
    ) -> "_Learner":
        """Before the first of the steps that `images` images make; `rates` are groups of parameters with their "lr"."""
        model = model.to(ranks.device)
        precision = resolved_precision(config.precision)
        step = ranks.joined(Step(model, config.unfreeze))
        optimizer = torch.optim.AdamW(rates, weight_decay=config.weight_decay)
        steps = config.epochs * -(-images // config.batch)
        most = [group["lr"] for group in rates]
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, most, total_steps=steps)
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
        return cls(model, step, average, optimizer, cycle, precision, ranks)

    @property
    def parts(self) -> dict[str, Any]:
        """What a training that was stopped goes on with."""
        return {"model": self.model, "average": self.average, "optimizer": self.optimizer, "cycle": self.cycle}

    def taught(self) -> LocalizingNetwork:
        """The network with the average of its weights, all of them free to learn further."""
        self.model.load_state_dict(copy.deepcopy(self.average.module.state_dict()))
        for p in self.model.parameters():
            p.requires_grad_(True)
        return self.model.cpu().eval()


def fit_localizer(  # noqa: PLR0913, the last six are by name only
    train: Images,
    val: Images | None,
    train_masks: NDArray[np.uint8],
    val_masks: NDArray[np.uint8],
    config: FineTuneConfig,
    *,
    model: LocalizingNetwork | None = None,
    kept: dict[str, Features] | None = None,
    out: Path | None = None,
    ranks: ProcessGroup | None = None,
    fingerprint: str = "",
    progress: bool = True,
) -> tuple[Classifier, pd.DataFrame]:
    """Train with labels and outlines at once, and calibrate on `val`.

    The loss is the cross-entropy of the images, `config.mask_loss_weight` times the focal loss of the places, and
    `config.peak_loss_weight` times the cross-entropy of which place is the strongest. What is kept is the running
    average of the weights after the last epoch: no epoch is chosen on `val`.

    Parameters
    ----------
    train, val : Images, or None for val; then the scores are not calibrated
    train_masks, val_masks : (n, size, size) uint8 of 0 and 1
        Empty for an image without a fracture.
    config : FineTuneConfig
    model : LocalizingNetwork, optional
        Where to begin; with EfficientNet's features from ImageNet and new heads if not given. It is changed.
    kept : dict, optional
        The frozen features of `train` and `val`, by these names, where they are known already.
    out, ranks, fingerprint, progress
        As `train.fit`.

    Returns
    -------
    Classifier
        With temperature and thresholds chosen on `val`.
    history : DataFrame
        epoch, train_loss, val_loss, val_auc, val_ap, val_peak (proportion of outlined images whose peak is right).

    Raises
    ------
    InputError
        If the configuration does not fit, or `out` belongs to another training.
    """
    ranks = ranks or ProcessGroup()
    signature = begun_with(config, fingerprint, None if model is None else model.state_dict())
    model = begun_from(config, model)
    rates = _parameters(model, config)
    sets = {"train": train} | ({} if val is None else {"val": val})
    kept = kept or kept_features(model, sets, config.unfreeze, ranks, progress=progress)
    learner = _Learner.begun(model, rates, config, len(train.labels), ranks)
    signature["precision"] = learner.precision
    state = TrainingState(STATE_FORMAT, learner.parts, signature, None if out is None else out / STATE_FILE)
    state.resume()
    known = _Outlined.of(train, train_masks, config.size, kept.get("train"))
    unseen = None if val is None else _Outlined.of(val, val_masks, config.size, kept.get("val"))
    _learn(learner, known, unseen, config, state, progress=progress)
    history = pd.DataFrame(state.history).astype({"epoch": int})
    return calibrated(learner.taught(), config, val, mean=MEAN, std=STD, fingerprint=fingerprint), history


def _require_fitting(config: FineTuneConfig) -> None:
    if config.size % 32:
        raise InputError(f"size is {config.size}; expected a multiple of 32")
    if config.unfreeze not in UNFREEZE:
        raise InputError(f"unfreeze is {config.unfreeze!r}; expected one of {', '.join(UNFREEZE)}")


def begun_from(config: FineTuneConfig, model: LocalizingNetwork | None) -> LocalizingNetwork:
    """The network to begin with; with ImageNet's features and new heads if `model` is not given."""
    _require_fitting(config)
    if model is None:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            model = with_imagenet_weights(LocalizingEfficientNet())
    return model.to(memory_format=torch.channels_last)  # from the start, so that a cached run gives the same bits


def _parameters(model: LocalizingNetwork, config: FineTuneConfig) -> list[dict[str, Any]]:
    """The parameters that learn, in groups that have a rate; the others are held."""
    heads, tuned = free(model, config.unfreeze)
    groups = [{"params": heads, "lr": config.learning_rate}]
    return [*groups, {"params": tuned, "lr": config.features_rate}] if tuned else groups


def kept_features(
    model: LocalizingNetwork, sets: dict[str, Images], unfreeze: str, ranks: ProcessGroup, *, progress: bool
) -> dict[str, Features]:
    """The features of each set that stay as they are; none if they learn. One process makes them, and all read them."""
    kept: dict[str, Features] = {}
    if unfreeze in ("heads", "last"):
        for name, images in sets.items():
            if ranks.first:
                frozen_features(model, images.images, progress=progress)
            ranks.wait()
            kept[name] = frozen_features(model, images.images)
    return kept


def _learn(
    learner: _Learner,
    train: _Outlined,
    val: _Outlined | None,
    config: FineTuneConfig,
    state: TrainingState,
    *,
    progress: bool,
) -> None:
    """The loop: epochs, and in each the batches, the loss, the gradients and a step; then a look at `val`."""
    ranks, optimizer = learner.ranks, learner.optimizer
    images, talks = train.images, progress and ranks.first
    bar = tqdm(total=config.epochs, initial=state.epoch, desc="training", unit="epoch", disable=not talks)
    for epoch in range(state.epoch, config.epochs):
        losses = []
        within = tqdm(total=len(images.labels), desc=f"epoch {epoch + 1}", unit="image", leave=False, disable=not talks)
        for chosen, inputs, places, keep in _batches(train, config, epoch, ranks, learner.model.channels[2]):
            optimizer.zero_grad()
            loss = _gradients(learner, torch.from_numpy(images.labels[chosen]), inputs, places, keep, config)
            if config.unfreeze in WITH_IMAGES:
                clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], STEEPEST)
            optimizer.step()
            learner.cycle.step()
            learner.average.update_parameters(learner.model)
            losses.append(ranks.total(loss) / ranks.count)
            within.update(len(chosen))
            within.set_postfix_str(f"loss {np.mean(losses):.3f}")
        within.close()
        row = _row(epoch, losses, learner, val, config)
        state.history.append(row)
        if ranks.first:
            state.save()
        ranks.wait()
        bar.update()
        bar.set_postfix_str(f"AUC {row['val_auc']:.3f}, AP {row['val_ap']:.3f}, peak {row['val_peak']:.2f}")
    bar.close()


def _gradients(
    learner: _Learner, labels: Tensor, inputs: tuple[Tensor, ...], places: Tensor, keep: Tensor, config: FineTuneConfig
) -> float:
    """The loss of a batch, this process's part of it, whose gradients are left in the parameters.

    `labels`, `places` and `keep` are of the whole batch, `inputs` of this process's images. Where the features learn,
    the images are taken `AT_ONCE` by `AT_ONCE`, and the gradients add up.
    """
    ranks = learner.ranks
    # DDP averages the gradients of the processes, so each one's sum is divided by a part of the whole batch.
    shared, outlined = len(labels) / ranks.count, max(float(places.sum()), 1.0) / ranks.count
    fractured = max(float(places.flatten(1).any(dim=1).sum()), 1.0) / ranks.count
    mine = torch.from_numpy(ranks.part(np.arange(len(labels))))
    parts = torch.arange(len(mine)).split(AT_ONCE if config.unfreeze in WITH_IMAGES else len(mine))
    total = 0.0
    for part in parts:
        rows = mine[part]
        truth = places[rows].to(ranks.device)
        with ranks.apart(learner.step, until=part is parts[-1]):
            with autocast(ranks.device, learner.precision):
                seen = tuple(x[part].to(ranks.device) for x in inputs)
                logits, cells = learner.step(seen, keep[rows].to(ranks.device))
            loss = F.cross_entropy(logits, labels[rows].to(ranks.device), reduction="sum") / shared
            loss = loss + config.mask_loss_weight * focal_loss(cells, truth, places=outlined)
            loss = loss + config.peak_loss_weight * peak_loss(cells, truth, images=fractured)
            loss.backward()
        total += loss.item()
    return total


def _batches(
    train: _Outlined, config: FineTuneConfig, epoch: int, ranks: ProcessGroup, channels: int
) -> Iterator[tuple[NDArray[np.int64], tuple[Tensor, ...], Tensor, Tensor]]:
    """One epoch: the batch's images, this process's inputs, places (n, h, w) and dropout (n, c) of all its images.

    Chance is drawn for the whole batch, so that it does not depend on how many processes share it.
    """
    generator = torch.Generator().manual_seed(1_000_003 * config.seed + epoch)
    order = torch.randperm(len(train.images.labels), generator=generator).numpy()
    for start in range(0, len(order), config.batch):
        chosen = np.sort(order[start : start + config.batch])
        if len(chosen) < ranks.count:  # the rest of an epoch that not every process can have a part of
            return
        u = torch.rand(8, len(chosen), generator=generator)
        keep = (torch.rand(len(chosen), channels, generator=generator) >= config.dropout).float() / (1 - config.dropout)
        mine = ranks.part(np.arange(len(chosen)))
        if train.kept is not None:
            flips, truth = (u[0] < 0.5).numpy(), train.truth[chosen]
            places = torch.where(torch.from_numpy(flips)[:, None, None], truth.flip(2), truth)
            inputs = train.kept.read(chosen[mine], flips[mine].astype(int), whole=config.unfreeze == "heads")
        else:
            images = torch.from_numpy(np.ascontiguousarray(train.images.images[chosen]))
            masks = torch.from_numpy(np.ascontiguousarray(train.masks[chosen]))
            images, moved = augmented_with_masks(images, masks, u)
            places = grid_of(moved, (train.truth.shape[1], train.truth.shape[2]))
            inputs = (normalised(images[torch.from_numpy(mine)], MEAN, STD),)
        yield chosen, inputs, places, keep


def judged(
    model: LocalizingNetwork,
    images: Images,
    tune: str,
    *,
    kept: Features | None = None,
    precision: str = "float32",
    indices: NDArray[np.int64] | None = None,
    device: str = "cpu",
    batch: int = 16,
) -> tuple[Tensor, Tensor]:
    """Logits (n, 2) and marks (n, h, w) of images as they are, from their kept features where there are any."""
    indices = np.arange(len(images.labels)) if indices is None else indices
    step = Step(model.eval(), tune)
    logits, cells = [], []
    for start in range(0, len(indices), batch):
        chosen = indices[start : start + batch]
        inputs: tuple[Tensor, ...]
        if kept is not None:
            inputs = kept.read(chosen, np.zeros(len(chosen), np.int64), whole=tune == "heads")
        else:
            inputs = (normalised(torch.from_numpy(np.ascontiguousarray(images.images[chosen])), MEAN, STD),)
        with torch.inference_mode(), autocast(device, precision):
            found = step(tuple(x.to(device) for x in inputs))
        logits.append(found[0].cpu())
        cells.append(found[1].cpu())
    return torch.cat(logits), torch.cat(cells)


def _row(
    epoch: int, losses: list[float], learner: _Learner, val: _Outlined | None, config: FineTuneConfig
) -> dict[str, float]:
    """What an epoch came to, judged on `val`, if there is any, by all processes together."""
    row = {"epoch": epoch + 1, "train_loss": float(np.mean(losses))}
    if val is None:
        require_finite(epoch, losses, np.zeros((0, 2)), rate=config.learning_rate)
        return row | dict.fromkeys(("val_loss", "val_auc", "val_ap", "val_peak"), float("nan"))
    model, ranks, labels, truth = learner.average.module, learner.ranks, val.images.labels, val.truth
    assert isinstance(model, LocalizingNetwork)
    found = judged(
        model, val.images, config.unfreeze, kept=val.kept, precision=learner.precision,
        indices=ranks.part(np.arange(len(labels))), device=ranks.device,
    )  # fmt: skip
    logits, cells = (torch.from_numpy(ranks.gathered(x.numpy())) for x in found)
    require_finite(epoch, losses, logits.numpy(), rate=config.learning_rate)
    scores = scores_from_logits(logits.double().numpy())
    outlined = truth.flatten(1).any(dim=1)
    return row | {
        "val_loss": float(F.cross_entropy(logits, torch.from_numpy(labels))),
        "val_auc": roc_auc(labels, scores),
        "val_ap": average_precision(labels, scores),
        "val_peak": peak_hits(cells[outlined], truth[outlined]) if outlined.any() else float("nan"),
    }
