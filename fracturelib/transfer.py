"""Transfer learning on frozen features: computed once and kept, so that the heads train in seconds an epoch."""

import copy
import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from fracturelib._files import InputError, atomic_path, cache_dir
from fracturelib.checkpoint import Classifier, normalised, scores_from_logits
from fracturelib.lite import CHANNELS
from fracturelib.metrics import average_precision, roc_auc
from fracturelib.recipe import TransferRecipe, best_epoch
from fracturelib.taught import FINE, TaughtLite0, focal_loss, grid_of, with_imagenet
from fracturelib.train import Films, calibrated

MEAN = STD = 0.5  # of the input of the ImageNet weights
FEATURES_VERSION = 1


@dataclass(frozen=True)
class Features:
    """Frozen features of films, as they are and mirrored.

    Attributes
    ----------
    fine : (2, n, 112, g, g) float16
    whole : (2, n, 1280) float32
    """

    fine: NDArray[np.float16]
    whole: NDArray[np.float32]


def frozen_features(model: TaughtLite0, images: NDArray[np.uint8], *, progress: bool = False) -> Features:
    """The features of films, from the cache if they were computed before: (n, size, size) uint8.

    The cache's name depends on the films and on the weights.
    """
    key = hashlib.blake2b(f"{FEATURES_VERSION} {images.shape}".encode(), digest_size=12)
    for film in images:
        key.update(film)
    for name, value in model.state_dict().items():
        if name.startswith("stage"):
            key.update(value.numpy().tobytes())
    grid = images.shape[1] // 16
    found = []
    for mirrored in (0, 1):
        paths = [cache_dir() / f"features-{key.hexdigest()}-{mirrored}-{part}.npy" for part in ("fine", "whole")]
        if not all(path.is_file() for path in paths):
            _compute(model, images, bool(mirrored), paths, grid, progress)
        found.append([np.load(path, mmap_mode="r") for path in paths])
    return Features(_Stack([f[0] for f in found]), np.stack([f[1] for f in found]))  # type: ignore[arg-type]


class _Stack:
    """Two arrays on disk as one, without copying them."""

    def __init__(self, parts: list[NDArray[np.float16]]) -> None:
        self.parts = parts
        self.shape = (len(parts), *parts[0].shape)

    def __getitem__(self, index: int) -> NDArray[np.float16]:
        return self.parts[index]


def _compute(
    model: TaughtLite0, images: NDArray[np.uint8], mirrored: bool, paths: list, grid: int, progress: bool
) -> None:
    model = model.eval().to(memory_format=torch.channels_last)
    with atomic_path(paths[0]) as first, atomic_path(paths[1]) as second:
        fine = np.lib.format.open_memmap(first, "w+", np.float16, (len(images), FINE, grid, grid))
        whole = np.lib.format.open_memmap(second, "w+", np.float32, (len(images), CHANNELS))
        bar = tqdm(total=len(images), desc="features", unit="film", disable=not progress)
        for start in range(0, len(images), 8):
            films = torch.from_numpy(np.ascontiguousarray(images[start : start + 8]))
            with torch.inference_mode():
                x = normalised(films.flip(2) if mirrored else films, MEAN, STD)
                some_fine, some_whole = model.features(x)
            fine[start : start + 8], whole[start : start + 8] = some_fine.half().numpy(), some_whole.numpy()
            bar.update(len(films))
        bar.close()
        for array in (fine, whole):
            array.flush()
        del fine, whole


def judged(model: TaughtLite0, features: Features, *, batch: int = 64) -> tuple[Tensor, Tensor]:
    """Logits (n, 2) and marks (n, g, g) of films as they are, from their features."""
    model.eval()
    logits, marks = [], []
    for start in range(0, len(features.whole[0]), batch):
        part = slice(start, start + batch)
        with torch.inference_mode():
            fine = torch.from_numpy(np.ascontiguousarray(features.fine[0][part], dtype=np.float32))
            found = model.judge(fine, torch.from_numpy(features.whole[0][part]))
        logits.append(found[0])
        marks.append(found[1])
    return torch.cat(logits), torch.cat(marks)


def peak_hits(marks: Tensor, truth: Tensor) -> float:
    """Share of films whose strongest place holds a part of the fracture: two (n, g, g) -> 0..1."""
    best = marks.flatten(1).argmax(dim=1)
    return float(truth.flatten(1)[torch.arange(len(truth)), best].mean())


def fit_heads(
    train: Films,
    val: Films,
    train_masks: NDArray[np.uint8],
    val_masks: NDArray[np.uint8],
    recipe: TransferRecipe,
    *,
    model: TaughtLite0 | None = None,
    progress: bool = True,
) -> tuple[TaughtLite0, pd.DataFrame]:
    """Train the class head and the head that marks, on frozen features, with labels and outlines at once.

    Parameters
    ----------
    train, val : Films
        Images (n, size, size) uint8 and labels.
    train_masks, val_masks : (n, size, size) uint8 of 0 and 1
        Empty for a film without a fracture.
    recipe : TransferRecipe
    model : TaughtLite0, optional
        With the features to use; ImageNet's if not given.
    progress : bool

    Returns
    -------
    model : TaughtLite0
        In evaluation mode, as it was after the epoch of the best validation AUC.
    history : DataFrame
        epoch, train_loss, val_loss, val_auc, val_ap, val_peak (share of outlined films whose peak is right).
    """
    if recipe.size % 32:
        raise InputError(f"size is {recipe.size}; expected a multiple of 32")
    if model is None:
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            model = with_imagenet(TaughtLite0())
    model = model.to(memory_format=torch.channels_last)  # from the start, so that a cached run gives the same bits
    grid = (recipe.size // 16, recipe.size // 16)
    features, val_features = (frozen_features(model, f.images, progress=progress) for f in (train, val))
    truth = np.concatenate([grid_of(torch.from_numpy(np.ascontiguousarray(m[None])), grid) for m in train_masks])
    val_truth = torch.cat([grid_of(torch.from_numpy(np.ascontiguousarray(m[None])), grid) for m in val_masks])
    outlined = val_truth.flatten(1).any(dim=1)
    steps = recipe.epochs * -(-len(train.labels) // recipe.batch)
    optimizer = torch.optim.AdamW(model.heads(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.learning_rate, total_steps=steps)
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    before = torch.random.get_rng_state()
    bar = tqdm(total=recipe.epochs, desc="training", unit="epoch", disable=not progress)
    for epoch in range(recipe.epochs):
        generator = torch.Generator().manual_seed(1_000_003 * recipe.seed + epoch)
        order = torch.randperm(len(train.labels), generator=generator).numpy()
        mirrored = torch.rand(len(order), generator=generator).numpy() < 0.5
        model.train()
        torch.manual_seed(1_000_003 * recipe.seed + epoch)  # of dropout; the caller's state comes back below
        losses = []
        for start in range(0, len(order), recipe.batch):
            chosen = np.sort(order[start : start + recipe.batch])
            flips = mirrored[chosen].astype(int)
            fine = np.stack([features.fine[f][i] for f, i in zip(flips, chosen, strict=True)]).astype(np.float32)
            places = np.stack([truth[i][:, ::-1] if f else truth[i] for f, i in zip(flips, chosen, strict=True)])
            whole = features.whole[flips, chosen]
            logits, marks = model.judge(torch.from_numpy(fine), torch.from_numpy(whole))
            loss = F.cross_entropy(logits, torch.from_numpy(train.labels[chosen]))
            loss = loss + recipe.where * focal_loss(marks, torch.from_numpy(np.ascontiguousarray(places)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            cycle.step()
            losses.append(loss.item())
        logits, marks = judged(model, val_features)
        scores = scores_from_logits(logits.double().numpy())
        row = {
            "epoch": epoch + 1,
            "train_loss": float(np.mean(losses)),
            "val_loss": float(F.cross_entropy(logits, torch.from_numpy(val.labels))),
            "val_auc": roc_auc(val.labels, scores),
            "val_ap": average_precision(val.labels, scores),
            "val_peak": peak_hits(marks[outlined], val_truth[outlined]) if outlined.any() else float("nan"),
        }
        history.append(row)
        if best_epoch([r["val_auc"] for r in history], [r["val_loss"] for r in history]) == epoch:
            best = copy.deepcopy(model.state_dict())
        bar.update()
        bar.set_postfix_str(f"AUC {row['val_auc']:.3f}, AP {row['val_ap']:.3f}, peak {row['val_peak']:.2f}")
    bar.close()
    torch.random.set_rng_state(before)
    model.load_state_dict(best)
    return model.eval(), pd.DataFrame(history)


def fit_taught(
    train: Films,
    val: Films,
    train_masks: NDArray[np.uint8],
    val_masks: NDArray[np.uint8],
    recipe: TransferRecipe,
    *,
    fingerprint: str = "",
    progress: bool = True,
) -> tuple[Classifier, pd.DataFrame]:
    """As `fit_heads`, and a classifier with temperature and thresholds chosen on `val`."""
    model, history = fit_heads(train, val, train_masks, val_masks, recipe, progress=progress)
    classifier = calibrated(model, recipe, val, mean=MEAN, std=STD, fingerprint=fingerprint)
    return classifier, history.astype({"epoch": int})
