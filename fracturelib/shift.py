"""What another hospital costs, how one would notice without labels, and what can be repaired with few."""

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm

from fracturelib._files import InputError
from fracturelib.bootstrap import Groups, Metric, group_bootstrap, group_codes, paired_group_bootstrap, rate_at
from fracturelib.calibration import (
    EDGE,
    Calibrator,
    calibration_error,
    calibration_line,
    fit_calibrator,
    log_loss,
)
from fracturelib.counts import Scores, checked, checked_probabilities, confusion_at, roc_auc, undefined_reason
from fracturelib.elsewhere import DARK, Boxes, Films, inside
from fracturelib.thresholds import threshold_for_sensitivity

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
        Of the bootstrap. Slope and intercept have Wald intervals, robust to films of one patient being alike.

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
    """What each change does to AUC, sensitivity and specificity of the same films: paired, 95 % over patients.

    Parameters
    ----------
    y, before, group : (n,)
        Labels, scores as they were, patients.
    after : mapping of str to (n,)
        Name of a change -> scores of the same films under it.
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


def film_statistics(images: Films, boxes: Boxes) -> pd.DataFrame:
    """Plain grey statistics of each film, none of which knows anything of bones: (n, s, s), (n, 4) -> n rows.

    Returns
    -------
    DataFrame
        mean, spread, dark and bright (5 and 95 % of pixels are below), black and white (share of pixels within 12 of
        the end), sharpness (mean absolute Laplacian), grain (mean absolute difference from the median of 3 x 3).
    """
    rows = []
    for image, box in zip(images, boxes, strict=True):
        film = np.ascontiguousarray(inside(image, box))
        grain = np.abs(film.astype(np.int16) - cv2.medianBlur(film, 3)).mean()
        dark, bright = np.quantile(film, [0.05, 0.95])
        black, white = (film <= DARK).mean(), (film >= 255 - DARK).mean()
        sharp = np.abs(cv2.Laplacian(film, cv2.CV_32F)).mean()
        rows.append((film.mean(), film.std(), dark, bright, black, white, sharp, grain))
    names = ["mean", "spread", "dark", "bright", "black", "white", "sharpness", "grain"]
    return pd.DataFrame(rows, columns=names, dtype=float)


def score_gap(a: ArrayLike, b: ArrayLike) -> float:
    """Greatest difference of two cumulative distributions, 0..1 (Kolmogorov & Smirnov): (n,), (m,) -> float."""
    first, second = np.sort(np.asarray(a, float)), np.sort(np.asarray(b, float))
    if not len(first) or not len(second):
        raise InputError("a or b is empty; expected at least one value in each")
    at = np.concatenate([first, second])
    below = [np.searchsorted(values, at, "right") / len(values) for values in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def permuted_p(
    a: ArrayLike,
    b: ArrayLike,
    group_a: Groups,
    group_b: Groups,
    *,
    statistic: Callable[[Scores, Scores], float] = score_gap,
    n: int = 999,
    seed: int = 0,
) -> float:
    """P value of a two-sample statistic by dealing out whole patients anew; at least 1 / (n + 1).

    The textbook's p value takes films as independent, and is too small where patients have several.

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


# The prior


def prior_likelihood(score: ArrayLike, shares: ArrayLike, *, before: float) -> Scores:
    """Mean log-likelihood of unlabelled films for each prevalence, up to a constant: (n,), (k,) -> (k,).

    Its maximum is what the expectation-maximisation of `estimate_prevalence` climbs to (Saerens, Latinne &
    Decaestecker 2002, doi 10.1162/089976602753284446). Scores are calibrated at the prevalence `before`.
    """
    scores, share = np.asarray(score, float)[:, None], np.atleast_1d(np.asarray(shares, float))
    with np.errstate(divide="ignore"):
        return np.log(scores * share / before + (1 - scores) * (1 - share) / (1 - before)).mean(axis=0)


# Few labels


def fit_intercept(y: ArrayLike, score: ArrayLike) -> Calibrator:
    """Shift all logits by one number, so that the mean score is the share of fractures: the least that can be fitted.

    "Calibration in the large" (Steyerberg 2019, Clinical Prediction Models, ch. 15).

    Parameters
    ----------
    y : (n,) of 0 and 1
        Of both classes.
    score : (n,) in 0..1
    """
    labels, scores = checked_probabilities(y, score)
    reason = undefined_reason(labels)
    if reason:
        raise InputError(f"y: the shift is {reason}; expected both classes")
    x = logit(np.clip(scores, EDGE, 1 - EDGE))
    reach = float(np.abs(x).max()) + np.log(len(x)) + 1  # the root lies within
    return Calibrator(
        "intercept", intercept=float(brentq(lambda b: expit(x + b).mean() - labels.mean(), -reach, reach))
    )


def repair_and_judge(group: Groups, films: int, *, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Films to be labelled for the repair and films to judge it by: whole patients, so that none is in both.

    Patients are drawn at random until there are at least `films` films.

    Returns
    -------
    repair, judge : (k,), (n - k,) int64
        Rising.
    """
    codes = group_codes(group, len(group))
    order = np.random.default_rng(seed).permutation(int(codes.max()) + 1)
    counted = np.cumsum(np.bincount(codes)[order])
    if not 1 <= films <= counted[-1]:
        raise InputError(f"films is {films}; expected 1..{counted[-1]}")
    chosen = order[: int(np.searchsorted(counted, films)) + 1]
    drawn = np.isin(codes, chosen)
    if drawn.all():
        raise InputError(f"films is {films}: no patient is left to judge by; expected fewer")
    return np.flatnonzero(drawn), np.flatnonzero(~drawn)


def few_labels(
    y: ArrayLike, score: ArrayLike, group: Groups, sizes: Sequence[int], *, target: float = 0.9, draws: int = 200
) -> pd.DataFrame:
    """What a new threshold and a new calibration are worth, by how many films were labelled for them.

    Each draw labels other patients, and is judged on all those that it did not label. Draws without both classes in
    both parts are left out.

    Parameters
    ----------
    y, score, group : (n,)
        Of films from there.
    sizes : sequence of int
        How many films are labelled.
    target : float
        Sensitivity that the new threshold has to reach on the labelled films.
    draws : int
        For each size; draw k has seed k.

    Returns
    -------
    DataFrame
        labelled (the size), seed, fractured (among the labelled), threshold, sensitivity, specificity, and the log loss
        of the scores as they are ("none"), with "intercept" and with "platt".
    """
    labels, scores = checked(y, score)
    rows = []
    for size in sizes:
        for seed in range(draws):
            few, rest = repair_and_judge(group, size, seed=seed)
            if min(np.ptp(labels[few]), np.ptp(labels[rest])) == 0:
                continue
            threshold = threshold_for_sensitivity(labels[few], scores[few], target)
            at = confusion_at(labels[rest], scores[rest], threshold)
            mended = (fit_intercept(labels[few], scores[few]), fit_calibrator(labels[few], scores[few], "platt"))
            losses = [log_loss(labels[rest], s) for s in (scores[rest], *(m(scores[rest]) for m in mended))]
            found = (threshold, at.sensitivity, at.specificity, *losses)
            rows.append((size, seed, int(labels[few].sum()), *found))
    names = ["labelled", "seed", "fractured", "threshold", "sensitivity", "specificity", "none", "intercept", "platt"]
    return pd.DataFrame(rows, columns=names)


def fractures_needed(half_width: float, share: float = 0.9) -> int:
    """The least number of fractured films that gives a sensitivity of `share` a 95 % interval of +- `half_width`.

    By Wilson's formula (`wilson_interval`), for films that are independent of each other; with several films a patient
    it takes more.
    """
    if not 0 < half_width < 0.5 or not 0 <= share <= 1:
        raise InputError(f"half_width is {half_width}, share {share}; expected one in 0..0.5 and one in 0..1")
    z = float(norm.ppf(0.975))

    def half(n: int) -> float:
        return z * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)

    low, high = 1, 100_000_000
    while low < high:  # the width falls with n
        n = (low + high) // 2
        low, high = (low, n) if half(n) <= half_width else (n + 1, high)
    return low
