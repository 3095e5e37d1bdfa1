"""The tables that go into a paper: an operating point, its subgroups, and two models side by side."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fracturelib._io.files import InputError
from fracturelib.metrics._checks import number, require_bootstrap, require_resamples
from fracturelib.metrics.bootstrap import (
    Groups,
    group_bootstrap,
    group_codes,
    group_draws,
    paired_group_bootstrap,
    percentile_limits,
    rate_at,
    unvarying,
    unvarying_limits,
)
from fracturelib.metrics.classification import (
    Confusion,
    Labels,
    Scores,
    average_precision,
    checked,
    confusion_at,
    roc_auc,
)
from fracturelib.metrics.intervals import NAN, Comparison, delong_test, mcnemar_test, wilson_interval
from fracturelib.metrics.operating_point import OperatingPoint

RATES = ("sensitivity", "specificity", "precision", "npv", "accuracy", "youden")


def _threshold(at: float | OperatingPoint, y: ArrayLike, score: ArrayLike) -> float:
    if isinstance(at, OperatingPoint):
        at.warn_if_same(y, score)
        at = at.threshold
    return number("threshold", at)


def _of(counts: Confusion, name: str) -> tuple[int, int] | tuple[None, None]:
    """What a proportion counts, and out of how many; two None if the figure is no proportion."""
    return {
        "sensitivity": (counts.tp, counts.tp + counts.fn),
        "specificity": (counts.tn, counts.tn + counts.fp),
        "precision": (counts.tp, counts.tp + counts.fp),
        "npv": (counts.tn, counts.tn + counts.fn),
        "accuracy": (counts.tp + counts.tn, counts.n),
        "alert_rate": (counts.tp + counts.fp, counts.n),
    }.get(name, (None, None))


def operating_point_table(
    y: ArrayLike,
    score: ArrayLike,
    threshold: float | OperatingPoint,
    group: Groups | None = None,
    *,
    names: Sequence[str] = RATES,
    interval: str = "group",
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """What a threshold is worth on these images.

    Parameters
    ----------
    y, score : (n,)
    threshold : float or OperatingPoint
        An `OperatingPoint` that was chosen on these very images gives a `SameDataWarning`.
    group : (n,), optional
        The patient of each image; each image its own if not given.
    names : sequence of str
        Properties of `Confusion`.
    interval : "group" or "wilson"
        Percentiles of `n` samples of whole groups, or Wilson's interval of each proportion, which takes images as
        independent, and which the other figures do not have.
    n, seed, level
        Of the bootstrap.

    Returns
    -------
    DataFrame
        metric, value, low, high, numerator, denominator (of proportions), note. The note says why a value is undefined.
        A figure that is the same in every sample, as a proportion of 0 or 1 is, is not certain for that: its interval
        is that of `bootstrap.unvarying_limits`, and the note says so.
    """
    if interval not in ("group", "wilson"):
        raise InputError(f"interval is {interval!r}; expected 'group' or 'wilson'")
    require_bootstrap(n, level)
    labels, scores = checked(y, score)
    at = _threshold(threshold, labels, scores)
    counts = confusion_at(labels, scores, at)
    drawn = resampled_counts(labels, scores, at, group, n=n, seed=seed) if interval == "group" else []
    rows = []
    for name in names:
        metric = rate_at(name, at)
        value, note = float(getattr(counts, name)), counts.undefined(name) or ""
        above, below = _of(counts, name)
        values = np.array([getattr(c, name) for c in drawn])
        if np.isnan(value):
            low = high = NAN
        elif interval == "wilson":
            low, high = _wilson(above, below, level)
        elif unvarying(values, value):
            (low, high), note = unvarying_limits(metric, labels, scores, group_codes(group, len(labels)), level=level)
        else:
            low, high = percentile_limits(values, level)
        rows.append((name, value, low, high, above, below, note))
    columns = ["metric", "value", "low", "high", "numerator", "denominator", "note"]
    return pd.DataFrame(rows, columns=columns).astype({"numerator": "Int64", "denominator": "Int64"})


def _wilson(above: int | None, below: int | None, level: float) -> tuple[float, float]:
    """Limits of a proportion; NaN of what is none."""
    if above is None or below is None:
        return NAN, NAN
    found = wilson_interval(above, below, level=level)
    return found.low, found.high


def resampled_counts(
    y: Labels, score: Scores, threshold: float, group: Groups | None, *, n: int, seed: int
) -> list[Confusion]:
    """Counts at a threshold in each of `n` samples of whole groups."""
    require_resamples(n)
    threshold = number("threshold", threshold)
    codes = group_codes(group, len(y))
    predicted = score >= threshold
    cells = [predicted & (y == 1), predicted & (y == 0), ~predicted & (y == 1), ~predicted & (y == 0)]
    by_group = np.stack([np.bincount(codes, weights=cell) for cell in cells], axis=1)
    drawn = group_draws(codes, n, seed) @ by_group
    return [Confusion(*row) for row in drawn.astype(int).tolist()]


def by_subgroup(
    frame: pd.DataFrame,
    column: str,
    *,
    threshold: float | OperatingPoint,
    least: int = 10,
    n: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """AUC, sensitivity and specificity in each value of a column, with how many images stand behind them.

    Parameters
    ----------
    frame : DataFrame
        label, score, group and `column`; images without a value of it are left out.
    column : str
        Any column of the manifest.
    threshold : float or OperatingPoint
    least : int
        A figure from fewer images of its class is not given: NaN.
    n, seed : int
        Of the bootstrap by groups.

    Returns
    -------
    DataFrame
        Index: the values of `column`, most images first. Columns: fractured, not_fractured (images, n+ and n-), auc,
        sensitivity and specificity, each also with _low and _high.
    """
    missing = [c for c in ("label", "score", "group", column) if c not in frame]
    if missing:
        raise InputError(f"frame has no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")
    require_resamples(n)
    at = _threshold(threshold, frame["label"], frame["score"])
    rows = {}
    for value, part in frame.groupby(column, observed=True):
        y, score, group = part["label"].to_numpy(), part["score"].to_numpy(), part["group"].to_numpy()
        positive, negative = int((y == 1).sum()), int((y == 0).sum())
        figures = {"auc": (NAN, NAN, NAN), "sensitivity": (NAN, NAN, NAN), "specificity": (NAN, NAN, NAN)}
        if min(positive, negative) >= max(least, 1):
            found = group_bootstrap(roc_auc, y, score, group, n=n, seed=seed)
            figures["auc"] = found.value, found.low, found.high
        rates = operating_point_table(y, score, at, group, names=("sensitivity", "specificity"), n=n, seed=seed)
        for rate, images in zip(rates.itertuples(), (positive, negative), strict=True):
            if images >= max(least, 1):
                figures[rate.metric] = rate.value, rate.low, rate.high
        row: dict[str, float] = {"fractured": positive, "not_fractured": negative}
        for name, (value_here, low, high) in figures.items():
            row |= {name: value_here, f"{name}_low": low, f"{name}_high": high}
        rows[value] = row
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(column)
    if table.empty:
        return table
    table = table.astype({"fractured": int, "not_fractured": int})
    order = (table["fractured"] + table["not_fractured"]).sort_values(ascending=False, kind="stable").index
    return table.loc[order]


def subgroup_table(
    frame: pd.DataFrame,
    column: str,
    *,
    threshold: float | OperatingPoint,
    names: Sequence[str] = ("auc", "sensitivity", "specificity"),
    least: int = 5,
    n: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """`by_subgroup` for people: images, patients and fractured ones, each figure with its interval, a dash for too few.

    Parameters
    ----------
    frame, column, threshold, least, n, seed
        As `by_subgroup`.
    names : sequence of str
        Which of auc, sensitivity and specificity.

    Returns
    -------
    DataFrame
        Index: the values of `column`, most images first. Columns: images, patients, fractured, then text.
    """
    found = by_subgroup(frame, column, threshold=threshold, least=least, n=n, seed=seed)
    patients = frame.groupby(column, observed=True)["group"].nunique()
    shown = pd.DataFrame({"images": found.get("fractured", 0) + found.get("not_fractured", 0)}, index=found.index)
    shown["patients"] = patients.reindex(found.index)
    shown["fractured"] = found.get("fractured", 0)
    for name in names:
        limits = (found.get(key, pd.Series(dtype=float)) for key in (name, f"{name}_low", f"{name}_high"))
        shown["AUC" if name == "auc" else name] = [_in_words(*row) for row in zip(*limits, strict=True)]
    return shown


def _in_words(value: float, low: float, high: float) -> str:
    """A figure with its interval, to two digits; a dash where there is none."""
    if np.isnan(value):
        return "-"
    return f"{value:.2f}" if np.isnan(low) else f"{value:.2f} ({low:.2f} to {high:.2f})"


def comparison_table(
    y: ArrayLike,
    scores: Mapping[str, ArrayLike],
    thresholds: Mapping[str, float],
    group: Groups | None = None,
    *,
    n: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Two models on the same images, for people: AUC, sensitivity and specificity, and their difference by patients.

    Parameters
    ----------
    y : (n,)
    scores : mapping of two names to (n,)
    thresholds : mapping of the same names to float
        Of each model its own, chosen on validation.
    group, n, seed
        As `paired_group_bootstrap`.

    Returns
    -------
    DataFrame
        Index: the figure. Columns: the two names, the first less the second with its 95 % interval, as text, and
        whether a difference is shown: whether that interval, before it is rounded, leaves out 0.
    """
    if len(scores) != 2 or set(scores) != set(thresholds):
        raise InputError(f"scores has {', '.join(scores)}; expected two models, each with a threshold")
    (first, a), (second, b) = scores.items()
    rows: dict[str, tuple[str, ...]] = {}
    for name in ("AUC", "sensitivity", "specificity"):
        pair = (
            (roc_auc, roc_auc)
            if name == "AUC"
            else (rate_at(name, thresholds[first]), rate_at(name, thresholds[second]))
        )
        found = paired_group_bootstrap(pair, y, a, b, group, n=n, seed=seed)
        shown = "shown" if found.low > 0 or found.high < 0 else "not shown"
        rows[name] = f"{found.a:.2f}", f"{found.b:.2f}", _in_words(found.difference, found.low, found.high), shown
    return pd.DataFrame.from_dict(rows, orient="index", columns=[first, second, "difference (95 %)", "a difference is"])


def compare_models(
    y: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    group: Groups | None = None,
    *,
    threshold_a: float,
    threshold_b: float,
    n: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Two models on the same images, each at its threshold.

    Returns
    -------
    DataFrame
        metric, a, b, difference (a - b), low, high, p, test, note (why a test is undefined or an interval was made
        otherwise, else empty). AUC by DeLong and by groups; sensitivity and specificity by groups and by McNemar; the
        rest by groups. Where several images are of one patient, believe those by groups.
    """
    require_resamples(n)
    threshold_a, threshold_b = number("threshold_a", threshold_a), number("threshold_b", threshold_b)
    labels, scores_a = checked(y, a)
    scores_b = checked(y, b)[1]
    found: list[tuple[str, Comparison]] = [("auc", delong_test(labels, scores_a, scores_b))]
    for name, metric in (("auc", roc_auc), ("average_precision", average_precision)):
        found.append((name, paired_group_bootstrap(metric, labels, scores_a, scores_b, group, n=n, seed=seed)))
    for name, label in (("sensitivity", 1), ("specificity", 0), ("precision", None), ("youden", None)):
        pair = (rate_at(name, threshold_a), rate_at(name, threshold_b))
        found.append((name, paired_group_bootstrap(pair, labels, scores_a, scores_b, group, n=n, seed=seed)))
        chosen = labels == label
        if label is not None and chosen.any():
            calls = scores_a[chosen] >= threshold_a, scores_b[chosen] >= threshold_b
            found.append((name, mcnemar_test(labels[chosen], *calls)))
    rows = [(name, c.a, c.b, c.difference, c.low, c.high, c.p, c.method, c.undefined or c.note) for name, c in found]
    return pd.DataFrame(rows, columns=["metric", "a", "b", "difference", "low", "high", "p", "test", "note"])
