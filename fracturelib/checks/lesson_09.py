"""Exercises of lesson 09: many intervals, spectrum, the widest gap, and what an AUC cannot see."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import ks_2samp

from fracturelib.checks.answers import (
    Reply,
    exercise,
    judge_function,
    judge_number,
    near,
    not_yet,
    number,
    outcomes,
    proportion,
    right,
)
from fracturelib.metrics import confusion_at, roc_auc

Scores = NDArray[np.float64]
LEVEL = 0.05  # one 95 % interval in twenty leaves out a truth
DISPLACED, HAIRLINES = (76, 80), (28, 40)  # found, of so many at home
ALARM = 0.2  # a gap of scores that nobody overlooks


# 9.1 ----------------------------------------------------------------------------------------------------------------


@exercise("9.1")
def many_intervals(expected: object, any_one: object, *, intervals: int) -> Reply:
    """Of so many 95 % intervals, how many leave out zero by luck, and how probable it is that one does."""
    value, mean = number(expected, "the expected number"), LEVEL * intervals
    if not near(value, mean, max(0.06, 0.01 * mean)):
        wrongs = (
            ((1 - LEVEL) * intervals, "the first number counts the intervals that hold the zero; count the others"),
            (0.0, "a 95 % interval leaves out the truth now and then, even where nothing has changed: how often?"),
            (LEVEL, "the first number is how often one interval errs; there are many of them"),
            (100 * LEVEL * intervals, "5 % is 0.05: the first number counts intervals, and is not in per cent"),
            (float(intervals), "not every interval leaves out zero: if nothing has changed, 95 of 100 hold it"),
        )
        otherwise = "the first number: how often does one 95 % interval err, and how many are there?"
        return judge_number(value, mean, "", wrongs, otherwise=otherwise)
    chance, none = proportion(any_one, "the probability"), (1 - LEVEL) ** intervals
    return judge_number(
        chance,
        1 - none,
        "so a lone interval that leaves out zero, found among many, is what one expects of luck. These intervals share "
        "patients and are not independent, so the probability is rough, but the expected number is not: it holds "
        "whatever they share. Say how many intervals you looked at, and trust the change that stands out in several",
        (
            (none, "the second number is how probable it is that none leaves out zero; and at least one?"),
            (LEVEL, "the second number is that of a single interval; with many it is more probable that one errs"),
            (1.0, "the second number: probable, but not certain. How probable is it that each of them holds the zero?"),
            (LEVEL**intervals, "the second number is how probable it is that all of them leave out zero at once"),
        ),
        otherwise="the second number: begin with how probable it is that every one of them holds the zero",
    )


# 9.2 ----------------------------------------------------------------------------------------------------------------


@exercise("9.2")
def spectrum(answer: object) -> Reply:
    """The sensitivity where three fractures of four are hairlines."""
    easy, hard = DISPLACED[0] / DISPLACED[1], HAIRLINES[0] / HAIRLINES[1]
    at_home = (DISPLACED[0] + HAIRLINES[0]) / (DISPLACED[1] + HAIRLINES[1])
    return judge_number(
        proportion(answer, "the sensitivity"),
        0.25 * easy + 0.75 * hard,
        "the network, the images and the threshold are the same, and yet sensitivity falls: it is an average over the "
        "fractures at hand. That is spectrum. Specificity is an average, too, over patients without a fracture: it "
        "falls where more of them have growth plates, old fractures or worn joints",
        (
            (at_home, "that is the sensitivity with home's mix of fractures; weigh the two kinds as they come there"),
            (0.75 * easy + 0.25 * hard, "the weights are the wrong way round: three of four are hairlines there"),
            ((easy + hard) / 2, "that would be as many hairlines as displaced ones; there it is one to three"),
            (hard, "that is the sensitivity for hairlines; one fracture in four there is displaced"),
            (easy, "that is the sensitivity for displaced fractures; most of those there are hairlines"),
        ),
        otherwise="find the sensitivity of each kind at home first; then how much does each weigh there?",
    )


# 9.3 ----------------------------------------------------------------------------------------------------------------


def _widest_gap(a: ArrayLike, b: ArrayLike) -> float:
    return float(ks_2samp(a, b, method="asymp").statistic)


def _one_sided(a: Scores, b: Scores) -> float:
    at = np.concatenate([a, b])
    return max(float((a <= t).mean() - (b <= t).mean()) for t in at)


def _other_side(a: Scores, b: Scores) -> float:
    return _one_sided(b, a)


def _at_first(a: Scores, b: Scores) -> float:
    return max(abs(float((a <= t).mean() - (b <= t).mean())) for t in a)


def _at_second(a: Scores, b: Scores) -> float:
    return _at_first(b, a)


def _on_a_grid(a: Scores, b: Scores) -> float:
    return max(abs(float((a <= t).mean() - (b <= t).mean())) for t in np.linspace(0, 1, 101))


def _means(a: Scores, b: Scores) -> float:
    return abs(float(np.mean(a) - np.mean(b)))


def _medians(a: Scores, b: Scores) -> float:
    return abs(float(np.median(a) - np.median(b)))


def _counts(a: Scores, b: Scores) -> float:
    return max(abs(float((a <= t).sum() - (b <= t).sum())) for t in np.concatenate([a, b]))


def _average(a: Scores, b: Scores) -> float:
    return float(np.mean([abs((a <= t).mean() - (b <= t).mean()) for t in np.concatenate([a, b])]))


@exercise("9.3")
def widest_gap(function: object) -> Reply:
    """A function of two sets of scores."""
    cases: dict[str, tuple[Any, ...]] = {
        "scores that are higher there": (np.array([0.1, 0.2, 0.3, 0.6]), np.array([0.4, 0.5, 0.7, 0.8, 0.9])),
        "scores that are lower there": (np.array([0.5, 0.9, 0.7]), np.array([0.2, 0.6, 0.1, 0.3, 0.4])),
        "scores with ties": (np.array([0.5, 0.5, 0.2, 0.8, 0.5]), np.array([0.5, 0.8, 0.8, 0.5])),
        "unequal numbers of images, unsorted": (np.array([0.9]), np.array([0.3, 0.1, 0.2])),
        "the same scores twice": (np.array([0.4, 0.1]), np.array([0.1, 0.4])),
        "scores that lie close together": (np.array([0.31411, 0.31412, 0.7]), np.array([0.31413, 0.31414, 0.9])),
        "scores that spread more there, around the same middle": (np.array([0.4, 0.5, 0.6]), np.array([0.1, 0.5, 0.9])),
    }
    wrongs: tuple[tuple[Callable[..., Any], str], ...] = (
        (_one_sided, "the gap counts in both directions; yours sees only scores that are higher there: take abs(...)"),
        (_other_side, "the gap counts in both directions; yours sees only scores that are lower there: take abs(...)"),
        (_at_first, "the widest gap may lie at a score of the second hospital: try the scores of both"),
        (_at_second, "the widest gap may lie at a score of the first hospital: try the scores of both"),
        (_on_a_grid, "the proportions change at scores only, and a grid of t may step over the widest gap"),
        (_means, "that is how far the means lie apart; two distributions with one mean can differ, too"),
        (_medians, "that is how far the medians lie apart; two distributions with one median can differ, too"),
        (_counts, "compare proportions, not numbers of images: the hospitals have unequal numbers"),
        (_average, "that is the average gap; take the widest"),
    )
    return judge_function(
        function,
        cases,
        _widest_gap,
        "this is the statistic of Kolmogorov and Smirnov. It sees any difference of two distributions, of place or of "
        "spread, and it has never asked for a label. So it cannot tell whether the difference does any harm",
        wrongs,
    )


# 9.4 ----------------------------------------------------------------------------------------------------------------


def _changed(function: object, score: Scores) -> Scores:
    (result,) = outcomes(function, [("on home's scores", score)], expected="a function of the scores")
    try:
        found = np.asarray(result, float)
    except (TypeError, ValueError):
        not_yet(f"your function returns a {type(result).__name__}; expected a score for each image")
    if found.shape != score.shape:
        not_yet(f"it is given {len(score)} scores and returns the shape {found.shape}; expected a score for each image")
    if not np.isfinite(found).all():
        not_yet("some of the changed scores are no numbers")
    if found.min() < 0 or found.max() > 1:
        not_yet("some of the changed scores lie outside 0 to 1, where a score P(Fractured) lies")
    return found


@exercise("9.4")
def seen_by_one(function: object, *, y: ArrayLike, score: ArrayLike, threshold: float) -> Reply:
    """A change of scores that the gap sees and AUC does not."""
    labels, before = np.asarray(y, np.int64), np.asarray(score, float)
    after = _changed(function, before)
    gap, was, now = _widest_gap(before, after), roc_auc(labels, before), roc_auc(labels, after)
    if len(np.unique(after)) == 1 < len(np.unique(before)):
        not_yet("now all images have the same score: there is no order left, and AUC is a coin's")
    if near(now, 1 - was, 1e-9) and not near(now, was, 0.002):
        not_yet("you turned the order round: what looked most fractured now looks least so, and AUC is turned, too")
    if not near(now, was, 0.002):
        not_yet(
            f"AUC sees it, too: it went from {was:.2f} to {now:.2f}. Which changes leave the order of images alone?"
        )
    if np.array_equal(before, after):
        not_yet("nothing has changed: neither figure can see anything")
    if gap < ALARM - 1e-9:
        not_yet(f"AUC is as it was, but the gap is only {gap:.2f}; push the scores further, to {ALARM:.1f} at least")
    rates = [confusion_at(labels, s, threshold) for s in (before, after)]
    sensitivity, specificity = (
        " to ".join(f"{getattr(r, name):.2f}" for r in rates) for name in ("sensitivity", "specificity")
    )
    return right(
        f"AUC stays at {now:.2f} and the gap is {gap:.2f}. At the frozen threshold sensitivity went from {sensitivity} "
        f"and specificity from {specificity}: 'the AUC was confirmed externally' says nothing about a threshold"
    )
