"""Exercises of lesson 02: cross-entropy, faulty training loops, nonsense learnt by heart, finding every fracture."""

import copy
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray

from fracturelib.checks.answers import (
    Reply,
    exercise,
    judge_choice,
    judge_number,
    near,
    not_yet,
    number,
    proportion,
    right,
)
from fracturelib.metrics import confusion_at, roc_auc
from fracturelib.models.classifier import model_logits, normalised
from fracturelib.tutorial import FAULTS

IMAGES = ((0.9, 1), (0.6, 1), (0.2, 0))  # P(Fractured), label
ONE_OFF = 0.001  # how far below the highest threshold an answer may be
KNOWN = 0.15  # a loss below which a few images are known by heart


class Labelled(Protocol):
    """Images (n, s, s) uint8 and labels (n,), such as a split."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


# 2.1 --------------------------------------------------------------------------------------------------------------


@exercise("2.1")
def cross_entropy(loss: object, *, images: Sequence[tuple[float, int]] = IMAGES) -> Reply:
    """The mean cross-entropy of a few images: P(Fractured) and label of each."""
    value = number(loss, "the loss")
    p, y = np.array([i[0] for i in images]), np.array([i[1] for i in images])
    true = np.where(y == 1, p, 1 - p)
    mean = float(-np.log(true).mean())
    wrongs = [
        (float(-np.log10(true).mean()), "the logarithm is the natural one: `np.log`, not `np.log10`"),
        (float(-np.log2(true).mean()), "the logarithm is the natural one: `np.log`, not `np.log2`"),
        (
            float(-np.log(p).mean()),
            "one image is not fractured: to its true label the network gave 1 - P(Fractured)",
        ),
        (-mean, "the number is right but for its sign: a surprise is minus the logarithm"),
        (mean * len(p), "that is the sum; take the mean over the images"),
        (float(-np.log(true.mean())), "take the logarithm of each image first, and the mean after it"),
        (float(1 - true.mean()), "that is the mean distance from the truth; cross-entropy takes its logarithm"),
        (
            float(-(y * np.log(p)).mean()),
            "the image that is not fractured counts, too: with the logarithm of 1 - P(Fractured)",
        ),
    ]
    return judge_number(
        value,
        mean,
        "most of it comes from the image of which the network was least sure. One image about which it is sure, and "
        "wrong, can cost more than all others together.",
        wrongs,
        otherwise="for each image: which probability did its true label get? Minus its logarithm; then the mean",
    )


# 2.2 --------------------------------------------------------------------------------------------------------------

_SEEN = {
    "A": "the loss of A trembles about that of a coin and never falls",
    "B": "the loss of B does not move at all, not even by chance",
    "C": "the loss of C does fall at first",
}
_MEANT = {
    "labels": "with new labels in every step there is nothing that stays to be learnt, but the weights do move",
    "order": "if the step comes before the gradients are there, the weights never move",
    "zero_grad": "without zero_grad the gradients of all steps pile up: it learns at first, and then cannot stop",
}


@exercise("2.2")
def faulty_loops(a: object, b: object, c: object) -> Reply:
    """Which fault each of the three loops has."""
    for loop, said in zip(FAULTS, (a, b, c), strict=True):
        wrongs = {
            fault: f"{_SEEN[loop]}; but {_MEANT[fault]}. Is that what you see?"
            for fault in _MEANT
            if fault != FAULTS[loop]
        }
        judge_choice(said, FAULTS[loop], "", wrongs)
    return right(
        "none of them raised an error, and from the final score alone nobody could have told which is which. Draw the "
        "loss of a few images before you train on all."
    )


# 2.3 --------------------------------------------------------------------------------------------------------------


@exercise("2.3")
def learns_nonsense(
    network: object,
    auc: object,
    *,
    few: tuple[Any, Any],
    val: Labelled,
    mean: float,
    std: float,
) -> Reply:
    """A network that knows wrong labels by heart, and its validation AUC; `few` are its images and the true labels."""
    if not isinstance(network, torch.nn.Module):
        not_yet(f"hand in the network itself, such as `learner`; this is a {type(network).__name__}")
    value = proportion(auc, "the AUC")
    images, labels = torch.as_tensor(few[0]), torch.as_tensor(few[1])
    with torch.no_grad():  # as it is while training: by the statistics of these images
        logits = copy.deepcopy(network).train()(normalised(images, mean, std))
    true, wrong = (float(F.cross_entropy(logits, target)) for target in (labels, 1 - labels))
    if true < KNOWN:
        not_yet("this network knows the *true* labels by heart; teach it `1 - few_labels`")
    if wrong > KNOWN:
        not_yet(
            f"it does not know the wrong labels yet: its loss on them is {wrong:.2f}. Begin with a new network and an "
            "optimizer of its own, and give it a hundred steps"
        )
    _judge_auc(value, model_logits(network, val.images, mean=mean, std=std), val.labels)
    return right(
        f"it learnt nonsense by heart, as it learnt the truth, and on images that it has not seen its AUC is "
        f"{value:.2f}. A low training loss says that a network has room enough; it does not say that it knows anything."
    )


def _judge_auc(value: float, logits: NDArray[np.float64], labels: ArrayLike) -> None:
    margin = logits[:, 1] - logits[:, 0]
    truth = roc_auc(labels, margin)
    if near(value, truth, 0.011):
        return
    if near(value, 1 - truth, 0.011):
        not_yet("you ranked by 'not fractured': column 1 is 'fractured'. Or did you turn the validation labels, too?")
    if near(value, float(((margin >= 0) == (np.asarray(labels) == 1)).mean()), 0.011):
        not_yet("that is an accuracy; the AUC is about the order of the scores, so leave them as they are")
    not_yet(
        "that is not the validation AUC of the network you hand in; score the validation images after the last step"
    )


# 2.4 --------------------------------------------------------------------------------------------------------------


@exercise("2.4")
def finds_all(threshold: object, *, y: ArrayLike, scores: ArrayLike) -> Reply:
    """The highest threshold that misses no fracture."""
    value = proportion(threshold, "the threshold")
    labels, found = np.asarray(y), np.asarray(scores, float)
    best = float(found[labels == 1].min())
    at, goal = confusion_at(labels, found, value), confusion_at(labels, found, best)
    if at.fn or (at.fp != goal.fp and not near(value, best, ONE_OFF)):
        _other_threshold(value, labels, found)
    return right(
        f"and it leaves {goal.specificity:.2f} of the others without an alarm. One fracture that is hard to see sets "
        "the price for everybody, and the next patients may bring a harder one."
    )


def _other_threshold(value: float, labels: NDArray[Any], found: NDArray[np.float64]) -> NoReturn:
    """What is wrong with a threshold."""
    at = confusion_at(labels, found, value)
    if at.fn and near(value, float(found[labels == 1].min())):
        not_yet("it misses a fracture by rounding: take the score itself, or round down")
    if near(value, float(found[labels == 1].max()), ONE_OFF):
        not_yet("that is the score of the surest fracture; of which one is the network least sure?")
    if at.fn:
        not_yet(f"it misses {at.fn} of {at.tp + at.fn} fractures of validation; go lower")
    if not at.tn:
        not_yet("that calls everybody fractured: nothing is missed, and nothing is won; how high can you go?")
    not_yet("nothing is missed, but a higher threshold would find them all, too, with fewer false alarms")
