"""What a classifier is worth: pure functions of labels, scores, groups and a threshold.

Labels are 0 (not fractured) and 1 (fractured); a film is called fractured if its score is at least the threshold.
What cannot be computed is NaN, and `undefined_reason` says why.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata
from statsmodels.stats.proportion import proportion_confint

from fracturelib._files import InputError

Labels = NDArray[np.int64]
Scores = NDArray[np.float64]


def checked(y: ArrayLike, score: ArrayLike) -> tuple[Labels, Scores]:
    """Labels as (n,) int64 of 0 and 1, scores as (n,) float64.

    Raises
    ------
    InputError
        If they are empty, of different length or not one-dimensional, if a score is NaN, or a label neither 0 nor 1.
        Infinite scores are allowed: they have an order.
    """
    labels, scores = np.asarray(y), np.asarray(score, dtype=np.float64)
    if labels.ndim != 1 or scores.ndim != 1 or len(labels) != len(scores):
        raise InputError(f"y and score have shapes {labels.shape} and {scores.shape}; expected (n,) and (n,)")
    if not len(labels):
        raise InputError("y is empty; expected at least one label")
    if np.isnan(scores).any():
        raise InputError(f"score has {int(np.isnan(scores).sum())} NaN; expected numbers")
    if not np.isin(labels, (0, 1)).all():
        odd = labels[~np.isin(labels, (0, 1))][0]
        raise InputError(f"y has the label {odd!r}; expected 0 and 1")
    return labels.astype(np.int64), scores


def undefined_reason(y: ArrayLike) -> str | None:
    """Why a ranking of these labels has no AUC: a sentence, or None if it has one."""
    labels = np.asarray(y)
    positive = int((labels == 1).sum())
    if positive == 0:
        return f"undefined, because none of the {len(labels)} films is fractured"
    if positive == len(labels):
        return f"undefined, because all of the {len(labels)} films are fractured"
    return None


@dataclass(frozen=True)
class Confusion:
    """How many films were called what: true and false positives, false and true negatives."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def n(self) -> int:
        """All films."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def sensitivity(self) -> float:
        """Recall: of the fractured, the share that is called fractured, 0..1."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """Of those not fractured, the share that is not called fractured, 0..1."""
        return ratio(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> float:
        """Positive predictive value: of those called fractured, the share that is, 0..1."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def npv(self) -> float:
        """Negative predictive value: of those not called fractured, the share that is not, 0..1."""
        return ratio(self.tn, self.tn + self.fn)

    @property
    def accuracy(self) -> float:
        """Share of films that are called what they are, 0..1."""
        return ratio(self.tp + self.tn, self.n)

    @property
    def balanced_accuracy(self) -> float:
        """Mean of sensitivity and specificity, 0..1."""
        return (self.sensitivity + self.specificity) / 2

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and sensitivity, 0..1."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

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
        """Positive likelihood ratio: how much a call of "fractured" raises the odds."""
        return ratio(self.sensitivity, 1 - self.specificity)

    @property
    def lr_minus(self) -> float:
        """Negative likelihood ratio: how much a call of "not fractured" lowers the odds."""
        return ratio(1 - self.sensitivity, self.specificity)

    @property
    def alert_rate(self) -> float:
        """Share of films that is called fractured, 0..1."""
        return ratio(self.tp + self.fp, self.n)


def ratio(above: float, below: float) -> float:
    """above / below, and NaN where there is nothing to divide by."""
    return float(above / below) if below else float("nan")


def confusion_at(y: ArrayLike, score: ArrayLike, threshold: float) -> Confusion:
    """Counts at a threshold: (n,) labels, (n,) scores."""
    labels, scores = checked(y, score)
    called = scores >= threshold
    tp, fp = int((called & (labels == 1)).sum()), int((called & (labels == 0)).sum())
    return Confusion(tp, fp, int((labels == 1).sum()) - tp, int((labels == 0).sum()) - fp)


def cumulative_counts(y: ArrayLike, score: ArrayLike) -> tuple[Scores, Labels, Labels]:
    """Distinct scores, highest first, and at each as threshold the true and the false positives: three (k,)."""
    labels, scores = checked(y, score)
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    last = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True])
    tp = np.cumsum(labels)[last]
    return scores[last], tp, last + 1 - tp


def sweep(y: ArrayLike, score: ArrayLike) -> pd.DataFrame:
    """Everything at every distinct threshold, in one pass.

    Parameters
    ----------
    y : (n,) of 0 and 1
    score : (n,) float

    Returns
    -------
    DataFrame
        One row for each distinct score, and a first one with threshold infinity (nothing is called), falling. Columns:
        threshold, tp, fp, fn, tn, sensitivity, specificity, precision, npv, accuracy, balanced_accuracy, f1, mcc,
        youden, lr_plus, lr_minus, alert_rate; NaN where undefined.
    """
    threshold, tp, fp = cumulative_counts(y, score)
    threshold, tp, fp = np.r_[np.inf, threshold], np.r_[0, tp], np.r_[0, fp]
    fn, tn = tp[-1] - tp, fp[-1] - fp
    with np.errstate(divide="ignore", invalid="ignore"):
        sensitivity, specificity = _share(tp, tp + fn), _share(tn, tn + fp)
        below = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * 1.0 * (tn + fn))
        columns = {
            "threshold": threshold,
            "tp": tp,
            "fp": fp,
            "fn": fn,
            "tn": tn,
            "sensitivity": sensitivity,
            "specificity": specificity,
            "precision": _share(tp, tp + fp),
            "npv": _share(tn, tn + fn),
            "accuracy": _share(tp + tn, tp + fp + fn + tn),
            "balanced_accuracy": (sensitivity + specificity) / 2,
            "f1": _share(2 * tp, 2 * tp + fp + fn),
            "mcc": _share(1.0 * tp * tn - 1.0 * fp * fn, below),
            "youden": sensitivity + specificity - 1,
            "lr_plus": _share(sensitivity, 1 - specificity),
            "lr_minus": _share(1 - sensitivity, specificity),
            "alert_rate": _share(tp + fp, tp + fp + fn + tn),
        }
    return pd.DataFrame(columns)


def _share(above: NDArray[np.generic], below: NDArray[np.generic]) -> Scores:
    return np.divide(above, below, out=np.full(len(above), np.nan), where=np.asarray(below) != 0)


def roc_auc(y: ArrayLike, score: ArrayLike) -> float:
    """The chance that a fractured film has a higher score than one that is not; ties count one half.

    The Mann-Whitney statistic divided by the number of pairs (Hanley & McNeil 1982,
    doi 10.1148/radiology.143.1.7063747).
    NaN if one class is missing: see `undefined_reason`.
    """
    labels, scores = checked(y, score)
    positive = int(labels.sum())
    pairs = positive * (len(labels) - positive)
    if not pairs:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[labels == 1].sum() - positive * (positive + 1) / 2) / pairs)


def average_precision(y: ArrayLike, score: ArrayLike) -> float:
    """Mean precision over the steps of recall, without interpolation, 0..1; NaN if no film is fractured."""
    _, tp, fp = cumulative_counts(y, score)
    if not tp[-1]:
        return float("nan")
    return float((np.diff(np.r_[0, tp]) * (tp / (tp + fp))).sum() / tp[-1])


def threshold_for_sensitivity(y: ArrayLike, score: ArrayLike, target: float) -> float:
    """The highest score that, as threshold, reaches the sensitivity `target` (0..1).

    Raises
    ------
    InputError
        If no film is fractured.
    """
    threshold, tp, _ = cumulative_counts(y, score)
    _require(tp[-1], "fractured")
    return float(threshold[np.argmax(tp >= target * tp[-1] - 1e-9)])


def threshold_for_specificity(y: ArrayLike, score: ArrayLike, target: float) -> float:
    """The lowest score that, as threshold, reaches the specificity `target` (0..1); infinity if none does.

    Raises
    ------
    InputError
        If every film is fractured.
    """
    threshold, _, fp = cumulative_counts(y, score)
    _require(fp[-1], "not fractured")
    reached = fp[-1] - fp >= target * fp[-1] - 1e-9
    return float(threshold[np.flatnonzero(reached)[-1]]) if reached.any() else float("inf")


def threshold_youden(y: ArrayLike, score: ArrayLike) -> float:
    """The score that, as threshold, has the greatest Youden's J; the highest of several.

    Raises
    ------
    InputError
        If a class is missing.
    """
    threshold, tp, fp = cumulative_counts(y, score)
    _require(tp[-1], "fractured")
    _require(fp[-1], "not fractured")
    return float(threshold[np.argmax(tp / tp[-1] - fp / fp[-1])])


def _require(count: int, name: str) -> None:
    if not count:
        raise InputError(f"y: no film is {name}; expected at least one")


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval.

    Attributes
    ----------
    value, low, high : float
    level : float
        Coverage that it aims at, such as 0.95.
    method : str
        How it was made.
    resamples : int
        Of a bootstrap, those that were defined.
    """

    value: float
    low: float
    high: float
    level: float = 0.95
    method: str = ""
    resamples: int = 0

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def wilson_interval(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927); for films that are independent of each other."""
    if not n:
        return Interval(float("nan"), float("nan"), float("nan"), level, "Wilson")
    low, high = proportion_confint(successes, n, alpha=1 - level, method="wilson")
    return Interval(successes / n, float(low), float(high), level, "Wilson")


Metric = Callable[[Labels, Scores], float]


def group_bootstrap(
    metric: Metric,
    y: ArrayLike,
    score: ArrayLike,
    group: Sequence[object] | None = None,
    *,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of any metric, drawing whole patients with replacement.

    Parameters
    ----------
    metric : callable
        (labels (n,), scores (n,)) -> float; NaN where undefined.
    y, score : (n,)
    group : (n,), optional
        The patient of each film; each film its own if not given. Films of one patient are alike, and drawing them one
        by one would make the interval too narrow (Field & Welsh 2007, doi 10.1111/j.1467-9868.2007.00593.x).
    n : int
        Resamples.
    seed : int
    level : float
        Coverage.
    """
    labels, scores = checked(y, score)
    codes = np.arange(len(labels)) if group is None else pd.factorize(np.asarray(group, dtype=object))[0]
    if len(codes) != len(labels):
        raise InputError(f"group has {len(codes)} values; expected {len(labels)}, one for each film")
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(codes.max() + 2))
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(n):
        chosen = rng.integers(0, codes.max() + 1, codes.max() + 1)
        rows = order[np.concatenate([np.arange(starts[g], starts[g + 1]) for g in chosen])]
        drawn.append(metric(labels[rows], scores[rows]))
    values = np.array(drawn)
    values = values[np.isfinite(values)]
    value = metric(labels, scores)
    if not len(values) or not np.isfinite(value):
        return Interval(float(value), float("nan"), float("nan"), level, "group bootstrap", len(values))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high), level, "group bootstrap", len(values))


def rate_at(name: str, threshold: float) -> Metric:
    """One of the properties of `Confusion` at a threshold, as a metric."""
    return lambda y, score: float(getattr(confusion_at(y, score, threshold), name))


def operating_point_table(
    y: ArrayLike,
    score: ArrayLike,
    threshold: float,
    group: Sequence[object] | None = None,
    *,
    names: Sequence[str] = ("sensitivity", "specificity", "precision", "npv", "accuracy", "youden"),
    n: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """What a threshold is worth: columns metric, value, low, high (95 % by patients), numerator, denominator."""
    labels, scores = checked(y, score)
    counts = confusion_at(labels, scores, threshold)
    of = {
        "sensitivity": (counts.tp, counts.tp + counts.fn),
        "specificity": (counts.tn, counts.tn + counts.fp),
        "precision": (counts.tp, counts.tp + counts.fp),
        "npv": (counts.tn, counts.tn + counts.fn),
        "accuracy": (counts.tp + counts.tn, counts.n),
    }
    drawn = [Confusion(*row) for row in resampled_counts(labels, scores, threshold, group, n=n, seed=seed)]
    rows = []
    for name in names:
        values = np.array([getattr(c, name) for c in drawn])
        values = values[np.isfinite(values)]
        low, high = np.quantile(values, [0.025, 0.975]) if len(values) else (float("nan"), float("nan"))
        above, below = of.get(name, (None, None))
        rows.append((name, getattr(counts, name), low, high, above, below))
    table = pd.DataFrame(rows, columns=["metric", "value", "low", "high", "numerator", "denominator"])
    return table.astype({"numerator": "Int64", "denominator": "Int64"})


def resampled_counts(
    y: Labels, score: Scores, threshold: float, group: Sequence[object] | None, *, n: int, seed: int
) -> list[list[int]]:
    """tp, fp, fn, tn of `n` bootstrap samples of whole patients: each one's counts, as often as it is drawn."""
    codes = np.arange(len(y)) if group is None else pd.factorize(np.asarray(group, dtype=object))[0]
    called = score >= threshold
    cells = [called & (y == 1), called & (y == 0), ~called & (y == 1), ~called & (y == 0)]
    patients = int(codes.max()) + 1
    counts = np.stack([np.bincount(codes, weights=cell, minlength=patients) for cell in cells], axis=1)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(patients, np.full(patients, 1 / patients), size=n)
    return (weights @ counts).astype(int).tolist()


def by_subgroup(
    frame: pd.DataFrame, column: str, *, threshold: float, least: int = 10, n: int = 500, seed: int = 0
) -> pd.DataFrame:
    """AUC, sensitivity and specificity in each value of a column, with how many films stand behind them.

    Parameters
    ----------
    frame : DataFrame
        label, score, group and `column`.
    least : int
        A figure from fewer films of its class is not given: NaN.

    Returns
    -------
    DataFrame
        Index: the values of `column`, most films first. Columns: fractured, not_fractured (counts), auc, auc_low,
        auc_high, sensitivity, specificity.
    """
    rows = {}
    for value, part in frame.groupby(column, observed=True):
        y, score = part["label"].to_numpy(), part["score"].to_numpy()
        positive, negative = int((y == 1).sum()), int((y == 0).sum())
        counts = confusion_at(y, score, threshold)
        enough = min(positive, negative) >= least
        auc = group_bootstrap(roc_auc, y, score, list(part["group"]), n=n, seed=seed) if enough else None
        rows[value] = {
            "fractured": positive,
            "not_fractured": negative,
            "auc": auc.value if auc else float("nan"),
            "auc_low": auc.low if auc else float("nan"),
            "auc_high": auc.high if auc else float("nan"),
            "sensitivity": counts.sensitivity if positive >= least else float("nan"),
            "specificity": counts.specificity if negative >= least else float("nan"),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(column)
    order = (table["fractured"] + table["not_fractured"]).sort_values(ascending=False, kind="stable").index
    return table.loc[order]
