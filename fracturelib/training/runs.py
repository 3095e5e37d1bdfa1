"""A training from a folder to what it leaves: the network, its history, and the scores of val and test."""

import copy
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from torch import nn

from fracturelib._io.files import InputError, atomic_path, counted, may_replace, printable
from fracturelib._io.tables import write_table
from fracturelib._io.words import STUDY, WORDS
from fracturelib.data.dataset import fingerprint, load_manifest, require_both_classes
from fracturelib.data.images import load_images
from fracturelib.data.labels import CLASSES, STUDY_CLASSES
from fracturelib.data.manifest import MANIFEST
from fracturelib.data.masks import outlines
from fracturelib.data.pixels import noted
from fracturelib.data.predictions import write_predictions
from fracturelib.data.studies import load_volumes
from fracturelib.models.backbones import (
    BackboneWeights,
    LocalizingBackbone,
    is_backbone,
    load_backbone_weights,
    read_backbone_weights,
)
from fracturelib.models.checkpoint_checks import MOST_REGIONS, OddCheckpointError, check_weights, is_name
from fracturelib.models.classifier import (
    Classifier,
    describe,
    load_classifier,
    save_classifier,
    scores_from_logits,
)
from fracturelib.models.familiarity import collected_features
from fracturelib.models.localizer import LocalizingNetwork
from fracturelib.models.registry import build_model, require_model
from fracturelib.training.closer_look import FOLDER, both_looks, on_cuts, second_network, weighed
from fracturelib.training.config import FineTuneConfig, StudyConfig, TrainConfig
from fracturelib.training.distributed import ProcessGroup
from fracturelib.training.features import Features
from fracturelib.training.finetune import fit_localizer
from fracturelib.training.soup import Soup
from fracturelib.training.state import STATE_FILE
from fracturelib.training.train import SATURATED, Images, calibrated_by, fit, with_familiarity, with_regions

MODEL_FILE = "model.pt"
PREDICTIONS_FILE = "predictions.csv"
HISTORY_FILE = "history.csv"
NEEDS_REGIONS = "was trained with thresholds by region; expected --by-region, or another output folder"
LONGEST_ATTRIBUTION = 5000  # characters, as whoever reads a checkpoint allows


@dataclass(frozen=True)
class Run:
    """A finished training: where it is, the classifier, one row an epoch, and the scores of val and test."""

    folder: Path
    classifier: Classifier
    history: pd.DataFrame
    predictions: pd.DataFrame


def read_images(folder: Path, files: Sequence[str], recipe: "Recipe") -> np.ndarray:
    """The images of a folder, (n, size, size) uint8; of a study set its studies, (n, slices, size, size) uint8."""
    size, progress = recipe.config.size, recipe.progress and recipe.ranks.first
    if not isinstance(recipe.config, StudyConfig):
        return load_images(folder, files, size=size, progress=progress)
    studies, notes = load_volumes(folder, files, size=size, progress=progress)
    for line in noted(notes, nouns=WORDS[STUDY].nouns) if recipe.ranks.first else ():
        print(f"note: {line}")
    return studies


def require_noun(folder: Path, frame: pd.DataFrame, config: TrainConfig | FineTuneConfig) -> None:
    """Raise InputError if a network of images would learn from studies, or one of studies from images."""
    learns, holds = (WORDS[noun].many for noun in (config.noun, frame.attrs["noun"]))
    if learns != holds:
        raise InputError(f"{folder}: holds {holds}, but {config.architecture} learns from {learns}; expected the same")


def training_frame(folder: Path) -> pd.DataFrame:
    """The manifest of a folder that can be trained on.

    Raises
    ------
    InputError
        If there is no train or no val split, one of them lacks a class, or a patient is in two splits.
    """
    frame = load_manifest(folder)
    what, classes = WORDS[frame.attrs["noun"]].many, STUDY_CLASSES if frame.attrs["noun"] == STUDY else CLASSES
    for split in ("train", "val"):
        part = frame[frame["split"] == split]
        if part.empty:
            raise InputError(
                f"{folder}: has no {split} {what}; expected {folder / split}/{{{classes[1]},{classes[0]}}}"
            )
        require_both_classes(part, f"{folder}/{split}")
    require_one_split_each(folder, frame)
    return frame


def require_one_split_each(folder: Path, frame: pd.DataFrame) -> None:
    """Raise InputError if a patient is in two splits; where patients are guessed, note it in `frame.attrs`."""
    spread = frame.groupby("group")["split"].nunique()
    if shared := sorted(spread.index[spread > 1]):
        many = counted(len(shared), "patient is", "patients are")
        said = f"{many} in more than one split, such as {printable(shared[0])}"
        if not frame.attrs["guessed"]:
            raise InputError(f"{folder}: {said}; expected each in one: `fracture data import` brings them together")
        frame.attrs["notes"].append(f"{said}, if the guess is right: scores on val and test may be too good")


def train_folder(
    folder: Path,
    out: Path,
    config: TrainConfig | FineTuneConfig,
    *,
    start: Path | None = None,
    weights: Path | None = None,
    closer_look: bool = False,
    by_region: bool = False,
    attribution: str = "",
    ranks: ProcessGroup | None = None,
    progress: bool = True,
) -> Run:
    """Train on `folder`, and leave model.pt, history.csv and predictions.csv (val and test) in `out`.

    A run that was interrupted goes on. `start` is a checkpoint of the same network, whose weights are begun with; its
    images may have had another size. `weights` are those of a backbone (`load_backbone_weights`), where `config` names
    one of torchvision or timm. With `closer_look` a second network learns to judge the place that the first one
    suspects most, cut from the image as it is stored (`CloserLook`). With `by_region` the threshold depends on the
    region that an image shows, as the network judges it, which learns that from the column region of the manifest
    (`Regions`). `attribution` says whose data these are, and is
    kept in the checkpoint. Of several `ranks` that train together, the first one writes.

    Raises
    ------
    InputError
        If the folder lacks what training needs, `start` or `weights` are of another network, or `out` belongs to
        another training.
    """
    ranks = ranks or ProcessGroup()
    how = {"closer_look": closer_look, "by_region": by_region, "progress": progress}
    recipe = Recipe.of(config, start, weights, attribution, ranks, **how)
    require_run_folder(out)
    if not closer_look and (out / FOLDER).exists():
        raise InputError(f"{out}: was trained with a closer look; expected --closer-look, or another output folder")
    if not by_region and (out / MODEL_FILE).is_file() and load_classifier(out / MODEL_FILE).regions is not None:
        raise InputError(f"{out}: {NEEDS_REGIONS}")
    frame = training_frame(folder)
    require_noun(folder, frame, config)
    require_regions(folder, frame, recipe)
    require_no_leak(folder, [frame[frame["split"] != "test"].assign(split="train")], recipe)
    return trained(folder, frame, decoded(folder, frame, recipe), out, recipe)


def require_no_leak(folder: Path, known: Sequence[pd.DataFrame], recipe: "Recipe") -> None:
    """Raise InputError if a network to begin with learnt from images that the next one is judged on.

    `known` are the tables of images and splits of which that would be so. Only what the network itself learnt from is
    looked at, not what it was begun with in turn.
    """
    begun = set() if recipe.begun is None else {recipe.begun.fingerprint}
    for start in () if recipe.soup is None else recipe.soup.begun_with:
        begun |= {start["data"]} if start and isinstance(start.get("data"), str) else set()
    if begun and not begun.isdisjoint(fingerprint(frame) for frame in known):
        raise InputError(
            f"--start: that network learnt from images of {folder} on which this one is judged; expected one that "
            "never met them"
        )


@dataclass(frozen=True)
class Recipe:
    """What a training needs besides the data: its settings, what it begins with, and who does it together."""

    config: TrainConfig | FineTuneConfig
    begun: Classifier | None
    weights: tuple[Path, BackboneWeights] | None
    closer_look: bool
    by_region: bool
    attribution: str
    ranks: ProcessGroup
    progress: bool
    soup: Soup | None = None  # trainings that are finished, whose weights are averaged in place of one more

    @classmethod
    def of(
        cls,
        config: TrainConfig | FineTuneConfig,
        start: Path | None,
        weights: Path | None,
        attribution: str,
        ranks: ProcessGroup,
        *,
        closer_look: bool,
        by_region: bool,
        progress: bool,
    ) -> "Recipe":
        """With the checkpoint `start` loaded; errors as `train_folder`'s."""
        if len(attribution) > LONGEST_ATTRIBUTION:
            said = f"attribution has {len(attribution):,} characters"
            raise InputError(f"{said}; expected at most {LONGEST_ATTRIBUTION:,}")
        if closer_look and not (isinstance(config, FineTuneConfig) and config.learns_where):
            raise InputError(
                f"closer_look is asked of {config.architecture} without outlines; expected a network that learns where"
            )
        if closer_look and isinstance(config, FineTuneConfig):
            on_cuts(config)  # raises where half a rate is too low
        require_model(config.architecture)
        _require_weights(config, start, weights)
        begun = None if start is None else load_start(start, config)
        read = None if weights is None else (weights, read_backbone_weights(weights))
        made = cls(config, begun, read, closer_look, by_region, attribution, ranks, progress)
        if read is not None and ranks.first:
            print(_with_weights(build_model(config.architecture), *read))
        return made

    @property
    def start(self) -> dict[str, Any] | None:
        """What a checkpoint says of the one, or of the weights, that it was begun with."""
        if self.soup is not None:
            return {"average of": list(self.soup.digests), "begun with": list(self.soup.begun_with)}
        if self.weights is not None:
            return {"weights": f"SHA-256 {self.weights[1].digest}"}
        begun = self.begun
        return None if begun is None else {"config": begun.extra.get("config", {}), "data": begun.fingerprint}

    def network(self) -> LocalizingNetwork | None:
        """A new copy of the network that fine-tuning begins with; None for EfficientNet with ImageNet's features."""
        if self.begun is not None:
            model = self.begun.model
            return copy.deepcopy(model) if isinstance(model, LocalizingNetwork) else None
        if not is_backbone(self.config.architecture):
            return None
        model = build_model(self.config.architecture, seed=self.config.seed)
        assert isinstance(model, LocalizingNetwork)
        if self.weights is not None:
            _with_weights(model, *self.weights)
        return model


def require_regions(folder: Path, frame: pd.DataFrame, recipe: Recipe) -> None:
    """Raise InputError if thresholds are to depend on the region, and the manifest does not say it of images."""
    if recipe.by_region and (recipe.config.noun == STUDY or "region" not in frame):
        what = "studies" if recipe.config.noun == STUDY else "images without a column region in manifest.csv"
        raise InputError(f"{folder}: holds {what}; expected images with it, for thresholds by region")
    names = sorted(set(frame["region"].dropna().astype(str))) if recipe.by_region else []
    for name in names:
        if not is_name(name):
            raise InputError(
                f"{folder / MANIFEST}: region is {printable(name)[:80]}; expected at most 200 characters of one line"
            )
    if len(names) >= MOST_REGIONS:
        raise InputError(f"{folder / MANIFEST}: has {len(names)} regions; expected at most {MOST_REGIONS - 1}")


def _with_weights(model: nn.Module, path: Path, weights: BackboneWeights) -> str:
    """Give a backbone its weights, and say what they were taken for.

    Raises
    ------
    InputError
        If they are of another network, or such as no checkpoint may hold.
    """
    assert isinstance(model, LocalizingBackbone)
    said = load_backbone_weights(model, weights, path)
    try:
        check_weights(model)
    except OddCheckpointError as error:
        raise InputError(f"{path}: {error}") from None
    return said


def _require_weights(config: TrainConfig | FineTuneConfig, start: Path | None, weights: Path | None) -> None:
    """Raise InputError unless a network begins with weights that it can have, and a backbone with any."""
    name = config.architecture
    if not is_backbone(name):
        if weights is not None:
            raise InputError(f"weights {weights} are given for {name}; expected torchvision:NAME or timm:NAME")
    elif not isinstance(config, FineTuneConfig):
        raise InputError(f"{name} is given a TrainConfig; expected a FineTuneConfig")
    elif start is not None and weights is not None:
        raise InputError(f"both {start} and {weights} are given to begin with; expected one of them")
    elif start is None and weights is None:
        raise InputError(f"{name} would begin with random weights; expected --weights FILE, or --start MODEL")


def trained(
    folder: Path,
    frame: pd.DataFrame,
    images: Mapping[str, np.ndarray],
    out: Path,
    recipe: Recipe,
    *,
    kept: dict[str, Features] | None = None,
) -> Run:
    """Train on the splits of `frame`, whose `images` are decoded, and leave what `train_folder` leaves.

    `kept` are the frozen features of train and val, where they are known already.
    """
    classifier, history = fitted(folder, frame, images, out, recipe, kept=kept)
    if recipe.ranks.first:
        if recipe.closer_look:
            val = frame[frame["split"] == "val"]
            looks = both_looks(classifier, images["val"], folder, list(val["file"]))
            classifier = weighed(classifier, looks, np.array(val["label"], np.int64))
        if not isinstance(recipe.config, StudyConfig):
            classifier = with_familiarity(classifier, images["train"], images["val"])
        if recipe.by_region:
            held = scored(classifier, _of(frame, "val"), images["val"], folder=folder)
            evidence = logit(held["score"].clip(SATURATED, 1 - SATURATED).to_numpy())
            classifier = with_regions(classifier, images["train"], _of(frame, "train")["region"], held, evidence)
    run = Run(out, classifier, history, _judged(classifier, folder, frame, images))
    if recipe.ranks.first:
        leave(run, recipe.config)
    return run


def fitted(
    folder: Path,
    frame: pd.DataFrame,
    images: Mapping[str, np.ndarray],
    out: Path,
    recipe: Recipe,
    *,
    kept: dict[str, Features] | None = None,
    until: int | None = None,
) -> tuple[Classifier, pd.DataFrame]:
    """The network and the history of a training, with its state in `out`; not calibrated where there is no val.

    Of a closer look the second network is in it, and how it counts is not known yet.
    """
    config, ranks = recipe.config, recipe.ranks
    if ranks.first:
        out.mkdir(parents=True, exist_ok=True)
    train = labelled(frame, images, "train")
    val = labelled(frame, images, "val") if "val" in images else None
    if recipe.soup is not None:
        return _averaged(recipe.soup, frame, val, recipe)
    shared: dict[str, Any] = {
        "out": out, "ranks": ranks, "fingerprint": fingerprint(frame), "progress": recipe.progress,
    }  # fmt: skip
    if isinstance(config, FineTuneConfig):
        masks = outlines(folder, frame, config.size, needed=config.learns_where)
        if recipe.closer_look and not masks[0].any():
            raise InputError(f"{folder}: no fracture in train is outlined; expected outlines to teach a closer look")
        found = fit_localizer(train, val, *masks, config, model=recipe.network(), kept=kept, **shared)
        if recipe.closer_look:
            both = second_network(
                found[0], folder, frame, images, config, out / FOLDER, ranks=ranks, progress=recipe.progress,
            )  # fmt: skip
            found = both, found[1]
    else:
        weights = None if recipe.begun is None else recipe.begun.model.state_dict()
        found = fit(train, val, config, until=until, initial=weights, **shared)
    _attribute(found[0], recipe)
    return found


def _averaged(soup: Soup, frame: pd.DataFrame, val: Images | None, recipe: Recipe) -> tuple[Classifier, pd.DataFrame]:
    """The mean of finished networks, and a history without an epoch."""
    classifier = soup.network(fingerprint(frame))
    _attribute(classifier, recipe)
    if val is not None and not recipe.closer_look:
        classifier = calibrated_by(classifier, classifier.logits(val.images), val.labels)
    return classifier, pd.DataFrame(columns=["epoch", "train_loss", "val_loss", "val_auc"], dtype=float)


def decoded(folder: Path, frame: pd.DataFrame, recipe: Recipe) -> dict[str, np.ndarray]:
    """The images of each split; the first process decodes them, and the others find them in the cache."""
    ranks = recipe.ranks
    if ranks.first:
        print_unreadable(frame)
    else:
        ranks.wait()
    images = {split: read_images(folder, list(part["file"]), recipe) for split, part in frame.groupby("split")}
    if ranks.first:
        ranks.wait()
    return images


def labelled(frame: pd.DataFrame, images: Mapping[str, np.ndarray], split: str) -> Images:
    """The images of a split with their labels."""
    return Images(images[split], np.array(frame.loc[frame["split"] == split, "label"], np.int64))


def _attribute(classifier: Classifier, recipe: Recipe) -> None:
    """Keep in a classifier what it was begun with, and whose data these are."""
    attribution = recipe.attribution
    if recipe.start is not None:
        classifier.extra["start"] = recipe.start
    if recipe.begun is not None:
        attribution = attribution or recipe.begun.extra.get("attribution", "")
    if attribution:
        classifier.extra["attribution"] = attribution


def _judged(
    classifier: Classifier, folder: Path, frame: pd.DataFrame, images: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """The scores of val and test, as far as they are there."""
    parts = [
        scored(classifier, _of(frame, split), images[split], folder=folder)
        for split in ("val", "test")
        if split in images
    ]
    return pd.concat(parts, ignore_index=True)


def _of(frame: pd.DataFrame, split: str) -> pd.DataFrame:
    return frame[frame["split"] == split].reset_index(drop=True)


def leave(run: Run, config: TrainConfig | FineTuneConfig) -> None:
    """Write the files of a finished training; the network comes last."""
    write_predictions(run.predictions, run.folder / PREDICTIONS_FILE)
    write_table(run.history, run.folder / HISTORY_FILE)
    with atomic_path(run.folder / "config.json") as temporary:
        values = {"config": asdict(config), "model": describe(run.classifier)}
        temporary.write_text(json.dumps(values, indent=2) + "\n")
    save_classifier(run.classifier, run.folder / MODEL_FILE, half=run.classifier.closer_look is not None)


def require_run_folder(out: Path) -> None:
    """Make sure that a training in `out` loses nothing.

    Raises
    ------
    InputError
        If it is there, and neither empty nor the folder of a training.
    """
    if out.is_dir() and (out / STATE_FILE).is_file():
        return
    require_empty(out, f"has no {STATE_FILE}, so it is not the folder of a training that could go on")


def require_empty(out: Path, reason: str) -> None:
    """Raise InputError, with `reason`, unless nothing is at `out`, or a folder with nothing in it but hidden files."""
    if out.is_dir():
        found = sorted(p.name for p in out.iterdir() if not p.name.startswith("."))
        if found:
            raise InputError(f"{out}: holds {found[0]} and {reason}; expected a new folder")
    may_replace(out / MODEL_FILE, "")


def load_start(path: Path, config: TrainConfig | FineTuneConfig) -> Classifier:
    """The checkpoint that a training begins with, without its closer look.

    Raises
    ------
    InputError
        If it cannot be read, or is of another network than the configuration's.
    """
    begun = load_classifier(path)
    if begun.architecture.get("closer"):
        plain = {k: v for k, v in begun.architecture.items() if k != "closer"}
        del begun.model.closer
        begun = replace(begun, architecture=plain, closer_look=None)
    options = config.options if isinstance(config, TrainConfig) else {}
    if begun.architecture != {"name": config.architecture, **options}:
        known, own = {"name": config.architecture, **options}, begun.architecture
        raise InputError(f"{path}: is {_called(own, known)}; expected {_called(known, own)}, which is to be trained")
    return begun


def _called(architecture: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """A network's name, and its options where only they tell it from another one."""
    if architecture["name"] != other["name"]:
        return str(architecture["name"])
    options = [f"{key} {value}" for key, value in architecture.items() if key != "name" and other.get(key) != value]
    return " with ".join([architecture["name"], *filter(None, [", ".join(options)])])


def scored(
    classifier: Classifier, frame: pd.DataFrame, images: np.ndarray, *, folder: Path | None = None
) -> pd.DataFrame:
    """The manifest's rows with their scores: columns file, label, group, score, then the rest.

    Where a network has a closer look, and `folder` says where the images are stored, the score is that of both looks,
    and the columns first_look and closer_look are the scores of each alone, the latter as it was learnt, from cuts.
    Where the threshold depends on the region, it is in the column threshold, beside the decision.
    """
    first = ["file", "label", "group"]
    own: dict[str, Any] = {}
    with ExitStack() as stack:
        by_region = classifier.regions is not None and len(frame) > 0
        features = stack.enter_context(collected_features(classifier.model)) if by_region else None
        if classifier.closer_look is None or folder is None:
            own["score"] = classifier.scores(images)
        else:
            looks = both_looks(classifier, images, folder, list(frame["file"]))
            own["score"] = scores_from_logits(classifier.closer_look.logits(looks.first, looks.second))
            own["first_look"] = expit(looks.first / classifier.temperature)
            own["closer_look"] = expit(looks.second)
        if features is not None:
            whole = classifier.with_closer_look()
            own["threshold"] = whole.thresholds_by(features())[0]
            own["decision"] = whole.decide(own["score"], own["threshold"])
    rest = [c for c in frame.columns if c not in (*first, *own)]
    return pd.concat([frame[first].assign(**own), frame[rest]], axis=1)


def print_unreadable(frame: pd.DataFrame) -> None:
    """Say what was left out, and what else there is to know."""
    for file, reason in frame.attrs.get("unreadable", []):
        print(f"left out: {printable(file)}: {printable(reason)}")
    for note in frame.attrs.get("notes", []):
        print(f"note: {note}")
