"""What another hospital costs, how one would notice without labels, and what can be repaired with few."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import ks_2samp

from fracturelib._io.files import InputError
from fracturelib.metrics.bootstrap import Groups, Metric, group_bootstrap, group_codes, paired_group_bootstrap, rate_at
from fracturelib.metrics.calibration import calibration_error, calibration_line
from fracturelib.metrics.classification import Scores, roc_auc
from fracturelib.shift.acquisition import DARK, Boxes, Images, inside


# What it costs
def site_table(
    y: ArrayLike, score: ArrayLike, group: Groups, threshold: float, *, n: int = 500, seed: int = 0
) -> pd.DataFrame:
    """A frozen classifier at one hospital, with 95 % intervals over patients.

    Parameters
    ----------
    y : (n,) of 0 and 1
    score : (n,) in 0..1
    group : (n,)
    threshold : float
    n, seed
        Of the bootstrap. Slope and intercept have Wald intervals, robust to images of one patient being alike.

    Returns
    -------
    DataFrame
        metric (AUC, sensitivity, specificity, ECE, slope, intercept), value, low, high.
    """
    metrics: dict[str, Metric] = {
        "AUC": roc_auc,
        "sensitivity": rate_at("sensitivity", threshold),
        "specificity": rate_at("specificity", threshold),
        "ECE": calibration_error,
    }
    rows: list[tuple[str, float, float, float]] = []
    for name, metric in metrics.items():
        found = group_bootstrap(metric, y, score, group, n=n, seed=seed)
        rows.append((name, found.value, found.low, found.high))
    line = calibration_line(y, score, group=group)
    rows.append(("slope", line.slope, line.slope_low, line.slope_high))
    rows.append(("intercept", line.intercept, line.intercept_low, line.intercept_high))
    return pd.DataFrame(rows, columns=["metric", "value", "low", "high"])


def costs(
    y: ArrayLike,
    before: ArrayLike,
    after: Mapping[str, ArrayLike],
    group: Groups,
    threshold: float,
    *,
    n: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """What each change does to AUC, sensitivity and specificity of the same images: paired, 95 % over patients.

    Parameters
    ----------
    y, before, group : (n,)
        Labels, scores as they were, patients.
    after : mapping of str to (n,)
        Name of a change -> scores of the same images under it.
    threshold : float
        The same before and after.

    Returns
    -------
    DataFrame
        change, metric, difference (after - before), low, high, certain (whether the interval leaves out 0).
    """
    metrics: dict[str, Metric] = {"AUC": roc_auc}
    metrics |= {name: rate_at(name, threshold) for name in ("sensitivity", "specificity")}
    rows = []
    for change, scores in after.items():
        for name, metric in metrics.items():
            found = paired_group_bootstrap(metric, y, scores, before, group, n=n, seed=seed)
            certain = found.low > 0 or found.high < 0
            rows.append((change, name, found.difference, found.low, found.high, certain))
    return pd.DataFrame(rows, columns=["change", "metric", "difference", "low", "high", "certain"])


# Noticing it, without labels
def image_statistics(images: Images, boxes: Boxes) -> pd.DataFrame:
    """Plain grey statistics of each image, none of which knows anything of bones: (n, s, s), (n, 4) -> n rows.

    Returns
    -------
    DataFrame
        mean, spread, dark and bright (5 and 95 % of pixels are below), black and white (proportion of pixels within 12
        of the end), sharpness (mean absolute Laplacian), grain (mean absolute difference from the median of 3 x 3).
    """
    rows = []
    for image, box in zip(images, boxes, strict=True):
        radiograph = np.ascontiguousarray(inside(image, box))
        grain = np.abs(radiograph.astype(np.int16) - cv2.medianBlur(radiograph, 3)).mean()
        dark, bright = np.quantile(radiograph, [0.05, 0.95])
        black, white = (radiograph <= DARK).mean(), (radiograph >= 255 - DARK).mean()
        sharp = np.abs(cv2.Laplacian(radiograph, cv2.CV_32F)).mean()
        rows.append((radiograph.mean(), radiograph.std(), dark, bright, black, white, sharp, grain))
    names = ["mean", "spread", "dark", "bright", "black", "white", "sharpness", "grain"]
    return pd.DataFrame(rows, columns=names, dtype=float)


def ks_statistic(a: ArrayLike, b: ArrayLike) -> float:
    """Greatest difference of two cumulative distributions, 0..1 (Kolmogorov & Smirnov): (n,), (m,) -> float.

    Examples
    --------
    >>> ks_statistic([1, 2, 3, 4], [3, 4, 5, 6])
    0.5
    """
    first, second = np.asarray(a, float), np.asarray(b, float)
    if not len(first) or not len(second):
        raise InputError("a or b is empty; expected at least one value in each")
    return float(ks_2samp(first, second, method="asymp").statistic)


def group_permutation_test(
    a: ArrayLike,
    b: ArrayLike,
    group_a: Groups,
    group_b: Groups,
    *,
    statistic: Callable[[Scores, Scores], float] = ks_statistic,
    n: int = 999,
    seed: int = 0,
) -> float:
    """P value of a two-sample statistic by dealing out whole patients anew; at least 1 / (n + 1).

    The textbook's p value takes images as independent, and is too small where patients have several.

    Parameters
    ----------
    a, b : (n,), (m,)
        Such as scores at home and elsewhere.
    group_a, group_b : (n,), (m,)
        Patients; those of one hospital are not those of the other, whatever they are called.
    statistic : callable
        Larger is more different.
    """
    first, second = np.asarray(a, float), np.asarray(b, float)
    codes_a, codes_b = group_codes(group_a, len(first)), group_codes(group_b, len(second))
    here = int(codes_a.max()) + 1
    codes, values = np.concatenate([codes_a, codes_b + here]), np.concatenate([first, second])
    observed, rng = statistic(first, second), np.random.default_rng(seed)
    groups, reached = int(codes.max()) + 1, 0
    for _ in range(n):
        dealt = np.zeros(groups, bool)
        dealt[rng.permutation(groups)[:here]] = True
        reached += statistic(values[dealt[codes]], values[~dealt[codes]]) >= observed - 1e-12
    return (reached + 1) / (n + 1)
