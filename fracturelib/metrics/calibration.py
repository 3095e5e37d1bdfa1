"""Does a score of 0.3 mean three in ten? Reliability, calibration errors, and ways to mend them on validation."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit, logit
from scipy.stats import norm, rankdata

from fracturelib._io.files import InputError
from fracturelib.metrics._checks import require_bootstrap, require_level
from fracturelib.metrics.bootstrap import Groups, _pointwise_limits, draws, group_codes
from fracturelib.metrics.classification import Labels, Scores, checked_probabilities, ratio, undefined_reason
from fracturelib.metrics.intervals import NAN, wilson_interval
from fracturelib.metrics.limits import wilson_limits

# Scores of exactly 0 and 1 have no logit; they are taken this far from the end.
EDGE = 1e-12
BINNINGS = ("mass", "width")


def bin_of(score: Scores, bins: int, by: str) -> NDArray[np.int64]:
    """Which of `bins` bins each score is in: (n,) of 0..bins-1.

    By "width", bin k is (k / bins, (k + 1) / bins], and 0 is in the first. By "mass" bins hold equally many images, as
    far as equal scores, which stay together, allow.
    """
    if by not in BINNINGS or bins < 1:
        raise InputError(f"by is {by!r} and bins {bins}; expected 'mass' or 'width' and at least 1")
    if by == "width":
        edges = np.linspace(0, 1, bins + 1)[1:-1]
        return np.searchsorted(edges, score, "left").astype(np.int64)
    return np.minimum((rankdata(score) - 0.5) * bins / len(score), bins - 1).astype(np.int64)


def reliability(
    y: ArrayLike,
    score: ArrayLike,
    *,
    bins: int = 10,
    group: Groups | None = None,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Observed proportion of fractures against the mean score, by bins of equally many images.

    Returns
    -------
    DataFrame
        images, fractured, mean_score, observed, low, high; bins without images are left out. The interval is Wilson's,
        or, with `group`, the percentiles of `n` samples of whole groups; of a bin that no sample changes, Wilson's of
        its groups if the proportion is 0 or 1, else NaN.
    """
    require_bootstrap(n, level)
    labels, scores = checked_probabilities(y, score)
    place = bin_of(scores, bins, "mass")
    images = np.bincount(place, minlength=bins)
    fractured = np.bincount(place, weights=labels, minlength=bins).astype(int)
    kept = images > 0
    with np.errstate(invalid="ignore"):
        means = np.bincount(place, weights=scores, minlength=bins) / images
    if group is None:
        pairs = zip(fractured[kept], images[kept], strict=True)
        found = [wilson_interval(int(k), int(m), level=level) for k, m in pairs]
        limits = np.array([(interval.low, interval.high) for interval in found]).T
    else:
        codes = group_codes(group, len(labels))
        limits = _reliability_limits(labels, place, kept, codes, n=n, seed=seed, level=level)
        for i, k in enumerate(np.flatnonzero(kept)):
            share = fractured[k] / images[k]
            if limits[0, i] == limits[1, i]:
                groups = len(np.unique(codes[place == k]))
                limits[:, i] = wilson_limits(round(share) * groups, groups, level=level) if share in (0, 1) else NAN
    return pd.DataFrame(
        {
            "images": images[kept],
            "fractured": fractured[kept],
            "mean_score": means[kept],
            "observed": fractured[kept] / images[kept],
            "low": limits[0],
            "high": limits[1],
        }
    )


def _reliability_limits(
    y: Labels, place: Labels, kept: NDArray[np.bool_], codes: Labels, *, n: int, seed: int, level: float
) -> Scores:
    inside = np.eye(len(kept))[place][:, kept]
    shares = []
    for weights in draws(codes, n, seed):
        with np.errstate(invalid="ignore"):
            shares.append(((weights * y) @ inside) / (weights @ inside))
    # A bin that no drawn group has images in says nothing in that sample.
    return _pointwise_limits(np.array(shares), level)


def calibration_error(y: ArrayLike, score: ArrayLike, *, bins: int = 10, by: str = "mass") -> float:
    """Expected calibration error: mean gap between score and observed share, 0..1 (Naeini et al. 2015).

    It falls with fewer bins and rises with fewer images, so compare it only at the same number of both.

    Parameters
    ----------
    bins, by
        See `bin_of`.

    Examples
    --------
    >>> round(calibration_error([0, 0, 1, 1], [0.1, 0.1, 0.6, 0.6], bins=2), 3)
    0.25
    """
    labels, scores = checked_probabilities(y, score)
    place = bin_of(scores, bins, by)
    gap = np.abs(np.bincount(place, weights=labels - scores, minlength=bins))
    return float(gap.sum() / len(labels))


def log_loss(y: ArrayLike, score: ArrayLike) -> float:
    """Mean cross-entropy in nats; infinite if an image was given probability 0 of what it is.

    Examples
    --------
    >>> round(log_loss([0, 1], [0.1, 0.8]), 3)
    0.164
    """
    labels, scores = checked_probabilities(y, score)
    with np.errstate(divide="ignore"):
        return float(-np.log(np.where(labels == 1, scores, 1 - scores)).mean())


@dataclass(frozen=True)
class BrierParts:
    """Brier = reliability - resolution + uncertainty + within, exactly (Murphy 1973; Stephenson et al. 2008).

    Attributes
    ----------
    brier : float
        Mean squared error of the score as a probability, 0..1; 0 is best (Brier 1950).
    reliability : float
        How far observed shares are from mean scores; 0 is best.
    resolution : float
        How far observed shares are from the prevalence; more is better.
    uncertainty : float
        prevalence * (1 - prevalence): of the images, not of the model.
    within : float
        What differences inside of bins add; 0 if all scores of a bin are equal.
    skill : float
        1 - brier / uncertainty: 0 for always saying the prevalence, 1 for perfection; NaN with one class.
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float
    skill: float


def brier_parts(y: ArrayLike, score: ArrayLike) -> BrierParts:
    """The Brier score and its parts, by ten bins of equally many images."""
    labels, scores = checked_probabilities(y, score)
    place = bin_of(scores, 10, "mass")
    images = np.bincount(place)
    used = images > 0
    images = images[used]
    observed = np.bincount(place, weights=labels)[used] / images
    said = np.bincount(place, weights=scores)[used] / images
    share = labels.mean()
    total = float(((scores - labels) ** 2).mean())
    reliable = float((images * (said - observed) ** 2).sum() / len(labels))
    resolved = float((images * (observed - share) ** 2).sum() / len(labels))
    uncertain = float(share * (1 - share))
    within = total - (reliable - resolved + uncertain)
    return BrierParts(total, reliable, resolved, uncertain, within, 1 - ratio(total, uncertain))


# Slope and intercept
def _logits(score: Scores, edge: float = EDGE) -> Scores:
    return logit(np.clip(score, edge, min(1 - edge, np.nextafter(1.0, 0.0))))


def _edge(score: Scores) -> float:
    """How far from 0 and 1 scores are taken: `EDGE`, or less where they would all become equal by it."""
    if np.ptp(np.clip(score, EDGE, 1 - EDGE)) > 0:
        return EDGE
    inside = np.minimum(score, 1 - score)
    return float(inside[inside > 0].min(initial=2 * EDGE)) / 2


def _logistic(design: Scores, target: Scores, offset: Scores) -> tuple[Scores, Scores] | None:
    """Coefficients (k,) and inverse information (k, k) of a logistic regression by Newton; None if it runs away.

    The first column is 1; the others are brought to mean 0 and deviation 1, so that it does not matter how far from
    each other scores are, and what is found is brought back.
    """
    centre, spread = design.mean(axis=0), design.std(axis=0)
    centre[0], spread[0] = 0.0, 1.0
    if not (spread > 0).all():
        return None
    found = _newton((design - centre) / spread, target, offset)
    if found is None:
        return None
    back = np.diag(1 / spread)
    back[0] -= centre / spread
    return back @ found[0], back @ found[1] @ back.T


def _newton(design: Scores, target: Scores, offset: Scores) -> tuple[Scores, Scores] | None:
    weights = np.zeros(design.shape[1])
    loss = np.inf
    for _ in range(100):
        fitted = expit(design @ weights + offset)
        information = (design * (fitted * (1 - fitted))[:, None]).T @ design
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e14:
            return None
        step = np.linalg.solve(information, design.T @ (target - fitted))
        scale = 1.0
        while scale > 1e-6:
            z = design @ (weights + scale * step) + offset
            new = float((np.logaddexp(0, z) - target * z).sum())
            if new <= loss + 1e-12 * abs(new):
                break
            scale /= 2
        loss, weights = new, weights + scale * step
        if np.abs(step).max() < 1e-10 * max(1.0, np.abs(weights).max()):
            return weights, np.linalg.inv(information)
        if np.abs(weights).max() > 1e3:
            return None
    return None


@dataclass(frozen=True)
class CalibrationLine:
    """Logistic regression of the label on the score's logit (Cox 1958).

    Attributes
    ----------
    slope, slope_low, slope_high : float
        1 is right; under 1 the scores are too extreme.
    intercept, intercept_low, intercept_high : float
        With the slope held at 1, "calibration in the large": 0 is right; under 0 the scores are too high.
    joint_intercept : float
        That of the line with its own slope.
    undefined : str or None
    """

    slope: float
    slope_low: float
    slope_high: float
    intercept: float
    intercept_low: float
    intercept_high: float
    joint_intercept: float
    undefined: str | None = None


def calibration_line(
    y: ArrayLike, score: ArrayLike, *, group: Groups | None = None, level: float = 0.95
) -> CalibrationLine:
    """Calibration slope and intercept with Wald intervals; robust to images of one group being alike if it is given.

    The robust variance is the clustered sandwich (Liang & Zeger 1986, doi 10.1093/biomet/73.1.13). Of one group it is
    always 0, which is not certainty: the limits are NaN then.
    """
    require_level(level)
    labels, scores = checked_probabilities(y, score)
    codes = None if group is None else group_codes(group, len(labels))
    reason = undefined_reason(labels)
    x, one = _logits(scores, _edge(scores)), np.ones(len(labels))
    both = None if reason else _logistic(np.stack([one, x], axis=1), labels.astype(float), np.zeros(len(labels)))
    large = None if reason else _logistic(one[:, None], labels.astype(float), x)
    if both is None or large is None:
        why = "one value separates the classes" if np.ptp(x) > 0 else "all scores are equal"
        reason = reason or f"undefined, because {why}"
        return CalibrationLine(NAN, NAN, NAN, NAN, NAN, NAN, NAN, reason)
    z = float(norm.ppf((1 + level) / 2))
    slope, intercept = float(both[0][1]), float(large[0][0])
    design = np.stack([one, x], axis=1)
    wide = z * _errors(design, labels - expit(design @ both[0]), both[1], codes)[1]
    high = z * _errors(one[:, None], labels - expit(x + intercept), large[1], codes)[0]
    if codes is not None and not codes.any():
        wide = high = NAN
    return CalibrationLine(
        slope, slope - wide, slope + wide, intercept, intercept - high, intercept + high, float(both[0][0])
    )


def _errors(design: Scores, residual: Scores, inverse: Scores, codes: Labels | None) -> list[float]:
    if codes is not None:
        sums = [np.bincount(codes, weights=column * residual) for column in design.T]
        groups = len(sums[0])
        meat = np.array([[a @ b for b in sums] for a in sums]) * groups / max(groups - 1, 1)
        inverse = inverse @ meat @ inverse
    return [float(e) for e in np.sqrt(np.diag(inverse))]


# Mending it, on validation
@dataclass(frozen=True)
class Calibrator:
    """A monotone map from scores to better calibrated ones, fitted on validation.

    Attributes
    ----------
    method : str
    knots, values : tuple of float
        Isotonic: scores and what they become, in between linear.
    slope, intercept : float
        Of the logit; a temperature leaves the intercept 0, an intercept the slope 1.
    edge : float
        How far from 0 and 1 a score is taken for its logit.
    """

    method: str
    slope: float = 1.0
    intercept: float = 0.0
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()
    edge: float = EDGE

    def __call__(self, score: ArrayLike) -> Scores:
        """(n,) scores in 0..1 -> (n,) in 0..1."""
        scores = np.asarray(score, dtype=float)
        if self.knots:
            return np.interp(scores, self.knots, self.values)
        return expit(self.slope * _logits(scores, self.edge) + self.intercept)


def fit_calibrator(y: ArrayLike, score: ArrayLike, method: str) -> Calibrator:
    """Fit a calibrator on validation images; judge it on others.

    Parameters
    ----------
    method : "temperature", "intercept", "platt" or "isotonic"
        Temperature divides the logit by one number (Guo et al. 2017, arXiv 1706.04599). Intercept shifts it by one
        number, so that the mean score is the prevalence ("calibration in the large": Steyerberg 2019, Clinical
        Prediction Models, ch. 15). Platt does both, with his smoothed targets (Platt 1999). Isotonic is any rising
        steps (Zadrozny & Elkan 2002), and needs many images.

    Raises
    ------
    InputError
        If a class is missing, or `method` is another word, or is "platt" and all scores are equal.

    Examples
    --------
    >>> calibrator = fit_calibrator([0, 0, 1, 0, 1, 1], [0.01, 0.2, 0.3, 0.6, 0.9, 0.99], "temperature")
    >>> calibrator([0.9]).round(2)
    array([0.87])
    """
    labels, scores = checked_probabilities(y, score)
    reason = undefined_reason(labels)
    if reason:
        raise InputError(f"y: calibration is {reason}; expected both classes")
    edge = _edge(scores)
    x = _logits(scores, edge)
    if method == "temperature":

        def loss(log_temperature: float) -> float:
            z = x / np.exp(log_temperature)
            return float((np.logaddexp(0, z) - labels * z).mean())

        best = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded", options={"xatol": 1e-10})
        return Calibrator(method, slope=float(np.exp(-best.x)), edge=edge)
    if method == "intercept":
        reach = float(np.abs(x).max()) + np.log(len(x)) + 1  # the root lies within
        shift = brentq(lambda b: expit(x + b).mean() - labels.mean(), -reach, reach)
        return Calibrator(method, intercept=float(shift), edge=edge)
    if method == "platt":
        m, n = int(labels.sum()), int((1 - labels).sum())
        target = np.where(labels == 1, (m + 1) / (m + 2), 1 / (n + 2))
        found = _logistic(np.stack([np.ones(len(x)), x], axis=1), target, np.zeros(len(x)))
        if found is None:
            raise InputError(f"score: all {len(scores)} scores are {scores[0]:g}; expected at least two different ones")
        return Calibrator(method, slope=float(found[0][1]), intercept=float(found[0][0]), edge=edge)
    if method == "isotonic":
        from sklearn.isotonic import IsotonicRegression

        steps = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, labels)
        return Calibrator(
            method, knots=tuple(map(float, steps.X_thresholds_)), values=tuple(map(float, steps.y_thresholds_))
        )
    raise InputError(f"method is {method!r}; expected 'temperature', 'intercept', 'platt' or 'isotonic'")
