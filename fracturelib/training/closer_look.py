"""Teaching a second network to look closer: from cuts of images, at the places that the first one suspects."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from fracturelib._io.files import InputError
from fracturelib._io.threads import in_threads
from fracturelib.data.coco import Annotation, fracture_mask
from fracturelib.data.dataset import load_annotations
from fracturelib.data.decode import read_grey
from fracturelib.models.checkpoint_checks import OddCheckpointError, check_weights
from fracturelib.models.classifier import Classifier, looked, model_logits, scores_from_logits
from fracturelib.models.closer_look import CUT, CloserLook, cut, strongest_cuts, strongest_place
from fracturelib.models.localizer import LocalizingNetwork
from fracturelib.models.registry import build_model
from fracturelib.training.config import FineTuneConfig
from fracturelib.training.distributed import ProcessGroup
from fracturelib.training.finetune import fit_localizer
from fracturelib.training.train import Images, calibrated_by, thresholds_of

FOLDER = "closer"  # of a run, for the second network's training


@dataclass(frozen=True)
class Cuts:
    """Cuts of images as they are stored, and what is in them.

    Attributes
    ----------
    images : Images
        (m, CUT, CUT) uint8, and labels: 1 with a fracture, 0 without one.
    masks : (m, CUT, CUT) uint8 of 0 and 1
    """

    images: Images
    masks: NDArray[np.uint8]


def cuts_of(folder: Path, frame: pd.DataFrame, cells: NDArray[np.floating], size: int, *, progress: bool) -> Cuts:
    """The strongest place of every image of `frame`, and each of its outlined fractures.

    A place with less than half of what is outlined in its image teaches nothing, and is left out; so is an image that
    is labelled fractured and not outlined, or outlined beside it.

    Parameters
    ----------
    cells : (n, g, g)
        The maps of the images in their squares of `size` pixels, by one look.
    """
    annotations = load_annotations(folder)
    rows = list(zip(frame.to_dict("records"), cells, strict=True))

    def of_one(row: tuple[dict[Any, Any], NDArray[np.floating]]) -> list[tuple[NDArray, NDArray, int]]:
        known = annotations.get(row[0]["file"], []) if row[0]["label"] else []
        if row[0]["label"] and not known:
            return []
        return _cuts_of_one(read_grey(folder / row[0]["file"]), row[1], size, known)

    found = [one for some in in_threads(of_one, rows, desc="cutting", unit="image", progress=progress) for one in some]
    images, masks, labels = zip(*found, strict=True)
    return Cuts(Images(np.stack(images), np.array(labels, np.int64)), np.stack(masks))


def _cuts_of_one(
    image: NDArray[np.uint8], cells: NDArray[np.floating], size: int, known: list[Annotation]
) -> list[tuple[NDArray, NDArray, int]]:
    height, width = image.shape
    drawn = fracture_mask(known, width=width, height=height) if known else np.zeros(image.shape, np.uint8)
    if known and not drawn.any():
        return []
    place = strongest_place(cells, width, height, size)
    apart = [np.argwhere(fracture_mask([one], width=width, height=height))[:, ::-1] for one in known]
    centres = [p[((p - p.mean(axis=0)) ** 2).sum(axis=1).argmin()] for p in apart if len(p)]
    found = []
    for at in [place, *centres]:
        mask = cut(drawn, *at)
        if at is not place or not mask.any() or mask.sum() >= 0.5 * drawn.sum():
            found.append((cut(image, *at), mask, int(mask.any())))
    return found


def with_closer_look(classifier: Classifier, second: LocalizingNetwork) -> Classifier:
    """A network and its second one in one, both as float16 keeps them; how they count is not known yet."""
    architecture = classifier.architecture | {"closer": True}
    model: Any = build_model(**architecture)
    model.load_state_dict(classifier.model.state_dict(), strict=False)
    model.closer.load_state_dict(second.state_dict())
    rounded = model.half().float().to(memory_format=torch.channels_last).eval()
    try:
        check_weights(rounded)
    except OddCheckpointError as error:
        raise InputError(f"closer_look keeps weights as float16, and then {error}") from None
    return replace(classifier, model=rounded, architecture=architecture)


def on_cuts(config: FineTuneConfig) -> FineTuneConfig:
    """How the second network learns: from smaller images, for half as many epochs, at half the rates."""
    half, of_features = config.learning_rate / 2, config.features_rate / 2
    return replace(config, size=CUT, epochs=-(-config.epochs // 2), learning_rate=half, features_rate=of_features)


def second_network(
    classifier: Classifier,
    folder: Path,
    frame: pd.DataFrame,
    squares: Mapping[str, NDArray[np.uint8]],
    config: FineTuneConfig,
    out: Path,
    *,
    ranks: ProcessGroup,
    progress: bool,
) -> Classifier:
    """Teach a second network where the first one looks, and put both in one (`with_closer_look`).

    It begins as the first one, and learns on, from cuts of the images of train.
    """
    model = classifier.model
    assert isinstance(model, LocalizingNetwork)
    sets: dict[str, Cuts] = {}
    for split in ("train", "val"):
        part = frame[frame["split"] == split]
        if len(part):
            _, cells = looked(model, squares[split], mean=classifier.mean, std=classifier.std)
            sets[split] = cuts_of(folder, part, cells, classifier.size, progress=progress and ranks.first)
    train, val = sets["train"], sets.get("val")
    if val is not None and len(set(val.images.labels)) < 2:
        val = None  # how the looks count is fitted on whole images, which need no outlines
    if ranks.first:
        out.mkdir(parents=True, exist_ok=True)
    taught, _ = fit_localizer(
        train.images, None if val is None else val.images, train.masks,
        np.zeros((0, CUT, CUT), np.uint8) if val is None else val.masks,
        on_cuts(config), model=copy.deepcopy(model), out=out, ranks=ranks,
        fingerprint=classifier.fingerprint, progress=progress,
    )  # fmt: skip
    assert isinstance(taught.model, LocalizingNetwork)
    return with_closer_look(classifier, taught.model)


@dataclass(frozen=True)
class Looks:
    """What both networks make of images: the evidence of the first look (n,), and of the second (n,)."""

    first: NDArray[np.float64]
    second: NDArray[np.float64]


def both_looks(classifier: Classifier, squares: NDArray[np.uint8], folder: Path, files: list[str]) -> Looks:
    """Look at images of a folder, and at their strongest places; `squares` (n, size, size) are theirs."""
    model: Any = classifier.model
    first, cells = looked(model, squares, mean=classifier.mean, std=classifier.std)
    stored = (read_grey(folder / file) for file in files)
    cuts = [strongest_cuts([image], found[None], classifier.size) for image, found in zip(stored, cells, strict=True)]
    together = np.concatenate(cuts) if cuts else np.zeros((0, CUT, CUT), np.uint8)
    second = model_logits(model.closer, together, mean=classifier.mean, std=classifier.std)
    return Looks(first[:, 1] - first[:, 0], second[:, 1] - second[:, 0])


def weighed(classifier: Classifier, looks: Looks, labels: NDArray[np.int64]) -> Classifier:
    """The same, with weights of both looks and thresholds from images (n,) that neither network learnt from.

    The first look alone, whose weights have been rounded meanwhile, is calibrated anew.
    """
    if not np.isfinite([looks.first, looks.second]).all():
        raise InputError("closer_look: a network gives no number for an image; expected evidence to weigh")
    found = CloserLook(_weights(looks, labels), {})
    if not any(found.weights[:2]):
        print("note: neither look ranks fractured images above the others, so every image gets the same score")
    thresholds = thresholds_of(scores_from_logits(found.logits(looks.first, looks.second)), labels)
    alone = np.stack([np.zeros(len(labels)), looks.first], axis=1)
    return replace(calibrated_by(classifier, alone, labels), closer_look=replace(found, thresholds=thresholds))


def _weights(looks: Looks, labels: NDArray[np.int64]) -> tuple[float, float, float]:
    """Those of a logistic regression, C 1, in which more evidence never speaks against a fracture."""
    x, sign = np.stack([looks.first, looks.second, np.ones(len(labels))], axis=1), 2.0 * labels - 1

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (x @ w)
        slope = -(sign * expit(-margin)) @ x
        return float(np.logaddexp(0, -margin).sum() + (w[:2] ** 2).sum() / 2), slope + np.array([w[0], w[1], 0.0])

    best = minimize(loss, np.zeros(3), jac=True, method="L-BFGS-B", bounds=[(0, None), (0, None), (None, None)])
    first, second, added = (float(w) for w in best.x)
    return first, second, added
