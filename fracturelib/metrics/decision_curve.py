"""Is a classifier of any use, and to whom? Net benefit, predictive values, workload, and images left to people."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.special import logit

from fracturelib._io.files import InputError
from fracturelib.metrics._checks import _in_unit, number, require_bootstrap
from fracturelib.metrics.bootstrap import (
    Groups,
    _pointwise_limits,
    draws,
    group_codes,
    rate_at,
    unvarying,
    unvarying_limits,
)
from fracturelib.metrics.classification import Labels, Scores, checked, checked_probabilities, predictive_values


def net_benefit(
    y: ArrayLike,
    score: ArrayLike,
    thresholds: ArrayLike | None = None,
    *,
    group: Groups | None = None,
    prevalence: float | None = None,
    n: int = 0,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Decision curve: true positives less what false alarms cost, at the exchange rate that a threshold states.

    Who acts at a risk of `t` holds a missed fracture to be (1 - t) / t times as bad as a false alarm (Vickers & Elkin
    2006, doi 10.1177/0272989X06295361).

    Parameters
    ----------
    y : (n,) of 0 and 1
    score : (n,) in 0..1
    thresholds : (k,) in 0..1, optional
        0, 0.01, ..., 0.99 if not given. At 1 the net benefit is undefined: NaN.
    group, n, seed, level
        For bootstrap limits by groups; none if `n` is 0, and none of one group, in which no sample differs.
    prevalence : float, optional
        Where it will be used; that of these images if not given.

    Returns
    -------
    DataFrame
        threshold, tp_rate, fp_rate (shares of all images), model, all (call everybody), none (call nobody: 0), low and
        high of model, and gain, gain_low, gain_high of the model over the better of the two.
    """
    require_bootstrap(n, level, least=0)
    labels, scores = checked_probabilities(y, score)
    t = np.arange(100) / 100 if thresholds is None else np.atleast_1d(_in_unit("thresholds", thresholds))
    if prevalence is not None:
        _in_unit("prevalence", prevalence)
    codes = group_codes(group, len(labels))
    counts = _counts_by_group(labels, scores, t, codes)
    groups = len(counts[2])
    value = _curves(counts, t, prevalence, np.ones(groups, np.int64))
    table = pd.DataFrame(
        {"threshold": t, "tp_rate": value[0], "fp_rate": value[1], "model": value[2], "all": value[3], "none": 0.0}
    )
    limits = np.full((2, 2, len(t)), np.nan)
    if n and groups > 1:
        drawn = np.array([_curves(counts, t, prevalence, w)[[2, 4]] for w in draws(np.arange(groups), n, seed)])
        defined = t < 1
        limits[:, :, defined] = _pointwise_limits(drawn[:, :, defined], level)
    table["low"], table["high"] = limits[0, 0], limits[1, 0]
    table["gain"], table["gain_low"], table["gain_high"] = value[4], limits[0, 1], limits[1, 1]
    return table


def _curves(counts: tuple[Scores, Scores, Scores], t: Scores, prevalence: float | None, w: Labels) -> Scores:
    """True and false positives, net benefit of the model and of calling everybody, and the model's gain: (5, k).

    Of a sample that holds group i w[i] times; `counts` are those of `_counts_by_group`.
    """
    hits, alarms, totals = counts
    fractured, negative = w @ totals
    share = fractured / (fractured + negative) if prevalence is None else prevalence
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = t / (1 - t)
        true = share * (w @ hits) / fractured if share else np.zeros(len(t))
        false = (1 - share) * (w @ alarms) / negative if share < 1 else np.zeros(len(t))
        model, everybody = true - false * rate, share - (1 - share) * rate
        model, everybody = np.where(t < 1, model, np.nan), np.where(t < 1, everybody, np.nan)
    return np.stack([true, false, model, everybody, model - np.maximum(everybody, 0)])


def _counts_by_group(y: Labels, score: Scores, t: Scores, codes: Labels) -> tuple[Scores, Scores, Scores]:
    """True and false positives of each group at each threshold (g, k), and its fractured and negative images (g, 2)."""
    groups = int(codes.max()) + 1
    order = np.argsort(t)
    reached = np.searchsorted(t[order], score, "right")
    tables = []
    for label in (1, 0):
        chosen = y == label
        cells = np.zeros((groups, len(t) + 1))
        np.add.at(cells, (codes[chosen], reached[chosen]), 1)
        above = cells[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
        unsorted = np.empty_like(above)
        unsorted[:, order] = above
        tables.append((unsorted, cells.sum(axis=1)))
    return tables[0][0], tables[1][0], np.stack([tables[0][1], tables[1][1]], axis=1)


def predictive_value_curve(
    y: ArrayLike,
    score: ArrayLike,
    threshold: float,
    *,
    group: Groups | None = None,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """PPV and NPV at prevalences of 0.01 to 0.99, sensitivity and specificity held, with bootstrap limits by groups.

    Returns
    -------
    DataFrame
        prevalence, ppv, ppv_low, ppv_high, npv, npv_low, npv_high. Where no sample differs, as without a false alarm,
        the limits are what follows from Wilson's of the sensitivity and of the specificity; NaN where one of the two is
        the same in every sample and has none, as in one group.
    """
    require_bootstrap(n, level)
    threshold = number("threshold", threshold)
    labels, scores = checked(y, score)
    share = np.linspace(0.01, 0.99, 99)
    codes = group_codes(group, len(labels))
    predicted = scores >= threshold
    cells = np.stack([labels * predicted, labels, (1 - labels) * ~predicted, 1 - labels], axis=1).astype(float)
    by_group = np.stack([np.bincount(codes, weights=column) for column in cells.T], axis=1)

    def values(counts: Scores) -> Scores:
        tp, positive, tn, negative = counts
        if not positive or not negative:
            return np.full((2, len(share)), np.nan)
        return np.stack(predictive_values(tp / positive, tn / negative, share))

    value = values(np.ones(len(by_group)) @ by_group)
    sums = np.array([w @ by_group for w in draws(np.arange(len(by_group)), n, seed)])
    limits = _pointwise_limits(np.array([values(counts) for counts in sums]), level)
    same = limits[0] == limits[1]
    if same.any():
        ends = []
        for i, name in enumerate(("sensitivity", "specificity")):
            metric = rate_at(name, threshold)
            end, one = unvarying_limits(metric, labels, scores, codes, level=level)[0], metric(labels, scores)
            counted = sums[sums[:, 2 * i + 1] > 0]
            if np.isnan(end[0]) and not unvarying(counted[:, 2 * i] / counted[:, 2 * i + 1], one):
                end = one, one  # it varies, and yet the predictive value does not depend on it
            ends.append(end)
        for limit, sensitivity, specificity in zip(limits, *ends, strict=True):
            known = not np.isnan(sensitivity + specificity)
            limit[same] = np.stack(predictive_values(sensitivity, specificity, share))[same] if known else np.nan
    columns = {"prevalence": share}
    for i, name in enumerate(("ppv", "npv")):
        columns |= {name: value[i], f"{name}_low": limits[0, i], f"{name}_high": limits[1, i]}
    return pd.DataFrame(columns)


def prior_shift(score: ArrayLike, *, before: float, after: float | None = None) -> Scores:
    """Scores as they would be where fractures are more or less common, the images of each class staying alike.

    Saerens, Latinne & Decaestecker 2002, doi 10.1162/089976602753284446.

    Parameters
    ----------
    score : (n,) in 0..1
        Calibrated at the prevalence `before`.
    before : float
        Prevalence, between 0 and 1.
    after : float, optional
        The other prevalence. If not given, it is estimated from the scores, without labels, by expectation and
        maximisation: it is the mean of what is returned.

    Examples
    --------
    >>> prior_shift([0.5, 0.9], before=0.5, after=0.1).round(2)
    array([0.1, 0.5])
    >>> prior_shift([0.05, 0.05, 0.05, 0.95], before=0.5).mean().round(2)
    np.float64(0.22)
    """
    scores = _in_unit("score", score)
    for name, value in {"before": before, "after": before if after is None else after}.items():
        if not 0 < number(name, value, "a prevalence between 0 and 1") < 1:
            raise InputError(f"{name} is {value}; expected a prevalence between 0 and 1")
    if after is None and not scores.size:
        raise InputError("score is empty; expected scores to estimate the prevalence from")
    share = _estimated_prevalence(scores, before) if after is None else after
    up, down = scores * share / before, (1 - scores) * (1 - share) / (1 - before)
    return up / (up + down)


def _estimated_prevalence(scores: Scores, before: float) -> float:
    share = before
    for _ in range(1000):
        new = float(np.clip(prior_shift(scores, before=before, after=share).mean(), 1e-12, 1 - 1e-12))
        if abs(new - share) < 1e-12:
            return new
        share = new
    return share


@dataclass(frozen=True)
class Workload:
    """What a threshold means for so many images: how many are flagged, found, missed, and flagged for nothing."""

    images: float
    fractured: float
    flagged: float
    found: float
    missed: float
    false_alarms: float

    @property
    def images_per_find(self) -> float:
        """Flagged images that are read for each fracture found; infinite if none is found, NaN if none is flagged."""
        if not self.found:
            return float("inf") if self.flagged else float("nan")
        return self.flagged / self.found


def workload(sensitivity: float, specificity: float, prevalence: float) -> Workload:
    """Expected counts among 1,000 images at a prevalence."""
    _in_unit("sensitivity, specificity or prevalence", [sensitivity, specificity, prevalence])
    images = 1000
    fractured = images * prevalence
    found, alarms = fractured * sensitivity, (images - fractured) * (1 - specificity)
    return Workload(images, fractured, found + alarms, found, fractured - found, alarms)


def selective_prediction(y: ArrayLike, score: ArrayLike, threshold: float) -> pd.DataFrame:
    """How good the rest is, if the images nearest to the threshold are left to people.

    Nearness is the difference of logits, so that a threshold of 0.1 has as much room below it as above. Images that are
    equally near stay together.

    Returns
    -------
    DataFrame
        margin (falling), coverage (proportion of images that is decided), error (proportion of those that is wrong),
        sensitivity, specificity (among those; NaN without the class).
    """
    labels, scores = checked_probabilities(y, score)
    if not 0 < number("threshold", threshold, "a number between 0 and 1") < 1:
        raise InputError(f"threshold is {threshold}; expected a number between 0 and 1")
    # Rounded, so that 0.2 and 0.8 are equally near to 0.5 in spite of binary fractions.
    margin = np.round(np.abs(logit(scores) - logit(threshold)), 9)
    order = np.argsort(-margin, kind="stable")
    ranked = margin[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    y_ranked, predicted = labels[order], (scores >= threshold)[order]
    kept = last + 1
    positive, hits = np.cumsum(y_ranked)[last], np.cumsum(y_ranked * predicted)[last]
    rejected = np.cumsum((1 - y_ranked) * ~predicted)[last]
    with np.errstate(invalid="ignore"):
        return pd.DataFrame(
            {
                "margin": ranked[last],
                "coverage": kept / len(labels),
                "error": 1 - (hits + rejected) / kept,
                "sensitivity": hits / positive,
                "specificity": rejected / (kept - positive),
            }
        )
