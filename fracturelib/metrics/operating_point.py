"""Choosing a threshold by a rule that is said beforehand, on validation, and keeping what it was chosen on."""

import hashlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fracturelib._io.files import InputError
from fracturelib.metrics._checks import MOST, number_within, require_bootstrap
from fracturelib.metrics.bootstrap import Groups, draws, group_codes
from fracturelib.metrics.classification import Labels, Scores, checked, cumulative_counts
from fracturelib.metrics.rates import RATES, operating_point_table

# Shares such as 0.95 * 40 are not exact in binary; no count is nearer to a target than this without meeting it.
CLOSE = 1e-9
GRAMMAR = (
    "'sensitivity=0.95', 'specificity=0.9', 'youden', 'f_beta=2', 'cost=10:1' (a missed fracture : a false alarm), "
    "'cost=10:1@0.02' (at that prevalence), 'alerts=0.2' (proportion of images) or 'score=0.5'"
)
_NAMES = ("sensitivity", "specificity", "youden", "f_beta", "cost", "alerts", "score")
_SHARES = ("sensitivity", "specificity", "alerts")
_SHARE = "a share above 0 and at most 1"


class SameDataWarning(UserWarning):
    """A threshold is judged on the images that it was chosen on: the result flatters."""


@dataclass(frozen=True)
class Rule:
    """How a threshold is chosen.

    Attributes
    ----------
    name : str
        sensitivity, specificity, youden, f_beta, cost, alerts or score.
    value : float
        Its target, beta, budget or score; for cost, that of a missed fracture.
    false_alarm : float
        For cost, that of a false alarm.
    prevalence : float or None
        For cost, where it will be used; that of the images if None.
    """

    name: str
    value: float = 1.0
    false_alarm: float = 1.0
    prevalence: float | None = None

    def __post_init__(self) -> None:
        expected = _range_missed(self.name, self.value, self.false_alarm, self.prevalence)
        if expected:
            raise InputError(f"rule is {self.name!r} of {self.value!r}; expected {expected}")

    def pick(self, threshold: Scores, tp: Labels, fp: Labels) -> float:
        """The threshold, of distinct scores, highest first, with the true and false positives at each: three (k,)."""
        positive, negative = tp[-1], fp[-1]
        if self.name == "score":
            return self.value
        if self.name in ("sensitivity", "youden", "f_beta", "cost"):
            _require(positive, "fractured")
        if self.name in ("specificity", "youden", "cost"):
            _require(negative, "not fractured")
        if self.name == "sensitivity":
            return float(threshold[np.argmax(tp >= self.value * positive - CLOSE)])
        if self.name == "specificity":
            return _lowest(threshold, negative - fp >= self.value * negative - CLOSE)
        if self.name == "alerts":
            return _lowest(threshold, tp + fp <= self.value * (positive + negative) + CLOSE)
        if self.name == "youden":
            return float(threshold[np.argmax(tp / positive - fp / negative)])
        if self.name == "f_beta":
            weight = self.value**2
            predicted = np.maximum(tp + fp, 1)
            return float(threshold[np.argmax((1 + weight) * tp / (predicted + weight * positive))])
        share = positive / (positive + negative) if self.prevalence is None else self.prevalence
        missed = self.value * share * (positive - np.append(0, tp)) / positive
        alarms = self.false_alarm * (1 - share) * np.append(0, fp) / negative
        return float(np.append(np.inf, threshold)[np.argmin(np.round(missed + alarms, 12))])

    def __str__(self) -> str:
        if self.name == "youden":
            return self.name
        if self.name == "cost":
            at = "" if self.prevalence is None else f"@{self.prevalence:g}"
            return f"cost={self.value:g}:{self.false_alarm:g}{at}"
        return f"{self.name}={self.value:g}"


def _range_missed(name: str, value: float, false_alarm: float, prevalence: float | None) -> str | None:
    """What the numbers of a rule have to be, in words, if they are not; None if they are."""
    if name not in _NAMES:
        return f"one of {', '.join(_NAMES)}"
    numbers = [value, false_alarm, *([] if prevalence is None else [prevalence])]
    if not all(isinstance(x, Real) and np.isfinite(float(x)) for x in numbers):
        return "a finite number"
    if name in _SHARES and not 0 <= value <= 1:
        return _SHARE
    used = numbers[: {"cost": 2, "f_beta": 1}.get(name, 0)]
    if not all(1 / MOST <= x <= MOST for x in used):
        return f"a number in {1 / MOST:g}..{MOST:g}"
    if prevalence is not None and not 0 < prevalence < 1:
        return "a prevalence between 0 and 1"
    return None


def _lowest(threshold: Scores, reached: np.ndarray) -> float:
    return float(threshold[np.flatnonzero(reached)[-1]]) if reached.any() else float("inf")


def _require(count: int, name: str) -> None:
    if not count:
        raise InputError(f"y: no image is {name}; expected at least one")


def parse_rule(text: str) -> Rule:
    """A rule from its name, as it stands on a command line.

    Raises
    ------
    InputError
        If it is none, or its number is out of range.
    """
    pattern = r"\s*([a-z_]+)\s*(?:=\s*([-\d.e]+)(?::([-\d.e]+))?(?:@([-\d.e]+))?)?\s*"
    found = re.fullmatch(pattern, text) if isinstance(text, str) else None
    try:
        numbers = [None if part is None else float(part) for part in found.groups()[1:]] if found else []
    except ValueError:
        found = None
    error = f"rule is {text!r}; expected {GRAMMAR}"
    if not found:
        raise InputError(error)
    name, (value, alarm, prevalence) = found[1], numbers
    count = {"youden": 0, "cost": 2}.get(name, 1)
    if [value, alarm].count(None) != 2 - count or (prevalence is not None and name != "cost"):
        raise InputError(error)
    given = (1.0 if value is None else value, 1.0 if alarm is None else alarm, prevalence)
    expected = _range_missed(name, *given)
    if expected or (name in _SHARES and not value):
        raise InputError(f"{error}; of {name}, {expected or _SHARE}" if name in _NAMES else error)
    return Rule(name, *given)


def _picked(rule: Rule, y: ArrayLike, score: ArrayLike) -> float:
    return rule.pick(*cumulative_counts(y, score))


def threshold_for_sensitivity(y: ArrayLike, score: ArrayLike, target: float) -> float:
    """The highest score that, as threshold, reaches the sensitivity `target` (0..1).

    Raises
    ------
    InputError
        If no image is fractured, or `target` is not in 0..1.

    Examples
    --------
    >>> threshold_for_sensitivity([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.5)
    0.8
    """
    return _picked(Rule("sensitivity", number_within("target", target, 0, 1)), y, score)


def scores_fingerprint(y: ArrayLike, score: ArrayLike) -> str:
    """Sixteen hexadecimal digits that stand for these labelled scores, in whatever order they come."""
    labels, scores = checked(y, score)
    order = np.lexsort((labels, scores))
    content = np.stack([scores[order], labels[order].astype(np.float64)])
    return hashlib.sha256(content.astype("<f8").tobytes()).hexdigest()[:16]


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and where it comes from.

    Attributes
    ----------
    threshold : float
    rule : str
        How it was chosen, as `parse_rule` reads it.
    fingerprint : str
        Of the labelled scores that it was chosen on.
    images, fractured : int
        How many they were.
    low, high : float
        Where it might as well have fallen: bootstrap limits by groups; NaN if not asked for, or of one group.
    """

    threshold: float
    rule: str
    fingerprint: str
    images: int
    fractured: int
    low: float = float("nan")
    high: float = float("nan")

    def evaluate(
        self,
        y: ArrayLike,
        score: ArrayLike,
        group: Groups | None = None,
        *,
        names: Sequence[str] = RATES,
        n: int = 2000,
        seed: int = 0,
        level: float = 0.95,
    ) -> pd.DataFrame:
        """What this threshold is worth on other images; a `SameDataWarning` if it was chosen on these very ones.

        Parameters
        ----------
        y, score : (n,)
        group : (n,), optional
            The patient of each image; each image its own if not given.
        names : sequence of str
            Properties of `Confusion`.
        n, seed, level
            Of the bootstrap, which draws whole groups.

        Returns
        -------
        DataFrame
            metric, value, low, high, numerator, denominator (of proportions), note. The note says why a value is
            undefined. A figure that is the same in every sample, as a proportion of 0 or 1 is, is not certain for that:
            its interval is that of `bootstrap.unvarying_limits`, and the note says so.

        Examples
        --------
        >>> point = choose_threshold([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], "sensitivity=0.9")
        >>> point.evaluate([0, 0, 1], [0.3, 0.5, 0.6], names=["specificity"])[["metric", "numerator", "denominator"]]
                metric  numerator  denominator
        0  specificity          1            2
        """
        self.warn_if_same(y, score)
        return operating_point_table(y, score, self.threshold, group, names=names, n=n, seed=seed, level=level)

    def warn_if_same(self, y: ArrayLike, score: ArrayLike) -> bool:
        """Whether these are the images that it was chosen on, with a `SameDataWarning` if so."""
        same = scores_fingerprint(y, score) == self.fingerprint
        if same and not self.rule.startswith("score="):
            warnings.warn(
                f"the threshold {self.threshold:.3f} ({self.rule}) was chosen on these very images: "
                "its results on them flatter; judge it on others",
                SameDataWarning,
                stacklevel=3,
            )
        return same

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def choose_threshold(
    y: ArrayLike,
    score: ArrayLike,
    rule: str | Rule,
    *,
    group: Groups | None = None,
    n: int = 0,
    seed: int = 0,
    level: float = 0.95,
) -> OperatingPoint:
    """Choose a threshold, on validation, and measure how far the choice depends on which patients were there.

    Parameters
    ----------
    y, score : (n,)
        Of validation images.
    rule : str or Rule
        Such as "sensitivity=0.95"; see `parse_rule`.
    group : (n,), optional
        The patient of each image.
    n : int
        Bootstrap samples of whole groups for `low` and `high`; none if 0, and none of one group.

    Examples
    --------
    >>> choose_threshold([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], "sensitivity=0.9").threshold
    0.35
    """
    require_bootstrap(n, level, least=0)
    labels, scores = checked(y, score)
    rule = rule if isinstance(rule, Rule) else parse_rule(rule)
    codes = group_codes(group, len(labels))
    low = high = float("nan")
    if n and codes.any():  # every sample of one group is that group, which says nothing of others
        values = np.array(_resampled(labels, scores, rule, codes, n, seed))
        # Thresholds are scores, or infinity: take those that occurred, and interpolate none.
        limits = [(1 - level) / 2, (1 + level) / 2]
        low, high = np.quantile(values, limits, method="inverted_cdf") if len(values) > 1 else (low, high)
    return OperatingPoint(
        threshold=_picked(rule, labels, scores),
        rule=str(rule),
        fingerprint=scores_fingerprint(labels, scores),
        images=len(labels),
        fractured=int(labels.sum()),
        low=float(low),
        high=float(high),
    )


def _resampled(y: Labels, score: Scores, rule: Rule, codes: Labels, n: int, seed: int) -> list[float]:
    order = np.argsort(-score, kind="stable")
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    fractured, threshold = y[order], score[order][last]
    values = []
    for weights in draws(codes, n, seed):
        drawn = weights[order]
        tp = np.cumsum(drawn * fractured)[last]
        fp = np.cumsum(drawn)[last] - tp
        if tp[-1] and fp[-1]:
            present = np.diff(tp + fp, prepend=0) > 0
            values.append(rule.pick(threshold[present], tp[present], fp[present]))
    return values
