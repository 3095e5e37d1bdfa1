"""One network of several that were trained apart, calibrated on what none of them learnt from."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from fracturelib._io.files import InputError
from fracturelib._io.words import STUDY, WORDS
from fracturelib.data.dataset import fingerprint
from fracturelib.data.images import load_images
from fracturelib.data.predictions import write_predictions
from fracturelib.models.classifier import Classifier, load_classifier, save_classifier
from fracturelib.models.ensemble import DeepEnsemble
from fracturelib.models.localizer import LocalizingEfficientNet
from fracturelib.training.config import FineTuneConfig
from fracturelib.training.folds import begun_folds, learning_frame, mirrored_logits, out_of_fold, with_test
from fracturelib.training.runs import (
    MODEL_FILE,
    PREDICTIONS_FILE,
    Run,
    called,
    judged_splits,
    labelled,
    require_empty,
    training_frame,
)
from fracturelib.training.state import STATE_FILE
from fracturelib.training.train import (
    calibrated_by,
    calibrated_for_tta,
    with_familiarity,
    with_familiarity_by_folds,
    with_tta_calibration,
)


def ensemble_runs(
    folder: Path, models: Sequence[Path], out: Path, *, maps: int | None = None, progress: bool = True
) -> Run:
    """Make one network of several that were trained to localize on `folder`, calibrate it, and leave it in `out`.

    It gives the means of their outputs (a deep ensemble); its weights are stored as float16, and rounded before
    anything is measured. The map is the mean of those of the first `maps` networks, of all if not given. It leaves
    model.pt and predictions.csv, as `train_folder` does; it is calibrated on val. Where the networks are the last ones
    of cross-validations with the same folds, predictions.csv is that of `train_folds`: each fold's ensemble is made of
    the networks of that fold and calibrated on the fold's validation images, and the scores that they give to images
    of patients whom none of them met calibrate the ensemble of the last ones.

    Raises
    ------
    InputError
        If there are fewer than two, one of them is of another kind, size, data set or folds, or
        `maps` is not between 1 and their number.
    """
    if len(models) < 2:
        raise InputError(f"{len(models)} model; expected two or more to make one network of")
    if maps is not None and not 1 <= maps <= len(models):
        raise InputError(f"maps is {maps}; expected 1 to {len(models)}")
    if not _is_ensemble(out):
        require_empty(out, "was not made by `fracture ensemble`")
    members = [load_classifier(path) for path in models]
    for path, member in zip(models, members, strict=True):
        _require_alike(path, member, members[0], models[0])
    folds = members[0].extra.get("folds")
    make = _calibrated_on_val if folds is None else _calibrated_out_of_fold
    classifier, predictions = make(folder, models, members, _together(members, maps), progress)
    write_predictions(predictions, out / PREDICTIONS_FILE)
    save_classifier(classifier, out / MODEL_FILE, half=True)
    return Run(out, classifier, pd.DataFrame(), predictions)


def _together(members: Sequence[Classifier], maps: int | None) -> Classifier:
    """The members as one network, its weights rounded to float16; not calibrated."""
    first = members[0]
    networks = [m.model for m in members if isinstance(m.model, LocalizingEfficientNet)]
    network = DeepEnsemble.of(networks, maps=maps).half().float().to(memory_format=torch.channels_last).eval()
    extra = {"members": [m.extra.get("config", {}) for m in members]}
    if "attribution" in first.extra:
        extra["attribution"] = first.extra["attribution"]
    options = {k: v for k, v in first.architecture.items() if k != "name"}
    own = {"members": len(members), "shared": network.shared, "maps": network.maps}
    architecture = {"name": "deep_ensemble", **own, **options}
    return Classifier(network, architecture, first.size, first.mean, first.std, first.fingerprint, extra=extra)


def _calibrated_on_val(
    folder: Path, models: Sequence[Path], members: Sequence[Classifier], made: Classifier, progress: bool
) -> tuple[Classifier, pd.DataFrame]:
    frame = training_frame(folder)
    _require_trained_on(folder, frame, models, members)
    images = {
        split: load_images(folder, list(part["file"]), size=made.size, progress=progress)
        for split, part in frame.groupby("split")
    }
    val = labelled(frame, images, "val")
    made = calibrated_for_tta(calibrated_by(made, made.logits(val.images), val.labels), val)
    made = with_familiarity(made, images["train"], images["val"])
    return made, judged_splits(made, frame, images)


def _calibrated_out_of_fold(
    folder: Path, models: Sequence[Path], members: Sequence[Classifier], made: Classifier, progress: bool
) -> tuple[Classifier, pd.DataFrame]:
    frame = learning_frame(folder, FineTuneConfig(size=made.size))
    learnt = frame[frame["split"] != "test"].reset_index(drop=True)
    _require_trained_on(folder, learnt, models, members)
    runs = [path.parent for path in models]
    number = begun_folds(runs[0], learnt)
    for run in runs[1:]:
        if not np.array_equal(number, begun_folds(run, learnt)):
            raise InputError(f"{run}: has other folds than {runs[0]}; expected the same, so the same number and seed")
    held, logits = out_of_fold(runs, learnt)
    images = load_images(folder, list(learnt["file"]), size=made.size, progress=progress)
    labels = learnt["label"].to_numpy(np.int64)
    mirrored = np.mean([mirrored_logits(run, number, images) for run in runs], axis=0)
    made = with_tta_calibration(calibrated_by(made, logits, labels), mirrored, labels)
    made = replace(made, extra=made.extra | {"folds": int(number.max())})
    made = with_familiarity_by_folds(made, images, number)
    return made, with_test(held, made, folder, frame[frame["split"] == "test"])


def _require_trained_on(
    folder: Path, frame: pd.DataFrame, models: Sequence[Path], members: Sequence[Classifier]
) -> None:
    """Raise InputError unless all learnt from this folder, and all by one split or all by folds."""
    folds = [m.extra.get("folds") for m in members]
    for path, member, own in zip(models, members, folds, strict=True):
        if own != folds[0]:
            said = [f"{n} folds" if n else "one split" for n in (own, folds[0])]
            raise InputError(f"{path}: was trained with {said[0]}; expected {said[1]}, as {models[0]}")
        if member.fingerprint != fingerprint(frame):
            many = WORDS[member.noun].many
            raise InputError(f"{path}: was trained on other data than {folder}; expected the same {many} and splits")


def _require_alike(path: Path, member: Classifier, first: Classifier, at: Path) -> None:
    """Raise InputError if a network cannot be in one ensemble with the first one."""
    fits = isinstance(member.model, LocalizingEfficientNet) and member.localizes
    if not fits or member.architecture != first.architecture:
        how = "" if member.localizes else ", not trained to localize"
        if member.noun == STUDY:
            how = ", and networks of studies cannot be put together"
        expected = "expected localizing_efficientnet, with outlines, all of one kind"
        raise InputError(f"{path}: is {called(member.architecture, first.architecture)}{how}; {expected}")
    if (member.size, member.mean, member.std) != (first.size, first.mean, first.std):
        raise InputError(f"{path}: reads images of {member.size} pixels; expected {first.size}, as {at}")


def _is_ensemble(out: Path) -> bool:
    """Whether a folder is what `ensemble_runs` leaves."""
    if (out / STATE_FILE).exists() or not (out / MODEL_FILE).is_file():
        return False
    return "members" in load_classifier(out / MODEL_FILE).extra
