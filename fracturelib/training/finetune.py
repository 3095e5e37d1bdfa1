"""Teaching a pretrained network whether and where: one loop, for the heads alone or for the features with them."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from fracturelib._io.files import InputError, atomic_path
from fracturelib.metrics.classification import average_precision, roc_auc
from fracturelib.models.classifier import Classifier, load_payload, normalised, scores_from_logits
from fracturelib.models.efficientnet_lite import CHANNELS
from fracturelib.models.localizer import UNFREEZE, LocalizingEfficientNet, free, with_imagenet_weights
from fracturelib.training.augment import augmented_with_masks
from fracturelib.training.config import FineTuneConfig
from fracturelib.training.distributed import ProcessGroup
from fracturelib.training.features import MEAN, STD, Features, frozen_features
from fracturelib.training.losses import focal_loss, grid_of, peak_hits, peak_loss
from fracturelib.training.train import (
    STATE_FILE,
    Images,
    begun_with,
    calibrated,
    readable_state,
    require_finite,
    require_same_training,
)

STATE_FORMAT = "fracturelib fine-tuning state"
STATE_VERSION = 1


class Step(nn.Module):
    """From what is kept of an image, or from the image itself, to logits, of it and of its cells: the part that learns.

    Its input depends on `config.unfreeze`: middle, fine and whole features for "heads"; middle and fine for "last";
    normalised images (n, 1, s, s) for "most" and "all".
    """

    def __init__(self, model: LocalizingEfficientNet, tune: str) -> None:
        super().__init__()
        self.model, self.tune = model, tune

    def forward(self, inputs: tuple[Tensor, ...], keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        model = self.model
        if self.tune == "heads":
            middle, fine, whole = inputs
        elif self.tune == "last":
            middle, fine = inputs
            whole = model.whole(fine)
        elif self.tune == "most":
            with torch.no_grad():
                early = model.stage1(inputs[0].expand(-1, 3, -1, -1))
            middle = model.stage2(early)
            fine = model.stage3(middle)
            whole = model.whole(fine)
        else:
            middle, fine, whole = model.features(inputs[0])
        logits, cells = model.judge(middle, fine, whole, keep=keep)
        return logits.float(), cells.float()


def resolved_precision(precision: str) -> str:
    """ "auto" as what this processor does fastest.

    Raises
    ------
    InputError
        If there is no precision of that name.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise InputError(f"precision is {precision!r}; expected auto, float32 or bfloat16")
    if precision != "auto":
        return precision
    capable = torch.cpu.get_capabilities()
    fast = capable.get("avx512_bf16") or capable.get("amx_bf16") or capable.get("bf16")
    return "bfloat16" if fast or torch.cuda.is_available() else "float32"


def fit_localizer(
    train: Images,
    val: Images,
    train_masks: NDArray[np.uint8],
    val_masks: NDArray[np.uint8],
    config: FineTuneConfig,
    *,
    model: LocalizingEfficientNet | None = None,
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
    train, val : Images
        Images (n, size, size) uint8 and labels.
    train_masks, val_masks : (n, size, size) uint8 of 0 and 1
        Empty for an image without a fracture.
    config : FineTuneConfig
    model : LocalizingEfficientNet, optional
        Where to begin; with ImageNet's features and new heads if not given. It is changed.
    kept : dict, optional
        The frozen features of `train` and `val`, by these names, where they are known already.
    out : Path, optional
        Folder for `state.pt`, written after each epoch; a training goes on from it.
    ranks : ProcessGroup, optional
        The processes that train together; each gives its part of the gradients.
    fingerprint : str
        Of the data; kept in the checkpoint, and a state of other data is refused.
    progress : bool

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
    if config.size % 32:
        raise InputError(f"size is {config.size}; expected a multiple of 32")
    if config.unfreeze not in UNFREEZE:
        raise InputError(f"unfreeze is {config.unfreeze!r}; expected one of {', '.join(UNFREEZE)}")
    ranks = ranks or ProcessGroup()
    signature = begun_with(config, fingerprint, None if model is None else model.state_dict())
    if model is None:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            model = with_imagenet_weights(LocalizingEfficientNet())
    model = model.to(memory_format=torch.channels_last)  # from the start, so that a cached run gives the same bits
    heads, tuned = free(model, config.unfreeze)
    groups = [{"params": heads, "lr": config.learning_rate}]
    rates = [config.learning_rate]
    if tuned:
        groups.append({"params": tuned, "lr": config.features_rate})
        rates.append(config.features_rate)

    kept = dict(kept or {})
    if config.unfreeze in ("heads", "last") and not kept:
        for name, images in (("train", train), ("val", val)):
            if ranks.first:
                frozen_features(model, images.images, progress=progress)
            ranks.wait()
            kept[name] = frozen_features(model, images.images)
    model = model.to(ranks.device)
    grid = (config.size // 8, config.size // 8)
    truth = torch.cat([grid_of(torch.from_numpy(np.ascontiguousarray(m[None])), grid) for m in train_masks])
    val_truth = torch.cat([grid_of(torch.from_numpy(np.ascontiguousarray(m[None])), grid) for m in val_masks])

    precision = resolved_precision(config.precision)
    step = ranks.joined(Step(model, config.unfreeze))
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay)
    steps = config.epochs * -(-len(train.labels) // config.batch)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
    parts = {"model": model, "average": average, "optimizer": optimizer, "cycle": cycle}
    signature["precision"] = precision
    history: list[dict[str, float]] = []
    state = None if out is None else out / STATE_FILE
    if state is not None and state.is_file():
        history = _restored(state, parts, signature)

    talks = progress and ranks.first
    bar = tqdm(total=config.epochs, initial=len(history), desc="training", unit="epoch", disable=not talks)
    for epoch in range(len(history), config.epochs):
        losses = []
        within = tqdm(total=len(train.labels), desc=f"epoch {epoch + 1}", unit="image", leave=False, disable=not talks)
        for chosen, inputs, places, keep in _batches(train, train_masks, truth, kept, config, epoch, ranks):
            mine = torch.from_numpy(ranks.part(np.arange(len(chosen))))
            labels = torch.from_numpy(train.labels[chosen])[mine].to(ranks.device)
            # DDP averages the gradients of the processes, so each one's sum is divided by a part of the whole batch.
            shared, outlined = len(chosen) / ranks.count, max(float(places.sum()), 1.0) / ranks.count
            fractured = max(float(places.flatten(1).any(dim=1).sum()), 1.0) / ranks.count
            places = places[mine].to(ranks.device)
            with torch.autocast(ranks.device.split(":")[0], torch.bfloat16, enabled=precision == "bfloat16"):
                logits, cells = step(tuple(x.to(ranks.device) for x in inputs), keep[mine].to(ranks.device))
            loss = F.cross_entropy(logits, labels, reduction="sum") / shared
            loss = loss + config.mask_loss_weight * focal_loss(cells, places, places=outlined)
            loss = loss + config.peak_loss_weight * peak_loss(cells, places, images=fractured)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
            average.update_parameters(model)
            losses.append(ranks.total(loss.item()) / ranks.count)
            within.update(len(chosen))
            within.set_postfix_str(f"loss {np.mean(losses):.3f}")
        within.close()
        history.append(_row(epoch, losses, average.module, config, precision, val, val_truth, kept.get("val"), ranks))
        if state is not None and ranks.first:
            _save(state, parts, signature, history)
        ranks.wait()
        bar.update()
        row = history[-1]
        bar.set_postfix_str(f"AUC {row['val_auc']:.3f}, AP {row['val_ap']:.3f}, peak {row['val_peak']:.2f}")
    bar.close()
    model.load_state_dict(copy.deepcopy(average.module.state_dict()))
    for p in model.parameters():
        p.requires_grad_(True)
    classifier = calibrated(model.cpu().eval(), config, val, mean=MEAN, std=STD, fingerprint=fingerprint)
    return classifier, pd.DataFrame(history).astype({"epoch": int})


def _batches(
    train: Images,
    masks: NDArray[np.uint8],
    truth: Tensor,
    kept: dict[str, Features],
    config: FineTuneConfig,
    epoch: int,
    ranks: ProcessGroup,
) -> Iterator[tuple[NDArray[np.int64], tuple[Tensor, ...], Tensor, Tensor]]:
    """One epoch: the batch's images, this process's inputs, the whole batch's places (n, h, w) and dropout (n, 1280).

    Chance is drawn for the whole batch, so that it does not depend on how many processes share it.
    """
    generator = torch.Generator().manual_seed(1_000_003 * config.seed + epoch)
    order = torch.randperm(len(train.labels), generator=generator).numpy()
    for start in range(0, len(order), config.batch):
        chosen = np.sort(order[start : start + config.batch])
        if len(chosen) < ranks.count:  # the rest of an epoch that not every process can have a part of
            return
        u = torch.rand(8, len(chosen), generator=generator)
        keep = (torch.rand(len(chosen), CHANNELS, generator=generator) >= config.dropout).float() / (1 - config.dropout)
        if "train" in kept:
            flips = (u[0] < 0.5).numpy()
            places = torch.where(torch.from_numpy(flips)[:, None, None], truth[chosen].flip(2), truth[chosen])
            mine = ranks.part(np.arange(len(chosen)))
            some, mirrored = chosen[mine], flips[mine].astype(int)
            yield chosen, _read(kept["train"], some, mirrored, config.unfreeze), places, keep
        else:
            images = torch.from_numpy(np.ascontiguousarray(train.images[chosen]))
            images, moved = augmented_with_masks(images, torch.from_numpy(np.ascontiguousarray(masks[chosen])), u)
            places = grid_of(moved, (truth.shape[1], truth.shape[2]))
            mine = ranks.part(np.arange(len(chosen)))
            yield chosen, (normalised(images[torch.from_numpy(mine)], MEAN, STD),), places, keep


def _read(features: Features, images: NDArray[np.int64], mirrored: NDArray[np.int64], tune: str) -> tuple[Tensor, ...]:
    """Kept features of some images, each as it is (0) or mirrored (1), as float32."""
    parts = [features.middle, features.fine] + ([features.whole] if tune == "heads" else [])
    return tuple(
        torch.from_numpy(np.stack([pair[m][i] for m, i in zip(mirrored, images, strict=True)]).astype(np.float32))
        for pair in parts
    )


def judged(
    model: LocalizingEfficientNet,
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
            inputs = _read(kept, chosen, np.zeros(len(chosen), np.int64), tune)
        else:
            inputs = (normalised(torch.from_numpy(np.ascontiguousarray(images.images[chosen])), MEAN, STD),)
        with (
            torch.inference_mode(),
            torch.autocast(device.split(":")[0], torch.bfloat16, enabled=precision == "bfloat16"),
        ):
            found = step(tuple(x.to(device) for x in inputs))
        logits.append(found[0].cpu())
        cells.append(found[1].cpu())
    return torch.cat(logits), torch.cat(cells)


def _row(
    epoch: int,
    losses: list[float],
    model: nn.Module,
    config: FineTuneConfig,
    precision: str,
    val: Images,
    truth: Tensor,
    kept: Features | None,
    ranks: ProcessGroup,
) -> dict[str, float]:
    """What an epoch came to, judged on `val` by all processes together."""
    assert isinstance(model, LocalizingEfficientNet)
    mine = ranks.part(np.arange(len(val.labels)))
    found = judged(model, val, config.unfreeze, kept=kept, precision=precision, indices=mine, device=ranks.device)
    logits, cells = (torch.from_numpy(ranks.gathered(x.numpy())) for x in found)
    require_finite(epoch, losses, logits.numpy(), rate=config.learning_rate)
    scores = scores_from_logits(logits.double().numpy())
    outlined = truth.flatten(1).any(dim=1)
    return {
        "epoch": epoch + 1,
        "train_loss": float(np.mean(losses)),
        "val_loss": float(F.cross_entropy(logits, torch.from_numpy(val.labels))),
        "val_auc": roc_auc(val.labels, scores),
        "val_ap": average_precision(val.labels, scores),
        "val_peak": peak_hits(cells[outlined], truth[outlined]) if outlined.any() else float("nan"),
    }


def _save(path: Path, parts: dict[str, Any], signature: dict[str, Any], history: list[dict[str, float]]) -> None:
    payload = {name: part.state_dict() for name, part in parts.items()}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(
            {
                "format": STATE_FORMAT, "format_version": STATE_VERSION, "signature": signature, "history": history,
                **payload,
            },
            file,
        )  # fmt: skip


def _restored(path: Path, parts: dict[str, Any], signature: dict[str, Any]) -> list[dict[str, float]]:
    with readable_state(path):
        payload = load_payload(path, expected=STATE_FORMAT, version=STATE_VERSION)
        require_same_training(path.parent, dict(payload["signature"]), signature)
        for name, part in parts.items():
            part.load_state_dict(payload[name])
        return list(payload["history"])
