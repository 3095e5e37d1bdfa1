"""What a threshold is worth on labelled images: rates with their intervals, and what they were counted from."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fracturelib.metrics._checks import number, require_bootstrap
from fracturelib.metrics.bootstrap import (
    Groups,
    group_codes,
    group_draws,
    percentile_limits,
    rate_at,
    unvarying,
    unvarying_limits,
)
from fracturelib.metrics.classification import Confusion, Labels, Scores, checked, confusion_at
from fracturelib.metrics.intervals import NAN

RATES = ("sensitivity", "specificity", "precision", "npv", "accuracy", "youden")


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
    threshold: float,
    group: Groups | None = None,
    *,
    names: Sequence[str] = RATES,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """What a threshold is worth on these images: see `OperatingPoint.evaluate`."""
    require_bootstrap(n, level)
    labels, scores = checked(y, score)
    at = number("threshold", threshold)
    counts = confusion_at(labels, scores, at)
    drawn = resampled_counts(labels, scores, at, group, n=n, seed=seed)
    rows = []
    for name in names:
        metric = rate_at(name, at)
        value, note = float(getattr(counts, name)), counts.undefined(name) or ""
        above, below = _of(counts, name)
        values = np.array([getattr(c, name) for c in drawn])
        if np.isnan(value):
            low = high = NAN
        elif unvarying(values, value):
            (low, high), note = unvarying_limits(metric, labels, scores, group_codes(group, len(labels)), level=level)
        else:
            low, high = percentile_limits(values, level)
        rows.append((name, value, low, high, above, below, note))
    columns = ["metric", "value", "low", "high", "numerator", "denominator", "note"]
    return pd.DataFrame(rows, columns=columns).astype({"numerator": "Int64", "denominator": "Int64"})


def resampled_counts(
    y: Labels, score: Scores, threshold: float, group: Groups | None, *, n: int, seed: int
) -> list[Confusion]:
    """Counts at a threshold in each of `n` samples of whole groups."""
    codes = group_codes(group, len(y))
    predicted = score >= threshold
    cells = [predicted & (y == 1), predicted & (y == 0), ~predicted & (y == 1), ~predicted & (y == 0)]
    by_group = np.stack([np.bincount(codes, weights=cell) for cell in cells], axis=1)
    drawn = group_draws(codes, n, seed) @ by_group
    return [Confusion(*row) for row in drawn.astype(int).tolist()]
