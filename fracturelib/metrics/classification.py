"""Counting: what a threshold does to labelled scores, at one threshold and at all of them.

Labels are 0 (not fractured) and 1 (fractured); an image is predicted fractured if its score is at least the threshold.
What cannot be computed is NaN, never 0, and `undefined_reason` or `Confusion.undefined` says why.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from fracturelib._io.files import InputError
from fracturelib.metrics._checks import MOST, _in_unit, number, number_within

Labels = NDArray[np.int64]
Scores = NDArray[np.float64]


def checked(y: ArrayLike, score: ArrayLike) -> tuple[Labels, Scores]:
    """Labels as (n,) int64 of 0 and 1, scores as (n,) float64.

    Raises
    ------
    InputError
        If they are empty, of different length or not one-dimensional, if a score is NaN or no number, or a label
        neither 0 nor 1. Infinite scores are allowed: they have an order.
    """
    labels, given = _array("y", y), _array("score", score)
    try:
        # NumPy would take a date as a number, and of a complex one half.
        scores = None if given.dtype.kind in "mMc" else np.asarray(score, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        scores = None
    if scores is None:
        raise InputError(f"score has values of type {given.dtype}; expected numbers")
    if labels.ndim != 1 or scores.ndim != 1 or len(labels) != len(scores):
        raise InputError(f"y and score have shapes {labels.shape} and {scores.shape}; expected (n,) and (n,)")
    if not len(labels):
        raise InputError("y is empty; expected at least one label")
    missing = np.isnan(scores)
    if missing.any():
        raise InputError(f"score has {int(missing.sum())} NaN; expected numbers")
    binary = (labels == 0) | (labels == 1)
    if not np.all(binary):
        odd = labels[~np.asarray(binary)][0] if np.ndim(binary) else labels[0]
        if isinstance(odd, str | bytes):
            raise InputError(f"y has the label {odd!s}, which is text; expected the numbers 0 and 1")
        raise InputError(f"y has the label {odd!s}; expected 0 and 1")
    return labels.astype(np.int64), scores


def _array(name: str, values: ArrayLike) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError:
        raise InputError(f"{name} has rows of different lengths; expected one value for each image") from None


def checked_probabilities(y: ArrayLike, score: ArrayLike) -> tuple[Labels, Scores]:
    """As `checked`, and every score in 0..1: for what reads a score as a probability."""
    labels, scores = checked(y, score)
    outside = (scores < 0) | (scores > 1)
    if outside.any():
        raise InputError(f"score has the value {scores[outside][0]}; expected probabilities in 0..1")
    return labels, scores


def undefined_reason(y: ArrayLike) -> str | None:
    """Why a ranking of these labels has no AUC: a sentence, or None if it has one."""
    labels = np.asarray(y)
    positive = int((labels == 1).sum())
    if positive == 0:
        return f"undefined, because none of the {len(labels)} images is fractured"
    if positive == len(labels):
        return f"undefined, because all of the {len(labels)} images are fractured"
    return None


# What each ratio divides by: if there is none of them, it is undefined.
_NO_FRACTURED = "no image is fractured"
_NO_SOUND = "every image is fractured"
_NONE_CALLED = "no image is predicted fractured"
_ALL_CALLED = "every image is predicted fractured"


@dataclass(frozen=True)
class Confusion:
    """How many images were called what: true and false positives, false and true negatives."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def n(self) -> int:
        """All images."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def prevalence(self) -> float:
        """Proportion of images that is fractured, 0..1."""
        return ratio(self.tp + self.fn, self.n)

    @property
    def sensitivity(self) -> float:
        """Recall: of the fractured, the proportion that is predicted fractured, 0..1."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """Of those not fractured, the proportion that is not predicted fractured, 0..1."""
        return ratio(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> float:
        """Positive predictive value: of those predicted fractured, the proportion that is, 0..1."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def npv(self) -> float:
        """Negative predictive value: of those not predicted fractured, the proportion that is not, 0..1."""
        return ratio(self.tn, self.tn + self.fn)

    @property
    def accuracy(self) -> float:
        """Proportion of images that are called what they are, 0..1."""
        return ratio(self.tp + self.tn, self.n)

    @property
    def balanced_accuracy(self) -> float:
        """Mean of sensitivity and specificity, 0..1."""
        return (self.sensitivity + self.specificity) / 2

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and sensitivity, 0..1."""
        return self.f_beta(1.0)

    @property
    def youden(self) -> float:
        """Youden's J: sensitivity + specificity - 1, from -1 to 1; 0 is worth nothing (Youden 1950)."""
        return self.sensitivity + self.specificity - 1

    @property
    def mcc(self) -> float:
        """Matthews's correlation coefficient, -1..1 (Matthews 1975)."""
        below = float(self.tp + self.fp) * (self.tp + self.fn) * (self.tn + self.fp) * (self.tn + self.fn)
        return ratio(float(self.tp) * self.tn - float(self.fp) * self.fn, below**0.5)

    @property
    def lr_plus(self) -> float:
        """Positive likelihood ratio: a call of "fractured" multiplies the odds by it; infinite with no false alarm."""
        return odds(self.tp * (self.tn + self.fp), self.fp * (self.tp + self.fn))

    @property
    def lr_minus(self) -> float:
        """Negative likelihood ratio: a call of "not fractured" multiplies the odds by it; 0 if none is missed."""
        return odds(self.fn * (self.tn + self.fp), self.tn * (self.tp + self.fn))

    @property
    def alert_rate(self) -> float:
        """Proportion of images that is predicted fractured, 0..1."""
        return ratio(self.tp + self.fp, self.n)

    def f_beta(self, beta: float) -> float:
        """Weighted harmonic mean: sensitivity counts `beta` times as much as precision (van Rijsbergen 1979)."""
        weight = number_within("beta", beta, 0, MOST) ** 2
        return ratio((1 + weight) * self.tp, (1 + weight) * self.tp + weight * self.fn + self.fp)

    def predictive_values(self, prevalence: ArrayLike) -> tuple[Scores, Scores]:
        """PPV and NPV where fractures are more or less common than here, by Bayes's rule.

        Parameters
        ----------
        prevalence : float or (k,)
            In 0..1.

        Returns
        -------
        float64 arrays of the shape of `prevalence`
            NaN where nobody is called so.

        Raises
        ------
        InputError
            If a class is missing here, or a prevalence is outside 0..1.

        Examples
        --------
        >>> ppv, npv = Confusion(tp=90, fp=40, fn=10, tn=160).predictive_values(0.02)
        >>> print(f"{ppv:.3f} {npv:.3f}")
        0.084 0.997
        """
        for name in ("sensitivity", "specificity"):
            if why := self.undefined(name):
                raise InputError(f"{name} is {why}; expected images of both classes")
        return predictive_values(self.sensitivity, self.specificity, prevalence)

    def undefined(self, name: str) -> str | None:
        """Why the figure of that name is NaN here, in words; None if it is a number."""
        if not np.isnan(getattr(self, name)):
            return None
        if name in ("precision", "mcc", "f1") and not self.tp + self.fp:
            return f"undefined, because {_NONE_CALLED}"
        if name in ("npv", "mcc") and not self.tn + self.fn:
            return f"undefined, because {_ALL_CALLED}"
        if not self.tp + self.fn:
            return f"undefined, because {_NO_FRACTURED}"
        if not self.tn + self.fp:
            return f"undefined, because {_NO_SOUND}"
        return f"undefined, because {_NONE_CALLED if name == 'lr_plus' else _ALL_CALLED}"


def ratio(above: float, below: float) -> float:
    """The quotient `above / below`, and NaN where there is nothing to divide by."""
    return float(above / below) if below else float("nan")


def odds(above: float, below: float) -> float:
    """The quotient `above / below`, infinite if only `below` is 0, NaN if both are."""
    if below:
        return float(above / below)
    return float("inf") if above else float("nan")


def predictive_values(sensitivity: ArrayLike, specificity: ArrayLike, prevalence: ArrayLike) -> tuple[Scores, Scores]:
    """PPV and NPV at a prevalence by Bayes's rule; all in 0..1, broadcast together. NaN where nobody is called so.

    Examples
    --------
    >>> ppv, npv = predictive_values(0.9, 0.8, 0.02)
    >>> print(f"{ppv:.3f} {npv:.3f}")
    0.084 0.997
    """
    se, sp, share = (
        _in_unit(name, value)
        for name, value in (("sensitivity", sensitivity), ("specificity", specificity), ("prevalence", prevalence))
    )
    tp, fp = se * share, (1 - sp) * (1 - share)
    fn, tn = (1 - se) * share, sp * (1 - share)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(tp / (tp + fp)), np.asarray(tn / (tn + fn))


def confusion_at(y: ArrayLike, score: ArrayLike, threshold: float) -> Confusion:
    """Counts at a threshold: (n,) labels, (n,) scores.

    Examples
    --------
    >>> confusion_at([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.35)
    Confusion(tp=2, fp=1, fn=0, tn=1)
    """
    labels, scores = checked(y, score)
    threshold = number("threshold", threshold)
    predicted = scores >= threshold
    positive = int(labels.sum())
    tp = int(labels[predicted].sum())
    fp = int(predicted.sum()) - tp
    return Confusion(tp, fp, positive - tp, len(labels) - positive - fp)


def cumulative_counts(y: ArrayLike, score: ArrayLike) -> tuple[Scores, Labels, Labels]:
    """Distinct scores, highest first, and at each as threshold the true and the false positives: three (k,)."""
    labels, scores = checked(y, score)
    order = np.argsort(scores)[::-1]
    scores, labels = scores[order], labels[order]
    last = np.append(np.flatnonzero(scores[1:] != scores[:-1]), len(scores) - 1)
    tp = np.cumsum(labels)[last]
    return scores[last], tp, last + 1 - tp


def sweep(y: ArrayLike, score: ArrayLike, *, beta: float = 2.0) -> pd.DataFrame:
    """Everything at every distinct threshold, in one pass.

    Parameters
    ----------
    y : (n,) of 0 and 1
    score : (n,) float
    beta : float
        Of the column f_beta.

    Returns
    -------
    DataFrame
        A first row with threshold infinity (nothing is called, unless a score is infinite), then one for each distinct
        score, falling. Columns: threshold, tp, fp, fn, tn, sensitivity, specificity, precision, npv, accuracy,
        balanced_accuracy, f1, f_beta, mcc, youden, lr_plus, lr_minus, alert_rate. NaN where undefined; a likelihood
        ratio is infinite where only its divisor is 0.
    """
    threshold, tp, fp = cumulative_counts(y, score)
    if threshold[0] != np.inf:
        threshold, tp, fp = np.append(np.inf, threshold), np.append(0, tp), np.append(0, fp)
    positive, negative = int(tp[-1]), int(fp[-1])
    fn, tn, predicted = positive - tp, negative - fp, tp + fp
    total, weight = positive + negative, number_within("beta", beta, 0, MOST) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        sensitivity, specificity = tp / np.float64(positive), tn / np.float64(negative)
        margins = np.sqrt(predicted * np.float64(positive) * negative * (total - predicted))
        columns = {
            "threshold": threshold,
            "tp": tp,
            "fp": fp,
            "fn": fn,
            "tn": tn,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "precision": tp / predicted,
            "npv": tn / (total - predicted),
            "accuracy": (tp + tn) / total,
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "f1": 2 * tp / (predicted + positive),
            "f_beta": (1 + weight) * tp / (predicted + weight * positive),
            "mcc": (tp * np.float64(total) - predicted * np.float64(positive)) / margins,
            "youden": sensitivity + specificity - 1,
            "lr_plus": sensitivity / (fp / np.float64(negative)),
            "lr_minus": (fn / np.float64(positive)) / specificity,
            "alert_rate": predicted / total,
        }
    return pd.DataFrame(columns, copy=False)


def roc_auc(y: ArrayLike, score: ArrayLike) -> float:
    """The chance that a fractured image has a higher score than one that is not; ties count one half.

    The Mann-Whitney statistic over the number of pairs (Hanley & McNeil 1982,
    doi 10.1148/radiology.143.1.7063747), counted in whole numbers and divided once. NaN if one class is missing: see
    `undefined_reason`.

    Examples
    --------
    >>> roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    _, tp, fp = cumulative_counts(y, score)
    twice = np.diff(fp, prepend=0) @ (tp + np.append(0, tp[:-1]))
    return ratio(float(twice), 2.0 * float(tp[-1]) * float(fp[-1]))


def average_precision(y: ArrayLike, score: ArrayLike) -> float:
    """Mean precision over the steps of recall, without interpolation, 0..1; NaN if no image is fractured.

    Examples
    --------
    >>> average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.8333333333333333
    """
    _, tp, fp = cumulative_counts(y, score)
    if not tp[-1]:
        return float("nan")
    return float((np.diff(tp, prepend=0) * (tp / (tp + fp))).sum() / tp[-1])


def partial_auc(y: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve where the specificity is at least 0.9: 0.5 for a coin, 1 for a perfect ranking.

    Corrected so by McClish 1989, doi 10.1177/0272989X8900900307. NaN if one class is missing.
    """
    _, tp, fp = cumulative_counts(y, score)
    if not tp[-1] or not fp[-1]:
        return float("nan")
    most = 1 - 0.9
    alarms, sensitivity = np.append(0, fp) / fp[-1], np.append(0, tp) / tp[-1]
    inside = alarms <= most
    heights = np.concatenate([[0], sensitivity[inside], [np.interp(most, alarms, sensitivity)]])
    area = float(np.trapezoid(heights, np.concatenate([[0], alarms[inside], [most]])))
    chance = most**2 / 2
    return (1 + (area - chance) / (most - chance)) / 2
