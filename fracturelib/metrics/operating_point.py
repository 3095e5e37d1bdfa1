"""Choosing a threshold by a rule that is said beforehand, on validation, and keeping what it was chosen on."""

import hashlib
import re
import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fracturelib._io.files import InputError
from fracturelib.metrics.bootstrap import Groups, draws, group_codes
from fracturelib.metrics.classification import Confusion, Labels, Scores, checked, confusion_at, cumulative_counts

# Shares such as 0.95 * 40 are not exact in binary; no count is nearer to a target than this without meeting it.
CLOSE = 1e-9
GRAMMAR = (
    "'sensitivity=0.95', 'specificity=0.9', 'youden', 'f_beta=2', 'cost=10:1' (a missed fracture : a false alarm), "
    "'cost=10:1@0.02' (at that prevalence), 'alerts=0.2' (proportion of images) or 'score=0.5'"
)


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
    found = re.fullmatch(r"\s*([a-z_]+)\s*(?:=\s*([-\d.e]+)(?::([-\d.e]+))?(?:@([-\d.e]+))?)?\s*", text)
    try:
        numbers = [None if part is None else float(part) for part in found.groups()[1:]] if found else []
    except ValueError:
        found = None
    error = InputError(f"rule is {text!r}; expected {GRAMMAR}")
    if not found:
        raise error
    name, (value, alarm, prevalence) = found[1], numbers
    if name == "youden" and numbers == [None, None, None]:
        return Rule("youden")
    if name == "cost" and value is not None and alarm is not None and min(value, alarm) > 0:
        if prevalence is not None and not 0 < prevalence < 1:
            raise error
        return Rule("cost", value, alarm, prevalence)
    if value is None or alarm is not None or prevalence is not None:
        raise error
    shares = name in ("sensitivity", "specificity", "alerts") and 0 < value <= 1
    if shares or name == "score" or (name == "f_beta" and value > 0):
        return Rule(name, value)
    raise error


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
    return _picked(Rule("sensitivity", _share("target", target)), y, score)


def threshold_for_specificity(y: ArrayLike, score: ArrayLike, target: float) -> float:
    """The lowest score that, as threshold, reaches the specificity `target` (0..1); infinity if none does.

    Raises
    ------
    InputError
        If every image is fractured, or `target` is not in 0..1.
    """
    return _picked(Rule("specificity", _share("target", target)), y, score)


def threshold_youden(y: ArrayLike, score: ArrayLike) -> float:
    """The score that, as threshold, has the greatest Youden's J; the highest of several.

    Raises
    ------
    InputError
        If a class is missing.

    Examples
    --------
    >>> threshold_youden([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.8
    """
    return _picked(Rule("youden"), y, score)


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise InputError(f"{name} is {value}; expected a number in 0..1")
    return value


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
        Where it might as well have fallen: bootstrap limits by groups; NaN if not asked for.
    """

    threshold: float
    rule: str
    fingerprint: str
    images: int
    fractured: int
    low: float = float("nan")
    high: float = float("nan")

    def evaluate(self, y: ArrayLike, score: ArrayLike) -> Confusion:
        """Counts at this threshold; a `SameDataWarning` if these are the images that it was chosen on."""
        self.warn_if_same(y, score)
        return confusion_at(y, score, self.threshold)

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
        Bootstrap samples of whole groups for `low` and `high`; none if 0.

    Examples
    --------
    >>> choose_threshold([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], "sensitivity=0.9").threshold
    0.35
    """
    labels, scores = checked(y, score)
    rule = parse_rule(rule) if isinstance(rule, str) else rule
    low = high = float("nan")
    if n:
        values = np.array(_resampled(labels, scores, rule, group_codes(group, len(labels)), n, seed))
        # Thresholds are scores, or infinity: take those that occurred, and interpolate none.
        limits = [(1 - level) / 2, (1 + level) / 2]
        low, high = np.quantile(values, limits, method="inverted_cdf") if len(values) else (low, high)
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
