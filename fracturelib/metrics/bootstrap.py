"""Intervals of any figure by drawing patients, not images, with replacement."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from fracturelib._io.files import InputError, counted
from fracturelib.metrics._checks import number, require_bootstrap, require_level
from fracturelib.metrics.classification import (
    Confusion,
    Labels,
    Scores,
    average_precision,
    checked,
    confusion_at,
    ratio,
    roc_auc,
    undefined_reason,
)
from fracturelib.metrics.intervals import NAN, Comparison, Interval
from fracturelib.metrics.limits import (
    Limits,
    added_limits,
    difference_limits,
    f1_from,
    newcombe_auc_limits,
    wilson_limits,
)

Metric = Callable[[Labels, Scores], float]
Weights = NDArray[np.int64]
Groups: TypeAlias = Sequence[object] | NDArray[Any] | pd.Series


def group_codes(group: Groups | None, n: int) -> Weights:
    """Groups as numbers 0..g-1, in the order in which they first appear: (n,) int64; each image its own if None."""
    if group is None:
        return np.arange(n)
    values = np.asarray(group, dtype=object)
    if not values.ndim:
        raise InputError(f"group is one value of type {type(group).__name__}; expected {n}, one for each image")
    if values.ndim > 1:
        raise InputError(f"group has the shape {values.shape}; expected ({n},), one value for each image")
    if len(values) != n:
        raise InputError(f"group has {len(values)} values; expected {n}, one for each image")
    try:
        codes = pd.factorize(values)[0]
    except TypeError:
        raise InputError("group has lists or the like; expected a name or a number for each image") from None
    if (codes < 0).any():
        raise InputError(f"group is missing for {int((codes < 0).sum())} images; expected one for each")
    return codes.astype(np.int64)


def draws(codes: Weights, n: int, seed: int) -> Iterator[Weights]:
    """How often each image is in each of `n` samples, drawing whole groups with replacement: n times (images,)."""
    groups = int(codes.max()) + 1
    own = groups == len(codes)
    rng = np.random.default_rng(seed)
    for _ in range(n):
        drawn = np.bincount(rng.integers(0, groups, groups), minlength=groups)
        yield drawn if own else drawn[codes]


def group_draws(codes: Weights, n: int, seed: int) -> Weights:
    """How often each group is in each sample, in the same order as `draws`: (n, groups) int64."""
    return np.array(list(draws(np.arange(int(codes.max()) + 1), n, seed)))


@dataclass(frozen=True)
class RateAt:
    """One of the properties of `Confusion` at a threshold, as a metric."""

    name: str
    threshold: float

    def __call__(self, y: ArrayLike, score: ArrayLike) -> float:
        """Labels (n,) and scores (n,) to one number."""
        return float(getattr(confusion_at(y, score, self.threshold), self.name))


def rate_at(name: str, threshold: float) -> RateAt:
    """One of the properties of `Confusion`, such as "sensitivity", at a threshold, as a metric."""
    if name.startswith("_") or not isinstance(getattr(Confusion, name, None), property):
        raise InputError(f"name is {name!r}; expected a figure such as 'sensitivity'")
    return RateAt(name, number("threshold", threshold))


def weighted(metric: Metric, y: Labels, score: Scores) -> Callable[[Weights], float]:
    """The metric of a sample that holds image i weights[i] times: without making the sample, where there is a way."""
    if metric is roc_auc:
        return _weighted_auc(y, score)
    if metric is average_precision:
        return _weighted_average_precision(y, score)
    if isinstance(metric, RateAt):
        return _weighted_rate(metric, y, score)
    return lambda w: float(metric(np.repeat(y, w), np.repeat(score, w)))


def _weighted_auc(y: Labels, score: Scores) -> Callable[[Weights], float]:
    above, below = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    if not len(above) or not len(below):
        return lambda _: NAN
    below = below[np.argsort(score[below])]
    fewer = np.searchsorted(score[below], score[above], "left")
    as_many = np.searchsorted(score[below], score[above], "right")
    tied = bool((fewer != as_many).any())
    total = np.zeros(len(below) + 1, np.int64)

    def auc(w: Weights) -> float:
        np.cumsum(w[below], out=total[1:])
        mine = w[above]
        wins = total[fewer] + total[as_many] if tied else 2 * total[fewer]
        return ratio(float(mine @ wins), 2.0 * float(mine.sum()) * float(total[-1]))

    return auc


def _weighted_average_precision(y: Labels, score: Scores) -> Callable[[Weights], float]:
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    fractured = y[order]

    def average(w: Weights) -> float:
        drawn = w[order]
        predicted, tp = np.cumsum(drawn)[last], np.cumsum(drawn * fractured)[last]
        if not tp[-1]:
            return NAN
        precision = tp / np.maximum(predicted, 1)
        return float(np.diff(tp, prepend=0) @ precision / tp[-1])

    return average


def _weighted_rate(metric: RateAt, y: Labels, score: Scores) -> Callable[[Weights], float]:
    predicted = score >= metric.threshold
    cells = np.stack(
        [predicted & (y == 1), predicted & (y == 0), ~predicted & (y == 1), ~predicted & (y == 0)], 1
    ).astype(np.int64)
    return lambda w: float(getattr(Confusion(*(int(c) for c in w @ cells)), metric.name))


def percentile_limits(values: Scores, level: float) -> tuple[float, float]:
    """The middle `level` of bootstrap values, undefined ones left out; NaN of fewer than two, which have no middle."""
    require_level(level)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return NAN, NAN
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _pointwise_limits(values: Scores, level: float) -> Scores:
    """As `percentile_limits` of each column: (n, ...) to (2, ...)."""
    limits = np.full((2, *values.shape[1:]), NAN)
    some = np.isfinite(values).sum(axis=0) > 1
    if some.any():
        limits[:, some] = np.nanquantile(values[:, some], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return limits


def group_bootstrap(
    metric: Metric,
    y: ArrayLike,
    score: ArrayLike,
    group: Groups | None = None,
    *,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of any metric, drawing whole patients with replacement.

    Parameters
    ----------
    metric : callable
        (labels (n,), scores (n,)) -> float; NaN where undefined. `roc_auc`, `average_precision` and `rate_at(...)` are
        much faster than others.
    y, score : (n,)
    group : (n,), optional
        The patient of each image; each image its own if not given. Images of one patient are alike, and drawing them
        one by one makes the interval too narrow (Field & Welsh 2007, doi 10.1111/j.1467-9868.2007.00593.x).
    n : int
        Resamples.
    seed : int
    level : float
        Coverage.

    Notes
    -----
    A perfect figure, and any figure of one patient, is the same in every sample, which is not certainty. The limits are
    then those of `unvarying_limits`, and the note says so; where there are none, the interval is undefined.
    """
    labels, scores = checked(y, score)
    require_bootstrap(n, level)
    codes = group_codes(group, len(labels))
    of = weighted(metric, labels, scores)
    value = float(metric(labels, scores))
    values = np.array([of(w) for w in draws(codes, n, seed)])
    defined = values[np.isfinite(values)]
    name = "group bootstrap, percentile"
    if not len(defined) or not np.isfinite(value):
        reason = undefined_reason(labels) or "undefined on these images"
        return Interval(value, NAN, NAN, level, name, len(defined), reason)
    if unvarying(defined, value):
        (low, high), words = unvarying_limits(metric, labels, scores, codes, level=level)
        if np.isnan(low):
            return Interval(value, NAN, NAN, level, name, len(defined), words)
        return Interval(value, low, high, level, name, len(defined), note=words)
    low, high = percentile_limits(defined, level)
    return Interval(value, low, high, level, name, len(defined), _without_limits(low))


def unvarying(values: Scores, value: float) -> bool:
    """Whether every sample gives what the images as they are give."""
    values = values[np.isfinite(values)]
    return bool(len(values)) and float(np.abs(values - value).max()) < 1e-12


def unvarying_limits(
    metric: Metric, y: Labels, score: Scores, codes: Weights, *, level: float = 0.95
) -> tuple[Limits, str]:
    """Limits of a figure that is the same in every sample of groups, and what they are, in words.

    Groups take the place of images. An AUC has Newcombe's limits (`newcombe_auc_limits`). A proportion of 0 or 1 has
    Wilson's; an average precision, too, among the groups with a fracture, as the score form of the binomial interval
    of Boyd et al. 2013 (doi 10.1007/978-3-642-40994-3_29); F1 by way of the proportion that it stands for (Hand et al.
    2021, doi 10.1007/s10994-021-05964-1); Youden's J and the balanced accuracy by adding those of sensitivity and
    specificity (`added_limits`). What else does not vary has none: NaN, and the words say why.
    """
    require_level(level)
    groups = int(codes.max()) + 1

    def behind(images: NDArray[np.bool_]) -> int:
        return len(np.unique(codes[images]))

    def share(value: float, images: NDArray[np.bool_]) -> tuple[Limits, str]:
        if value not in (0, 1) or not images.any():
            return none
        n = behind(images)
        said = f"no sample differs: Wilson's interval of {counted(n, 'group')}"
        return wilson_limits(round(value) * n, n, level=level), said

    none = (NAN, NAN), f"interval undefined, because no sample of {groups} group{'s' * (groups > 1)} differs"
    value = float(metric(y, score))
    fractured, negative = y == 1, y == 0
    if metric is roc_auc and fractured.any() and negative.any():
        m, n = behind(fractured), behind(negative)
        words = f"no sample differs: Newcombe's interval of {m} + {n} groups"
        return newcombe_auc_limits(value, m, n, level=level), words
    if metric is average_precision:
        return share(value, fractured)
    if not isinstance(metric, RateAt):
        return none
    predicted = score >= metric.threshold
    if metric.name == "f1":
        (low, high), words = share(value, predicted | fractured)
        return (f1_from(low), f1_from(high)), words
    if metric.name in ("youden", "balanced_accuracy"):
        values = [rate_at(name, metric.threshold)(y, score) for name in ("sensitivity", "specificity")]
        (first, words), (second, _) = share(values[0], fractured), share(values[1], negative)
        low, high = added_limits((values[0], values[1]), first, second)
        if np.isnan(low + high):
            return none
        limits = (low - 1, high - 1) if metric.name == "youden" else (low / 2, high / 2)
        return limits, f"no sample differs: Wilson's intervals of {behind(fractured)} + {behind(negative)} groups"
    inside = behind_rate(metric.name, y, predicted)
    return none if inside is None else share(value, inside)


def behind_rate(name: str, y: Labels, predicted: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Which images are in the denominator of a proportion, (n,) bool; None if the figure is none."""
    everybody = np.ones(len(y), bool)
    return {
        "sensitivity": y == 1, "specificity": y == 0, "precision": predicted, "npv": ~predicted,
        "accuracy": everybody, "alert_rate": everybody, "prevalence": everybody,
    }.get(name)  # fmt: skip


def _without_limits(low: float) -> str | None:
    """Why there is no interval of samples that differ, in words; None if there is one."""
    return "interval undefined, because only one sample could be judged" if np.isnan(low) else None


def paired_group_bootstrap(
    metric: Metric | tuple[Metric, Metric],
    y: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    group: Groups | None = None,
    *,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """Difference of two models on the same images, each sample of patients given to both.

    Parameters
    ----------
    metric : callable, or a pair of them
        A pair where the models differ in it, such as `(rate_at("sensitivity", 0.3), rate_at("sensitivity", 0.6))`.
    a, b : (n,)
        Scores of the two models.
    group, n, seed, level
        As `group_bootstrap`.

    Returns
    -------
    Comparison
        p: two-sided, twice the smaller proportion of samples on one side of no difference, at least 1 / (n + 1).

    Notes
    -----
    Where the difference is the same in every sample, as between two perfect models, its limits are those of
    `unvarying_difference`, and the note says so; a model compared with itself, and rankings that are the same and not
    perfect, differ by nothing.
    """
    labels, scores_a = checked(y, a)
    scores_b = checked(y, b)[1]
    require_bootstrap(n, level)
    codes = group_codes(group, len(labels))
    first, second = metric if isinstance(metric, tuple) else (metric, metric)
    of_a, of_b = weighted(first, labels, scores_a), weighted(second, labels, scores_b)
    value_a, value_b = float(first(labels, scores_a)), float(second(labels, scores_b))
    difference = value_a - value_b
    drawn = np.array([(of_a(w), of_b(w)) for w in draws(codes, n, seed)])
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    values = drawn[:, 0] - drawn[:, 1]
    name = "paired group bootstrap, percentile"
    if not len(values) or not np.isfinite(difference):
        reason = undefined_reason(labels) or "undefined on these images"
        return Comparison(value_a, value_b, difference, NAN, NAN, NAN, NAN, name, reason)
    if unvarying(values, difference) and not _rank_alike((first, second), (scores_a, scores_b), value_a):
        each = tuple(unvarying(part, value) for part, value in zip(drawn.T, (value_a, value_b), strict=True))
        limits, words = unvarying_difference((first, second), labels, (scores_a, scores_b), codes, each, level=level)
        p = 1.0 if difference == 0 else NAN
        note = "" if np.isnan(limits[0]) else words
        why = None if difference == 0 else "test undefined, because no sample differs"
        return Comparison(value_a, value_b, difference, *limits, difference, p, name, why if note else words, note)
    limits = percentile_limits(values, level)
    side = (min(int((values <= 0).sum()), int((values >= 0).sum())) + 1) / (len(values) + 1)
    why = _without_limits(limits[0])
    return Comparison(value_a, value_b, difference, *limits, difference, min(1.0, 2 * side), name, why)


def _rank_alike(metrics: tuple[Metric, Metric], scores: tuple[Scores, Scores], value: float) -> bool:
    """Whether two models are one, or rankings, neither perfect nor its contrary, that a figure cannot tell apart."""
    (first, second), (a, b) = metrics, scores
    if first != second:
        return False
    ranked = first in (roc_auc, average_precision) and 0 < value < 1
    return np.array_equal(a, b) or (ranked and np.array_equal(rankdata(a), rankdata(b)))


def unvarying_difference(
    metrics: tuple[Metric, Metric],
    y: Labels,
    scores: tuple[Scores, Scores],
    codes: Weights,
    each: tuple[bool, ...],
    *,
    level: float = 0.95,
) -> tuple[Limits, str]:
    """Limits of a difference that is the same in every sample of groups, and what they are, in words.

    Two models that call the same images alike differ by at most the proportion of images that they call otherwise, of
    which there was none in so many groups: Wilson's upper limit. Where each figure is the same in every sample
    (`each`), its limits come from those of both (`difference_limits`). Else there are none: NaN.
    """
    require_level(level)
    first, second = metrics
    if isinstance(first, RateAt) and isinstance(second, RateAt) and first.name == second.name:
        predicted = [score >= metric.threshold for score, metric in zip(scores, (first, second), strict=True)]
        names = ("sensitivity", "specificity") if first.name == "youden" else (first.name,)
        parts = [behind_rate(name, y, predicted[0]) for name in names]
        counts = [0 if part is None else len(np.unique(codes[part])) for part in parts]
        if all(counts) and np.array_equal(predicted[0], predicted[1]):
            most = float(np.hypot.reduce([wilson_limits(0, n, level=level)[1] for n in counts]))
            of = " + ".join(map(str, counts))
            return (-most, most), f"called alike in all of {of} groups: Wilson's upper limit of those that are not"
    if all(each):
        pairs = zip(metrics, scores, strict=True)
        (of_a, words), (of_b, _) = (unvarying_limits(m, y, score, codes, level=level) for m, score in pairs)
        low, high = difference_limits(float(first(y, scores[0])), of_a, float(second(y, scores[1])), of_b)
        if not np.isnan(low + high):
            return (low, high), words.replace("interval of", "intervals of")
    groups = int(codes.max()) + 1
    return (NAN, NAN), f"interval undefined, because no sample of {groups} group{'s' * (groups > 1)} differs"


def curve_bands(
    y: ArrayLike,
    score: ArrayLike,
    group: Groups | None = None,
    *,
    kind: str = "roc",
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Pointwise bootstrap band of a curve, by groups.

    Parameters
    ----------
    kind : "roc" or "pr"
        Sensitivity against false alarms, or precision against sensitivity.

    Returns
    -------
    DataFrame
        x (0, 0.01, ..., 1), value, low, high; NaN where a class is missing. The precision at x is that of the highest
        threshold whose sensitivity is at least x. The band of a perfect curve, which is the same in every sample, is
        Wilson's, of the groups with a fracture; any other of fewer than two groups, or samples, is undefined: NaN.
    """
    require_bootstrap(n, level)
    if kind not in ("roc", "pr"):
        raise InputError(f"kind is {kind!r}; expected 'roc' or 'pr'")
    labels, scores = checked(y, score)
    x = np.linspace(0, 1, 101)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    fractured = labels[order]
    read = _roc_heights if kind == "roc" else _pr_heights

    def heights(w: Weights) -> Scores:
        drawn = w[order]
        tp = np.cumsum(drawn * fractured)[last]
        return read(tp, np.cumsum(drawn)[last] - tp, x)

    codes = group_codes(group, len(labels))
    values = np.array([heights(w) for w in draws(codes, n, seed)])
    values = values[np.isfinite(values).all(axis=1)]
    limits = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(values, limits, axis=0) if len(values) > 1 else np.full((2, len(x)), NAN)
    value = heights(np.ones(len(labels), np.int64))
    if (value == 1).all() and (low == 1).all():
        fractured_groups = len(np.unique(codes[labels == 1]))
        low = np.full(len(x), wilson_limits(fractured_groups, fractured_groups, level=level)[0])
        low[-1] = 1.0 if kind == "roc" else low[-1]  # who calls everybody misses nobody
    elif not codes.any():  # every sample of one group is that group, which is not certainty
        low = high = np.full(len(x), NAN)
    return pd.DataFrame({"x": x, "value": value, "low": low, "high": high})


def _roc_heights(tp: Labels, fp: Labels, x: Scores) -> Scores:
    if not tp[-1] or not fp[-1]:
        return np.full(len(x), NAN)
    return np.interp(x, np.append(0, fp) / fp[-1], np.append(0, tp) / tp[-1])


def _pr_heights(tp: Labels, fp: Labels, x: Scores) -> Scores:
    if not tp[-1]:
        return np.full(len(x), NAN)
    predicted = tp + fp
    # The first threshold whose sensitivity reaches x and that calls anybody.
    at = np.searchsorted(tp, np.maximum(x * tp[-1] - 1e-9, 0), "left")
    at = np.maximum(np.minimum(at, len(tp) - 1), int(np.argmax(predicted > 0)))
    return tp[at] / predicted[at]
