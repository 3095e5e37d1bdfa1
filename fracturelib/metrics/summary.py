"""The tables that go into a paper: subgroups, and two models side by side."""

import pandas as pd
from numpy.typing import ArrayLike

from fracturelib._io.files import InputError
from fracturelib.metrics._checks import number, require_resamples
from fracturelib.metrics.bootstrap import Groups, group_bootstrap, paired_group_bootstrap, rate_at
from fracturelib.metrics.classification import average_precision, checked, roc_auc
from fracturelib.metrics.intervals import NAN, Comparison, delong_test, mcnemar_test
from fracturelib.metrics.operating_point import OperatingPoint
from fracturelib.metrics.rates import operating_point_table

COUNTS = ["images", "patients", "fractured", "not_fractured"]


def _threshold(at: float | OperatingPoint, y: ArrayLike, score: ArrayLike) -> float:
    if isinstance(at, OperatingPoint):
        at.warn_if_same(y, score)
        at = at.threshold
    return number("threshold", at)


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
        Index: the values of `column`, most images first. Columns: images, patients (groups), fractured, not_fractured
        (images, n+ and n-), auc, sensitivity and specificity, each also with _low and _high.
    """
    missing = [c for c in ("label", "score", "group", column) if c not in frame]
    if missing:
        raise InputError(f"frame has no column {', '.join(missing)}; it has {', '.join(map(str, frame.columns))}")
    require_resamples(n)
    at = _threshold(threshold, frame["label"], frame["score"])
    values, rows = [], []
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
        counts: tuple[float, ...] = (len(part), part["group"].nunique(), positive, negative)
        values.append(value)
        rows.append([*counts, *(limit for figure in figures.values() for limit in figure)])
    names = [f"{name}{end}" for name in ("auc", "sensitivity", "specificity") for end in ("", "_low", "_high")]
    table = pd.DataFrame(rows, index=pd.Index(values, name=column), columns=[*COUNTS, *names])
    return table.astype(dict.fromkeys(COUNTS, int)).sort_values("images", ascending=False, kind="stable")


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
