"""Repairs after a shift: priors, thresholds and calibration from few labels."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import norm

from fracturelib._io.files import InputError
from fracturelib.metrics.bootstrap import Groups, group_codes
from fracturelib.metrics.calibration import EDGE, Calibrator, calibration_error, fit_calibrator, log_loss
from fracturelib.metrics.classification import (
    Labels,
    Scores,
    checked,
    checked_probabilities,
    confusion_at,
    roc_auc,
    undefined_reason,
)
from fracturelib.metrics.operating_point import threshold_for_sensitivity


# The prior
def prior_likelihood(score: ArrayLike, shares: ArrayLike, *, before: float) -> Scores:
    """Mean log-likelihood of unlabelled images for each prevalence, up to a constant: (n,), (k,) -> (k,).

    Its maximum is what the expectation-maximisation of `estimate_prevalence` climbs to (Saerens, Latinne &
    Decaestecker 2002, doi 10.1162/089976602753284446). Scores are calibrated at the prevalence `before`.
    """
    scores, share = np.asarray(score, float)[:, None], np.atleast_1d(np.asarray(shares, float))
    with np.errstate(divide="ignore"):
        return np.log(scores * share / before + (1 - scores) * (1 - share) / (1 - before)).mean(axis=0)


# Few labels
def fit_intercept(y: ArrayLike, score: ArrayLike) -> Calibrator:
    """Shift all logits by one number, so that the mean score is the prevalence: the least that can be fitted.

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


def repair_and_judge(group: Groups, images: int, *, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Images to be labelled for the repair and images to judge it by: whole patients, so that none is in both.

    Patients are drawn at random until there are at least `images` images.

    Returns
    -------
    repair, judge : (k,), (n - k,) int64
        Rising.
    """
    codes = group_codes(group, len(group))
    order = np.random.default_rng(seed).permutation(int(codes.max()) + 1)
    counted = np.cumsum(np.bincount(codes)[order])
    if not 1 <= images <= counted[-1]:
        raise InputError(f"images is {images}; expected 1..{counted[-1]}")
    chosen = order[: int(np.searchsorted(counted, images)) + 1]
    drawn = np.isin(codes, chosen)
    if drawn.all():
        raise InputError(f"images is {images}: no patient is left to judge by; expected fewer")
    return np.flatnonzero(drawn), np.flatnonzero(~drawn)


def few_labels(
    y: ArrayLike, score: ArrayLike, group: Groups, sizes: Sequence[int], *, target: float = 0.9, draws: int = 200
) -> pd.DataFrame:
    """What a new threshold and a new calibration are worth, by how many images were labelled for them.

    Each draw labels other patients, and is judged on all those that it did not label. Draws without both classes in
    both parts are left out.

    Parameters
    ----------
    y, score, group : (n,)
        Of images from there.
    sizes : sequence of int
        How many images are labelled.
    target : float
        Sensitivity that the new threshold has to reach on the labelled images.
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


def repairs_over_draws(
    y: ArrayLike,
    steps: Mapping[str, ArrayLike],
    group: Groups,
    threshold: float,
    *,
    labelled: int,
    target: float = 0.9,
    draws: int = 100,
) -> pd.DataFrame:
    """AUC, sensitivity, specificity and ECE of each repair on images that were not labelled, over many draws.

    Each draw labels other patients. Draws without both classes in both parts are left out.

    Parameters
    ----------
    y, group : (n,)
        Of images from there.
    steps : mapping of str to (n,)
        Name of a repair that needs no label -> scores, all judged at the frozen `threshold`. The last one is judged
        once more with what the labels give: all logits shifted by one number (`fit_intercept`), and a threshold that
        finds the proportion `target` of the labelled fractures.
    labelled : int
        How many images are labelled.
    draws : int
        Draw k has seed k.

    Returns
    -------
    DataFrame
        step, metric, value (the middle draw), low, high (where the middle 95 % of the draws lie).
    """
    labels = np.asarray(y, np.int64)
    scores = {name: checked_probabilities(labels, s)[1] for name, s in steps.items()}
    last = list(scores)[-1]
    rows: list[tuple[str, str, float]] = []
    for seed in range(draws):
        few, rest = repair_and_judge(group, labelled, seed=seed)
        if min(np.ptp(labels[few]), np.ptp(labels[rest])) == 0:
            continue
        shift = fit_intercept(labels[few], scores[last][few])
        new = threshold_for_sensitivity(labels[few], shift(scores[last][few]), target)
        judged = {name: (s[rest], threshold) for name, s in scores.items()}
        judged[f"{last}, {labelled} labels"] = (shift(scores[last][rest]), new)
        for name, (score, at) in judged.items():
            rows += [(name, metric, value) for metric, value in _four(labels[rest], score, at).items()]
    table = pd.DataFrame(rows, columns=["step", "metric", "value"])
    limits = table.groupby(["step", "metric"], sort=False)["value"].quantile([0.025, 0.5, 0.975]).unstack()
    return limits.set_axis(["low", "value", "high"], axis=1).reset_index()[["step", "metric", "value", "low", "high"]]


def _four(y: Labels, score: Scores, threshold: float) -> dict[str, float]:
    at = confusion_at(y, score, threshold)
    return {
        "AUC": roc_auc(y, score),
        "sensitivity": at.sensitivity,
        "specificity": at.specificity,
        "ECE": calibration_error(y, score),
    }


def fractures_needed(half_width: float, share: float = 0.9) -> int:
    """The least number of fractured images that gives a sensitivity of `share` a 95 % interval of +- `half_width`.

    By Wilson's formula (`wilson_interval`), for images that are independent of each other; with several images a
    patient it takes more.

    Examples
    --------
    >>> fractures_needed(0.05)
    141
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
