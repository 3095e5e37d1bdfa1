"""How sure is a figure, and do two models differ? Wilson, DeLong, McNemar: for images independent of each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest, norm, rankdata

from fracturelib.metrics._checks import require_counts, require_level
from fracturelib.metrics.classification import Scores, checked, undefined_reason
from fracturelib.metrics.limits import difference_limits, newcombe_auc_limits, wilson_limits

NAN = float("nan")


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval.

    Attributes
    ----------
    value, low, high : float
        NaN where undefined.
    level : float
        Coverage that it aims at, such as 0.95.
    method : str
        How it was made.
    resamples : int
        Of a bootstrap, those that were defined.
    undefined : str or None
        Why there is no value or no interval, in words.
    note : str
        Why the interval was made in another way than `method` says; else empty.
    """

    value: float
    low: float
    high: float
    level: float = 0.95
    method: str = ""
    resamples: int = 0
    undefined: str | None = None
    note: str = ""

    def __str__(self) -> str:
        if np.isnan(self.low) and self.undefined:
            return self.undefined if np.isnan(self.value) else f"{self.value:.2f} ({self.undefined})"
        if np.isnan(self.low):
            return "undefined" if np.isnan(self.value) else f"{self.value:.2f} (interval undefined)"
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f}{'; ' if self.note else ''}{self.note})"


def wilson_interval(successes: int, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (Wilson 1927); for images that are independent of each other.

    Examples
    --------
    >>> interval = wilson_interval(9, 10)
    >>> print(f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})")
    0.90 (0.60 to 0.98)
    """
    require_level(level)
    require_counts(successes, n)
    if not n:
        return Interval(NAN, NAN, NAN, level, "Wilson", undefined="undefined, because there are no images")
    return Interval(successes / n, *wilson_limits(successes, n, level=level), level, "Wilson")


def delong_components(y: ArrayLike, score: ArrayLike) -> tuple[Scores, Scores]:
    """For each fractured image the proportion of negatives below it; for each negative that of fractured ones above.

    Ties count one half. By midranks, in O(n log n) (Sun & Xu 2014, doi 10.1109/LSP.2014.2337313).

    Returns
    -------
    (n_fractured,), (n_sound,) float64
        Both have the AUC as their mean.
    """
    labels, scores = checked(y, score)
    above, below = scores[labels == 1], scores[labels == 0]
    everyone = rankdata(np.concatenate([above, below]))
    m, n = len(above), len(below)
    return (everyone[:m] - rankdata(above)) / max(n, 1), 1 - (everyone[m:] - rankdata(below)) / max(m, 1)


def delong_covariance(y: ArrayLike, scores: Sequence[ArrayLike]) -> tuple[Scores, Scores]:
    """AUCs (k,) of k rankings of the same images and their covariance (k, k); NaN with under two images of a class.

    DeLong, DeLong & Clarke-Pearson 1988, doi 10.2307/2531595.
    """
    parts = [delong_components(y, score) for score in scores]
    fractured, negative = np.array([p[0] for p in parts]), np.array([p[1] for p in parts])
    m, n, k = fractured.shape[1], negative.shape[1], len(scores)
    if not m or not n:
        return np.full(k, NAN), np.full((k, k), NAN)
    if min(m, n) < 2:
        return fractured.mean(axis=1), np.full((k, k), NAN)
    covariance = np.cov(fractured).reshape(k, k) / m + np.cov(negative).reshape(k, k) / n
    return fractured.mean(axis=1), covariance


def delong_interval(y: ArrayLike, score: ArrayLike, *, level: float = 0.95) -> Interval:
    """AUC with DeLong's interval, cut to 0..1; for images that are independent of each other.

    With a perfect ranking its variance is 0, which is not certainty: the interval is Newcombe's then
    (`newcombe_auc_limits`), and the note says so.

    Examples
    --------
    >>> interval = delong_interval([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.6, 0.4, 0.7, 0.9])
    >>> print(f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})")
    0.89 (0.58 to 1.00)
    """
    require_level(level)
    aucs, covariance = delong_covariance(y, [score])
    value, spread = float(aucs[0]), float(np.sqrt(covariance[0, 0]))
    half = norm.ppf((1 + level) / 2) * spread
    reason = undefined_reason(y)
    if reason is None and np.isnan(spread):
        reason = "interval undefined, because a class has one image only"
    if reason is None and spread < 1e-9:
        fractured = int((np.asarray(y) == 1).sum())
        negative = len(np.asarray(y)) - fractured
        note = f"DeLong's variance is 0: Newcombe's interval of {fractured} + {negative} images"
        return Interval(
            value, *newcombe_auc_limits(value, fractured, negative, level=level), level, "DeLong", note=note
        )
    low, high = (max(0.0, value - half), min(1.0, value + half)) if reason is None else (NAN, NAN)
    return Interval(value, low, high, level, "DeLong", undefined=reason)


@dataclass(frozen=True)
class Comparison:
    """Two models on a figure: value of each, difference a - b with its interval, test statistic and p value.

    `undefined` says why there is no test or no interval; `note` why the interval was made in another way than `method`.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    statistic: float
    p: float
    method: str
    undefined: str | None = None
    note: str = ""

    def __str__(self) -> str:
        p = self.undefined if np.isnan(self.p) and self.undefined else f"p = {self.p:.3f}"
        if np.isnan(self.difference):
            return f"{self.undefined or 'undefined'} ({self.method})"
        note = f"; {self.note}" if self.note else ""
        if np.isnan(self.low):
            why = "" if np.isnan(self.p) and self.undefined else f" ({self.undefined or 'interval undefined'})"
            return f"{self.difference:+.2f}{why}, {p} ({self.method})"
        return f"{self.difference:+.2f} ({self.low:+.2f} to {self.high:+.2f}{note}), {p} ({self.method})"


def delong_test(y: ArrayLike, a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Comparison:
    """Do two models rank the same images equally well? Paired, two-sided.

    Images are taken as independent; with several images a patient use `paired_group_bootstrap`.
    """
    require_level(level)
    aucs, covariance = delong_covariance(y, [a, b])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # The subtraction leaves rounding errors where two models rank alike.
    variance = 0.0 if abs(variance) < 1e-15 else variance
    return _compared(float(aucs[0]), float(aucs[1]), variance, undefined_reason(y), level=level, method="paired DeLong")


def _compared(a: float, b: float, variance: float, reason: str | None, *, level: float, method: str) -> Comparison:
    difference = a - b
    if reason is None and not variance > 0:
        same = "the two rank alike" if difference == 0 else "the difference does not vary"
        reason = f"test undefined, because {same}"
    if reason:
        return Comparison(a, b, difference, NAN, NAN, NAN, NAN, method, reason)
    error = float(np.sqrt(variance))
    half = float(norm.ppf((1 + level) / 2)) * error
    p = float(2 * norm.sf(abs(difference) / error))
    return Comparison(a, b, difference, difference - half, difference + half, difference / error, p, method)


def mcnemar_test(y: ArrayLike, called_a: ArrayLike, called_b: ArrayLike) -> Comparison:
    """Are two models right equally often, each at its threshold? Exact, two-sided (McNemar 1947).

    Parameters
    ----------
    y : (n,) of 0 and 1
    called_a, called_b : (n,) bool
        What each predicts fractured. Give the fractured images only to compare sensitivities, the negative ones only to
        compare specificities.

    Returns
    -------
    Comparison
        a, b: proportion of images that each gets right; statistic: how many only a gets right; low and high: Wald's,
        or, where that would be a point because the two are right on the same images or on no image together, from
        Wilson's limits of each (`difference_limits`), and the note says so.
    """
    labels, a = checked(y, np.asarray(called_a, dtype=float))
    _, b = checked(y, np.asarray(called_b, dtype=float))
    right_a, right_b = a == labels, b == labels
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    n, discordant = len(labels), only_a + only_b
    difference = (only_a - only_b) / n
    reason = None if discordant else "test undefined, because the two are right on the same images"
    p = float(binomtest(only_a, discordant).pvalue) if discordant else NAN
    half = norm.ppf(0.975) * np.sqrt(max(discordant - (only_a - only_b) ** 2 / n, 0.0)) / n
    low, high, note = float(difference - half), float(difference + half), ""
    if not half:
        # Where no image differs, the difference is at most the proportion that does, of which none was seen.
        ends = (1.0, 0.0) if difference > 0 else (0.0, 1.0 if discordant else 0.0)
        of_a, of_b = (wilson_limits(round(end) * n, n) for end in ends)
        low, high = difference_limits(ends[0], of_a, ends[1], of_b) if discordant else (-of_a[1], of_a[1])
        note = f"Wald's interval is a point: Wilson's of {n} images"
    values = float(right_a.mean()), float(right_b.mean()), difference, low, high
    return Comparison(*values, only_a, p, "exact McNemar", reason, note)
