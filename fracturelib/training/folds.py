"""Cross-validation by patient: each image is scored by a network that never met its patient, then one learns from all.

One split of a few hundred images says little, and a split that was looked at for every decision says too much. Here
each fold in turn is the test of a whole training of its own, which takes its validation images from the rest (Varma &
Simon 2006, doi 10.1186/1471-2105-7-91). The last network learns from all images, and is calibrated by the scores that
the others gave.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.model_selection import StratifiedGroupKFold

from fracturelib._io.files import InputError
from fracturelib._io.tables import read_table, write_table
from fracturelib.data.dataset import fingerprint, load_manifest, require_both_classes
from fracturelib.data.images import load_images
from fracturelib.data.labels import CLASSES
from fracturelib.data.predictions import read_predictions
from fracturelib.metrics.bootstrap import group_bootstrap, rate_at
from fracturelib.metrics.classification import average_precision, roc_auc
from fracturelib.metrics.intervals import Interval
from fracturelib.models.classifier import load_classifier
from fracturelib.training.config import FineTuneConfig, TrainConfig, best_epoch
from fracturelib.training.distributed import ProcessGroup
from fracturelib.training.features import Features
from fracturelib.training.finetune import begun_from, kept_features
from fracturelib.training.runs import (
    HISTORY_FILE,
    MODEL_FILE,
    PREDICTIONS_FILE,
    Recipe,
    Run,
    fitted,
    leave,
    print_unreadable,
    require_empty,
    require_one_split_each,
    scored,
    trained,
)
from fracturelib.training.train import Images, calibrated_by, with_familiarity

FOLDS_FILE = "folds.csv"
INNER = 8  # a fold's validation images are one in so many of those that are not its test
SATURATED = 1e-15  # a score nearer to 0 or 1 is taken as if it were so near


@dataclass(frozen=True)
class CrossValidation:
    """A finished cross-validation.

    Attributes
    ----------
    run : Run
        The network that learnt from all images. Its predictions are those of the folds, as split "val", with columns
        fold and decision (at the threshold that the fold's own training chose), and its own of test.
    figures : dict
        Figures out of fold with intervals by patient: AUC, average precision, sensitivity, specificity.
    """

    run: Run
    figures: dict[str, Interval]


@dataclass(frozen=True)
class _Pool:
    """All images to learn from, decoded, and the fold that each is tested in."""

    folder: Path
    frame: pd.DataFrame  # of the images of train and val
    images: NDArray[np.uint8]
    fold: NDArray[np.int64]  # (n,) of 1, 2, ...
    features: Features | None  # where they stay as they are

    def splits(self, fold: int, seed: int) -> NDArray[np.str_]:
        """Of each image in the training of a fold: (n,) of train, val, test."""
        split = np.where(self.fold == fold, "test", "train").astype("<U5")
        rest = np.flatnonzero(split == "train")
        parts = folds_by_patient(self.frame.iloc[rest], INNER, seed + fold)
        split[rest[parts == 1]] = "val"
        return split


def folds_by_patient(frame: pd.DataFrame, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each image, 1 to `folds`, a patient's in one, each class shared out alike: (n,) int64.

    Raises
    ------
    InputError
        If there are too few patients for both classes in each fold.
    """
    result = np.zeros(len(frame), np.int64)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    patients = frame.groupby("label")["group"].nunique()
    if patients.min() >= folds:
        for i, (_, held) in enumerate(splitter.split(frame["file"], frame["label"], frame["group"])):
            result[held] = i + 1
    if any(frame.loc[result == i + 1, "label"].nunique() < 2 for i in range(folds)):
        counts = f"{patients.get(1, 0)} patients with a fracture and {patients.get(0, 0)} with an image without one"
        raise InputError(f"{counts}; expected enough for both in each of {folds} folds")
    return result


def train_folds(
    folder: Path,
    out: Path,
    config: TrainConfig | FineTuneConfig,
    *,
    folds: int = 5,
    only: int | None = None,
    start: Path | None = None,
    attribution: str = "",
    ranks: ProcessGroup | None = None,
    progress: bool = True,
) -> CrossValidation | None:
    """Train once for each fold, then once on everything, and leave in `out` what `train_folder` leaves.

    The images of train and val are shared out anew; those of test stay apart. Each fold has its run in `fold-1`,
    `fold-2`, ...; what is done is not done again, and a run that was interrupted goes on.

    Parameters
    ----------
    folds : int
        2 to 20.
    only : int, optional
        Train this fold alone, and leave the rest to others: where there are several machines, or cores to spare.
    config, start, attribution, ranks, progress
        As `train_folder`.

    Returns
    -------
    CrossValidation or None
        None after `only`.

    Raises
    ------
    InputError
        As `train_folder`; if there are too few patients, or `out` belongs to other folds.
    """
    if not 2 <= folds <= 20:
        raise InputError(f"folds is {folds}; expected 2 to 20")
    if only is not None and not 1 <= only <= folds:
        raise InputError(f"fold is {only}; expected 1 to {folds}")
    recipe = Recipe.of(config, start, attribution, ranks or ProcessGroup(), progress)
    _require_folds_folder(out)
    frame = _frame(folder)
    learnt = frame[frame["split"] != "test"].reset_index(drop=True)
    number = folds_by_patient(learnt, folds, config.seed)
    if recipe.ranks.first:
        print_unreadable(frame)
        _begin(out, learnt, number)
    pool = _pool(folder, learnt, number, recipe)
    parts = []
    for fold in [only] if only else range(1, folds + 1):
        if progress and recipe.ranks.first:
            print(f"fold {fold} of {folds}", flush=True)
        parts.append(_fold(pool, fold, out / f"fold-{fold}", recipe))
    if only:
        return None
    run = _taught_on_all(pool, frame[frame["split"] == "test"], parts, out, recipe)
    return CrossValidation(run, _figures(run.predictions))


@dataclass(frozen=True)
class _Part:
    """What a fold's training found of its test images."""

    predictions: pd.DataFrame
    temperature: float
    epochs: int  # after which its network was kept


def _require_folds_folder(out: Path) -> None:
    if not (out / FOLDS_FILE).is_file():
        require_empty(out, f"has no {FOLDS_FILE}, so it is not the folder of a cross-validation that could go on")


def _frame(folder: Path) -> pd.DataFrame:
    """The manifest of a folder with images to share out, both classes among them."""
    frame = load_manifest(folder)
    require_both_classes(frame[frame["split"] != "test"], str(folder))
    frame["split"] = frame["split"].where(frame["split"] == "test", "train")
    require_one_split_each(folder, frame)
    return frame


def _begin(out: Path, learnt: pd.DataFrame, number: NDArray[np.int64]) -> None:
    """Write which image is in which fold, or see that it is as before."""
    table = learnt[["file", "label", "group"]].assign(fold=number)
    path = out / FOLDS_FILE
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        write_table(table, path)
        return
    before = read_table(path)
    if before.astype(str).to_dict("list") != table.astype(str).to_dict("list"):
        raise InputError(f"{path}: holds other images or folds; expected those of now, or another output folder")


def _pool(folder: Path, learnt: pd.DataFrame, number: NDArray[np.int64], recipe: Recipe) -> _Pool:
    config, ranks = recipe.config, recipe.ranks
    if not ranks.first:
        ranks.wait()
    images = load_images(folder, list(learnt["file"]), size=config.size, progress=recipe.progress and ranks.first)
    if ranks.first:
        ranks.wait()
    features = None
    if isinstance(config, FineTuneConfig):
        everything = {"all": Images(images, np.array(learnt["label"], np.int64))}
        network = begun_from(config, recipe.network())
        features = kept_features(network, everything, config.unfreeze, ranks, progress=recipe.progress).get("all")
    return _Pool(folder, learnt, images, number, features)


def _fold(pool: _Pool, fold: int, out: Path, recipe: Recipe) -> _Part:
    """The training of a fold, or what it left."""
    split = pool.splits(fold, recipe.config.seed)
    frame = pool.frame.assign(split=split)
    if not (out / MODEL_FILE).is_file():
        rows = {name: np.flatnonzero(split == name) for name in ("train", "val", "test")}
        kept = None if pool.features is None else {n: pool.features.of(rows[n]) for n in ("train", "val")}
        images = {name: pool.images[chosen] for name, chosen in rows.items()}
        trained(pool.folder, frame, images, out, recipe, kept=kept)
        recipe.ranks.wait()
    classifier = load_classifier(out / MODEL_FILE)
    expected = fingerprint(frame), asdict(recipe.config), recipe.start
    if (classifier.fingerprint, classifier.extra.get("config"), classifier.extra.get("start")) != expected:
        raise InputError(f"{out}: was trained on other images or by other settings; expected another output folder")
    scores = read_predictions(out / PREDICTIONS_FILE)
    scores = scores[scores["split"] == "test"]
    table = scores.assign(split="val", fold=fold, decision=classifier.decide(scores["score"].to_numpy()))
    history = read_table(out / HISTORY_FILE).astype(float)
    epochs = len(history)
    if isinstance(recipe.config, TrainConfig):
        epochs = best_epoch(list(history["val_auc"]), list(history["val_loss"])) + 1
    return _Part(table, classifier.temperature, epochs)


def uncalibrated(scores: pd.DataFrame, temperature: Mapping[int, float]) -> NDArray[np.float64]:
    """Logits (n, 2) as they were before the temperature of each score's fold; of score and fold only."""
    evidence = logit(scores["score"].clip(SATURATED, 1 - SATURATED)) * scores["fold"].map(temperature)
    return np.stack([np.zeros(len(scores)), evidence], axis=1)


def _taught_on_all(pool: _Pool, test: pd.DataFrame, parts: list[_Part], out: Path, recipe: Recipe) -> Run:
    """The network that learns from all images, as long as the folds' did, calibrated by their scores."""
    tables = pd.concat([part.predictions for part in parts], ignore_index=True)
    tables = tables.set_index("file").loc[list(pool.frame["file"])].reset_index()
    logits = uncalibrated(tables, {i + 1: part.temperature for i, part in enumerate(parts)})
    frame = pool.frame.assign(split="train")
    kept = None if pool.features is None else {"train": pool.features}
    until = int(np.median([part.epochs for part in parts]))
    classifier, history = fitted(pool.folder, frame, {"train": pool.images}, out, recipe, kept=kept, until=until)
    classifier = calibrated_by(classifier, logits, tables["label"].to_numpy(np.int64))
    classifier = replace(classifier, extra=classifier.extra | {"folds": len(parts)})
    classifier = with_familiarity(classifier, pool.images, pool.images[::INNER])
    if len(test):
        images = load_images(pool.folder, list(test["file"]), size=recipe.config.size)
        own = scored(classifier, test.reset_index(drop=True), images)
        own["decision"] = classifier.decide(own["score"].to_numpy())
        tables = pd.concat([tables, own], ignore_index=True)
    run = Run(out, classifier, history, tables.astype({"fold": "Int64"}))
    if recipe.ranks.first:
        leave(run, recipe.config)
    return run


def _figures(predictions: pd.DataFrame) -> dict[str, Interval]:
    """What the folds' networks are worth on images of patients whom they never met, at thresholds of their own."""
    held = predictions[predictions["fold"].notna()]
    y, group = held["label"].to_numpy(), list(held["group"])
    predicted = (held["decision"] == CLASSES[1]).to_numpy(float)
    figures = {
        "AUC": group_bootstrap(roc_auc, y, held["score"], group),
        "average precision": group_bootstrap(average_precision, y, held["score"], group),
    }
    rates = {name: group_bootstrap(rate_at(name, 0.5), y, predicted, group) for name in ("sensitivity", "specificity")}
    return figures | rates
