"""Cross-validation by patient: each image is scored by a network that never met its patient, then one learns from all.

One split of a few hundred images says little, and a split that was looked at for every decision says too much. Here
each fold in turn is the test of a whole training of its own, which takes its validation images from the rest (Varma &
Simon 2006, doi 10.1186/1471-2105-7-91). The last network learns from all images, and is calibrated by the scores that
the others gave.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.model_selection import StratifiedGroupKFold

from fracturelib._io.files import InputError
from fracturelib._io.tables import read_table, table_text, write_table
from fracturelib._io.words import words_of
from fracturelib.data.dataset import fingerprint, load_manifest, require_both_classes
from fracturelib.data.predictions import read_predictions
from fracturelib.metrics.bootstrap import group_bootstrap, rate_at
from fracturelib.metrics.classification import average_precision, roc_auc
from fracturelib.metrics.intervals import Interval
from fracturelib.models.classifier import Classifier, load_classifier
from fracturelib.training.closer_look import FOLDER, Looks, weighed
from fracturelib.training.config import FineTuneConfig, StudyConfig, TrainConfig, best_epoch
from fracturelib.training.distributed import ProcessGroup
from fracturelib.training.features import Features
from fracturelib.training.finetune import begun_from, kept_features
from fracturelib.training.runs import (
    HISTORY_FILE,
    LONGEST_ATTRIBUTION,
    MODEL_FILE,
    NEEDS_REGIONS,
    PREDICTIONS_FILE,
    Recipe,
    Run,
    fitted,
    leave,
    print_unreadable,
    read_images,
    require_empty,
    require_no_leak,
    require_noun,
    require_one_split_each,
    require_regions,
    scored,
    trained,
)
from fracturelib.training.soup import Soup
from fracturelib.training.train import SATURATED, Images, calibrated_by, with_familiarity_by_folds, with_regions

FOLDS_FILE = "folds.csv"
INNER = 8  # a fold's validation images are one in so many of those that are not its test
LOOKS = ("first_look", "closer_look")  # columns of what a closer look leaves


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
    """All images to learn from, decoded, and what each is in each fold."""

    folder: Path
    frame: pd.DataFrame  # of the images of train and val
    images: NDArray[np.uint8]
    features: Features | None  # where they stay as they are
    splits: list[NDArray[np.str_]]  # of each image in the training of each fold: (n,) of train, val, test


def folds_by_patient(frame: pd.DataFrame, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each image, 1 to `folds`, a patient's in one, each class shared out alike: (n,) int64.

    All are in fold 0 if there are fewer patients than folds.
    """
    result = np.zeros(len(frame), np.int64)
    if frame["group"].nunique() < folds or frame["label"].value_counts().max() < folds:
        return result
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class rarer than the folds is shared out as well as it can be
        for i, (_, held) in enumerate(splitter.split(frame["file"], frame["label"], frame["group"])):
            result[held] = i + 1
    return result


def splits_of_folds(folder: Path, frame: pd.DataFrame, folds: int, seed: int) -> list[NDArray[np.str_]]:
    """For each fold, the split of each image in its training: (n,) of train, val, test, a patient in one of them.

    Its validation images are one part of `INNER` of those that are not its test; of fewer, where patients are few.

    Raises
    ------
    InputError
        If there are too few patients for both classes in each split of each fold.
    """
    number, label = folds_by_patient(frame, folds, seed), frame["label"].to_numpy()
    found = []
    for fold in range(1, folds + 1):
        split = np.where(number == fold, "test", "train").astype("<U5")
        rest = np.flatnonzero(split == "train")
        for inner in range(INNER, 1, -1):
            parts = folds_by_patient(frame.iloc[rest], inner, seed + fold)
            both = [p for p in range(1, inner + 1) if len(set(label[rest[parts == p]])) == 2]
            if len(both) > 1:
                split[rest[parts == both[0]]] = "val"
                break
        if any(len(set(label[split == name])) < 2 for name in ("train", "val", "test")):
            patients = frame.groupby("label")["group"].nunique()
            sought = words_of(frame).sought
            raise InputError(
                f"{folder}: {patients[1]} patients with a {sought} and {patients[0]} without; expected more, or fewer "
                f"folds than {folds}: each fold needs both to learn from, to validate on and to be tested on"
            )
        found.append(split)
    return found


def train_folds(  # noqa: PLR0913, all but two are by name only
    folder: Path,
    out: Path,
    config: TrainConfig | FineTuneConfig,
    *,
    folds: int = 5,
    only: int | None = None,
    start: Path | None = None,
    weights: Path | None = None,
    closer_look: bool = False,
    by_region: bool = False,
    attribution: str = "",
    ranks: ProcessGroup | None = None,
    progress: bool = True,
) -> CrossValidation | None:
    """Train once for each fold, then once on everything, and leave in `out` what `train_folder` leaves.

    The images of train and val are shared out anew; those of test stay apart. Each fold has its run in `fold-1`, ...;
    what is done is not done again, and a run that was interrupted goes on.

    Parameters
    ----------
    folds : int
        2 to 20.
    only : int, optional
        Train this fold alone, where several machines or processes share the work.
    config, start, weights, closer_look, by_region, attribution, ranks, progress
        As `train_folder`.

    Returns
    -------
    CrossValidation, or None after `only`

    Raises
    ------
    InputError
        As `train_folder`; if patients are too few, or `out` is of other folds.
    """
    _require_within(folds, only)
    how = {"closer_look": closer_look, "by_region": by_region, "progress": progress}
    recipe = Recipe.of(config, start, weights, attribution, ranks or ProcessGroup(), **how)
    return _cross_validated(folder, out, recipe, folds, only)


def average_folds(folder: Path, runs: Sequence[Path], out: Path, *, progress: bool = True) -> CrossValidation:
    """Average the weights of finished cross-validations, fold by fold, and leave what `train_folds` leaves.

    The network of a fold is the mean of the runs' networks of that fold (`Soup`), none of which saw its test images.
    It is calibrated, and its thresholds are chosen, on the fold's validation images, as theirs were; the last network
    by the folds' scores.

    Parameters
    ----------
    runs : sequence of Path
        Two or more that `train_folds` left, of one pretrained network, with the same images, folds and settings. What
        they began with differs (`start`).

    Raises
    ------
    InputError
        If one is not finished or an average itself, two are the same, or they differ in more than that.
    """
    for run in runs:
        for name in (MODEL_FILE, FOLDS_FILE):
            if not (run / name).is_file():
                raise InputError(f"{run}: has no {name}; expected what `fracture train --folds` leaves in the end")
        if (run / FOLDS_FILE).read_bytes() != (runs[0] / FOLDS_FILE).read_bytes():
            raise InputError(f"{run}: has other images or folds than {runs[0]}; expected the same")
    soup = Soup.of([run / MODEL_FILE for run in runs])
    if len(soup.attribution) > LONGEST_ATTRIBUTION:
        raise InputError(f"the runs' attributions have more than {LONGEST_ATTRIBUTION:,} characters; expected fewer")
    first, folds = soup.first, _folds_in(runs[0] / FOLDS_FILE)
    for fold in range(1, folds + 1):
        soup.of_fold(fold)  # raises before anything is written
    recipe = Recipe(
        soup.config, None, None, first.closer_look is not None, first.regions is not None, soup.attribution,
        ProcessGroup(), progress, soup,
    )  # fmt: skip
    learnt = _learnt(_frame(folder, recipe))
    if (runs[0] / FOLDS_FILE).read_bytes() != _folds_text(learnt, folds, soup.config.seed):
        raise InputError(
            f"{folder}: holds other images than {runs[0] / FOLDS_FILE}; expected those that were learnt from"
        )
    found = _cross_validated(folder, out, recipe, folds, None)
    assert found is not None
    return found


def _folds_in(path: Path) -> int:
    """How many folds a table of them has."""
    number = pd.to_numeric(read_table(path).get("fold", pd.Series(dtype=float)), errors="coerce")
    found = set(number.to_numpy(float))
    if found not in [set(range(1, n + 1)) for n in range(2, 21)]:
        raise InputError(f"{path}: is no table of folds; expected a column fold, from 1 to the number of folds")
    return len(found)


def _learnt(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["split"] != "test"].reset_index(drop=True)


def _folds_text(learnt: pd.DataFrame, folds: int, seed: int) -> bytes:
    """The table that says which image is in which fold."""
    return table_text(learnt[["file", "label", "group"]].assign(fold=folds_by_patient(learnt, folds, seed))).encode()


def _cross_validated(folder: Path, out: Path, recipe: Recipe, folds: int, only: int | None) -> CrossValidation | None:
    """What `train_folds` does, by a recipe."""
    if not (out / FOLDS_FILE).is_file():
        require_empty(out, f"has no {FOLDS_FILE}, so it is not the folder of a cross-validation that could go on")
    frame = _frame(folder, recipe)
    learnt = _learnt(frame)
    splits = splits_of_folds(folder, learnt, folds, recipe.config.seed)
    if recipe.begun is not None or recipe.soup is not None:
        tested = [load_manifest(folder), *(learnt.assign(split=split) for split in ("train", *splits))]
        require_no_leak(folder, tested, recipe)
    if recipe.ranks.first:
        print_unreadable(frame)
        _begin(out, learnt, folds_by_patient(learnt, folds, recipe.config.seed))
    _require_same_training(out, learnt, splits, recipe)
    pool = _pool(folder, learnt, splits, recipe)
    parts = []
    for fold in [only] if only else range(1, folds + 1):
        if recipe.progress and recipe.ranks.first:
            print(f"fold {fold} of {folds}", flush=True)
        parts.append(_fold(pool, fold, out / f"fold-{fold}", _of_fold(recipe, fold)))
    if only:
        return None
    run = _taught_on_all(pool, frame[frame["split"] == "test"], parts, out, recipe)
    return CrossValidation(run, _figures(run.predictions, run.classifier.classes[1]))


def _require_within(folds: int, only: int | None) -> None:
    if not 2 <= folds <= 20:
        raise InputError(f"folds is {folds}; expected 2 to 20")
    if only is not None and not 1 <= only <= folds:
        raise InputError(f"fold is {only}; expected 1 to {folds}")


@dataclass(frozen=True)
class _Part:
    """What a fold's training found of its test images."""

    predictions: pd.DataFrame
    temperature: float
    epochs: int  # after which its network was kept


def _frame(folder: Path, recipe: Recipe) -> pd.DataFrame:
    """The manifest of a folder with what the network learns from to share out, both classes among them."""
    frame = load_manifest(folder)
    require_noun(folder, frame, recipe.config)
    require_regions(folder, frame, recipe)
    require_both_classes(frame[frame["split"] != "test"], str(folder))
    # The folder's own would be taken for those here.
    frame = frame.drop(columns=["fold", "decision", "threshold"], errors="ignore")
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
    elif path.read_bytes() != table_text(table).encode():
        raise InputError(
            f"{path}: holds other {words_of(learnt).many} or folds; expected those of now, or another output folder"
        )


def _of_fold(recipe: Recipe, fold: int) -> Recipe:
    """The same for one fold, whose networks are averaged where the last ones are."""
    return recipe if recipe.soup is None else replace(recipe, soup=recipe.soup.of_fold(fold))


def _require_same_training(out: Path, learnt: pd.DataFrame, splits: list[NDArray[np.str_]], recipe: Recipe) -> None:
    for fold, split in enumerate(splits, 1):
        if (out / f"fold-{fold}" / MODEL_FILE).is_file():
            _finished(out / f"fold-{fold}", learnt.assign(split=split), _of_fold(recipe, fold))


def _lacks_something(out: Path, recipe: Recipe) -> bool:
    """Whether a finished fold is without the closer look or the regions that are asked for now, and can go on."""
    if not (recipe.closer_look or recipe.by_region):
        return False
    found = load_classifier(out / MODEL_FILE)
    return (recipe.closer_look and found.closer_look is None) or (recipe.by_region and found.regions is None)


def _pool(folder: Path, learnt: pd.DataFrame, splits: list[NDArray[np.str_]], recipe: Recipe) -> _Pool:
    config, ranks = recipe.config, recipe.ranks
    if not ranks.first:
        ranks.wait()
    images = read_images(folder, list(learnt["file"]), recipe)
    if ranks.first:
        ranks.wait()
    features = None
    if isinstance(config, FineTuneConfig) and recipe.soup is None:
        everything = {"all": Images(images, np.array(learnt["label"], np.int64))}
        network = begun_from(config, recipe.network())
        features = kept_features(network, everything, config.unfreeze, ranks, progress=recipe.progress).get("all")
    return _Pool(folder, learnt, images, features, splits)


def _fold(pool: _Pool, fold: int, out: Path, recipe: Recipe) -> _Part:
    """The training of a fold, or what it left."""
    split = pool.splits[fold - 1]
    frame = pool.frame.assign(split=split)
    if not (out / MODEL_FILE).is_file() or _lacks_something(out, recipe):
        rows = {name: np.flatnonzero(split == name) for name in ("train", "val", "test")}
        kept = None if pool.features is None else {n: pool.features.of(rows[n]) for n in ("train", "val")}
        images = {name: pool.images[chosen] for name, chosen in rows.items()}
        trained(pool.folder, frame, images, out, recipe, kept=kept)
        recipe.ranks.wait()
    classifier = _finished(out, frame, recipe)
    held = frame[split == "test"].reset_index(drop=True)
    with _again_if_damaged(out):
        scores = read_predictions(out / PREDICTIONS_FILE)
    scores = scores[scores["split"] == "test"].reset_index(drop=True)
    if table_text(scores[["file", "label"]]) != table_text(held[["file", "label"]]):
        many = words_of(frame).many
        raise InputError(f"{out / PREDICTIONS_FILE}: holds other {many} than the fold; expected those; {_again(out)}")
    if recipe.closer_look:
        _require_both_looks(scores, out)
    table = scores.assign(file=held["file"], split="val", fold=fold)
    at = None if classifier.regions is None else _written_thresholds(scores, out)
    table = table.drop(columns="threshold", errors="ignore")
    if at is not None:
        table["threshold"] = at
    table["decision"] = classifier.with_closer_look().decide(scores["score"].to_numpy(), at)
    return _Part(table, classifier.temperature, _epochs(out, recipe.config))


def _written_thresholds(scores: pd.DataFrame, out: Path) -> NDArray[np.float64]:
    found = pd.to_numeric(scores.get("threshold", pd.Series(np.nan, scores.index)), errors="coerce").to_numpy(float)
    if not (((found >= 0) & (found <= 1)) | (found == np.inf)).all():
        raise InputError(f"{out / PREDICTIONS_FILE}: expected a threshold in 0..1 for each image; {_again(out)}")
    return found


def _require_both_looks(scores: pd.DataFrame, out: Path) -> None:
    looks = [pd.to_numeric(scores.get(name, pd.Series(dtype=float)), errors="coerce") for name in LOOKS]
    if not all(len(look) and look.between(0, 1).all() for look in looks):
        raise InputError(f"{out / PREDICTIONS_FILE}: expected {' and '.join(LOOKS)} in 0..1; {_again(out)}")


def _again(out: Path) -> str:
    return f"remove {out} to train this fold again"


@contextmanager
def _again_if_damaged(out: Path) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}; {_again(out)}") from None


def _finished(out: Path, frame: pd.DataFrame, recipe: Recipe) -> Classifier:
    """The network of a finished fold; `frame` are its images and splits.

    Raises
    ------
    InputError
        If one of its files is missing, or it was trained on other images or by other settings.
    """
    for name in (PREDICTIONS_FILE, HISTORY_FILE):
        if not (out / name).is_file():
            raise InputError(f"{out / name}: no such file; expected what the fold's training left; {_again(out)}")
    with _again_if_damaged(out):
        classifier = load_classifier(out / MODEL_FILE)
    if not recipe.closer_look and (classifier.closer_look is not None or (out / FOLDER).exists()):
        raise InputError(f"{out}: was trained with a closer look; expected --closer-look, or another output folder")
    if not recipe.by_region and classifier.regions is not None:
        raise InputError(f"{out}: {NEEDS_REGIONS}")
    now = asdict(recipe.config) | {"start": recipe.start, "images": fingerprint(frame)}
    begun = {**classifier.extra.get("config", {}), "start": classifier.extra.get("start")}
    begun["images"] = classifier.fingerprint
    for name in now:
        if begun.get(name) != now[name]:
            if name == "start" and recipe.soup is not None:
                raise InputError(f"{out}: is no average of these runs; expected one, or another output folder")
            said = f"{out}: was trained with {name} = {begun.get(name)}, now {now[name]}"
            if name == "images":
                said = f"{out}: was trained on other {words_of(frame).many}"
            raise InputError(f"{said}; expected the same, or another output folder")
    return classifier


def _epochs(out: Path, config: TrainConfig | FineTuneConfig) -> int:
    """After how many epochs the network of a finished fold was kept."""
    try:
        history = read_table(out / HISTORY_FILE)
        auc, loss = (list(history[name].astype(float)) for name in ("val_auc", "val_loss"))
        return best_epoch(auc, loss) + 1 if isinstance(config, TrainConfig) else len(auc)
    except (InputError, KeyError, ValueError):
        raise InputError(f"{out / HISTORY_FILE}: not the history of a training; {_again(out)}") from None


def uncalibrated(scores: pd.DataFrame, temperature: Mapping[int, float]) -> NDArray[np.float64]:
    """Logits (n, 2) as they were before the temperature of each score's fold; of score and fold only."""
    evidence = logit(scores["score"].clip(SATURATED, 1 - SATURATED)) * scores["fold"].map(temperature)
    return np.stack([np.zeros(len(scores)), evidence], axis=1)


def _taught_on_all(pool: _Pool, test: pd.DataFrame, parts: list[_Part], out: Path, recipe: Recipe) -> Run:
    """The network that learns from all images, as long as the folds' did, calibrated by their scores."""
    tables = pd.concat([part.predictions for part in parts], ignore_index=True)
    tables = tables.set_index("file").loc[list(pool.frame["file"])].reset_index()  # in the order of the manifest
    first = tables.assign(score=tables["first_look"]) if recipe.closer_look else tables
    logits = uncalibrated(first, {i + 1: part.temperature for i, part in enumerate(parts)})
    frame = pool.frame.assign(split="train")
    kept = None if pool.features is None else {"train": pool.features}
    until = int(np.median([part.epochs for part in parts]))
    classifier, history = fitted(pool.folder, frame, {"train": pool.images}, out, recipe, kept=kept, until=until)
    labels = tables["label"].to_numpy(np.int64)
    if recipe.closer_look:
        looks = Looks(logits[:, 1], logit(tables["closer_look"].clip(SATURATED, 1 - SATURATED).to_numpy()))
        classifier = weighed(classifier, looks, labels)
        assert classifier.closer_look is not None
        evidence = classifier.closer_look.logits(looks.first, looks.second)[:, 1]
    else:
        classifier = calibrated_by(classifier, logits, labels)
        evidence = logits[:, 1] / classifier.temperature
    if recipe.by_region:
        held = tables.assign(region=pool.frame["region"].to_numpy())  # which a fold's table may have from before
        classifier = with_regions(classifier, pool.images, pool.frame["region"], held, evidence)
    classifier = replace(classifier, extra=classifier.extra | {"folds": len(parts)})
    if not isinstance(recipe.config, StudyConfig):
        classifier = with_familiarity_by_folds(classifier, pool.images, tables["fold"].to_numpy(np.int64))
    if len(test):
        images = read_images(pool.folder, list(test["file"]), recipe)
        own = scored(classifier, test.reset_index(drop=True), images, folder=pool.folder)
        if classifier.regions is None:
            own["decision"] = classifier.with_closer_look().decide(own["score"].to_numpy())
        tables = pd.concat([tables, own], ignore_index=True)
    run = Run(out, classifier, history, tables.astype({"fold": "Int64"}))
    if recipe.ranks.first:
        leave(run, recipe.config)
    return run


def _figures(predictions: pd.DataFrame, positive: str) -> dict[str, Interval]:
    """What the folds' networks are worth on images of patients whom they never met, at thresholds of their own."""
    held = predictions[predictions["fold"].notna()]
    y, group = held["label"].to_numpy(), list(held["group"])
    predicted = (held["decision"] == positive).to_numpy(float)
    figures = {
        "AUC": group_bootstrap(roc_auc, y, held["score"], group),
        "average precision": group_bootstrap(average_precision, y, held["score"], group),
    }
    rates = {name: group_bootstrap(rate_at(name, 0.5), y, predicted, group) for name in ("sensitivity", "specificity")}
    return figures | rates
