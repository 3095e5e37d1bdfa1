"""Exercises of lesson 03: rates at a threshold, a threshold on validation, the bootstrap, predictive values."""

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fracturelib.checks.answers import (
    TWO_DIGITS,
    Reply,
    exercise,
    judge_function,
    judge_number,
    near,
    not_yet,
    outcomes,
    proportion,
    right,
)
from fracturelib.metrics import confusion_at, group_bootstrap, roc_auc, sweep
from fracturelib.metrics.classification import predictive_values

CLOSE = 1e-9  # a share such as 0.9 of 10 is not exact in binary
WHERE = "on eight images of five patients"
Rows = NDArray[np.int64]


# 3.1 --------------------------------------------------------------------------------------------------------------


def _counts(y: Any, score: Any, threshold: float, *, equal: bool = True) -> tuple[float, float, float, float]:
    """True and false positives, false and true negatives."""
    labels, scores = np.asarray(y), np.asarray(score)
    positive = scores >= threshold if equal else scores > threshold
    cells = (positive & (labels == 1), positive & (labels == 0), ~positive & (labels == 1), ~positive & (labels == 0))
    tp, fp, fn, tn = (float(cell.sum()) for cell in cells)
    return tp, fp, fn, tn


def _rates(y: Any, score: Any, threshold: float) -> tuple[float, float]:
    at = confusion_at(y, score, threshold)
    return at.sensitivity, at.specificity


def _greater(y: Any, score: Any, threshold: float) -> tuple[float, float]:
    tp, fp, fn, tn = _counts(y, score, threshold, equal=False)
    return tp / (tp + fn), tn / (tn + fp)


def _of_all(y: Any, score: Any, threshold: float) -> tuple[float, float]:
    tp, _, _, tn = _counts(y, score, threshold)
    return tp / len(y), tn / len(y)


def _of_predicted(y: Any, score: Any, threshold: float) -> tuple[float, float]:
    tp, fp, fn, tn = _counts(y, score, threshold)
    return tp / (tp + fp), tn / (tn + fn)


def _mixed(y: Any, score: Any, threshold: float) -> tuple[float, float]:
    sensitivity, _ = _rates(y, score, threshold)
    return sensitivity, _of_predicted(y, score, threshold)[0]


@exercise("3.1")
def sensitivity_and_specificity(function: object) -> Reply:
    """A function of labels, scores and a threshold."""
    tied = (np.array([1, 1, 1, 0, 0, 0, 0, 0]), np.array([0.9, 0.5, 0.2, 0.7, 0.5, 0.5, 0.1, 0.0]), 0.5)
    rare = (np.array([0, 0, 0, 1, 0, 0, 0, 0, 1, 0]), np.array([0.3, 0.8, 0.2, 0.6, 0.1, 0.4, 0.7, 0.2, 0.9, 0.1]), 0.6)
    steep = (np.array([1, 0, 1, 1, 0]), np.array([0.4, 0.4, 0.8, 0.1, 0.9]), 0.4)
    cases = {
        "a table where scores equal the threshold": tied,
        "a table where fractures are rare": rare,
        "a table of five images": steep,
    }
    wrongs: list[tuple[Callable[..., Any], str]] = [
        (_greater, "what of a score equal to the threshold? It counts as predicted fractured: 'at least', not 'above'"),
        (
            _of_all,
            "you divide by all images; sensitivity is a share of the fractured ones, specificity of the others",
        ),
        (
            _of_predicted,
            "you divide by what was predicted, and get PPV and NPV; sensitivity asks of those who are fractured how "
            "many were found",
        ),
        (_mixed, "your second number is the precision; specificity is about the images that are not fractured"),
        (lambda *a: _rates(*a)[::-1], "both numbers are there, in the wrong order: sensitivity first"),
        (lambda *a: _rates(*a)[0], "that is the sensitivity; return both, as `return sensitivity, specificity`"),
        (
            lambda *a: tuple(1 - v for v in _rates(*a)),
            "these are the proportions of mistakes, missed fractures and false alarms: take each from 1",
        ),
    ]
    return judge_function(
        function,
        cases,
        _rates,
        "your function counts like the library, ties included. Each rate looks at one class only, which is why neither "
        "moves when fractures become rarer.",
        wrongs,
    )


# 3.2 --------------------------------------------------------------------------------------------------------------


def _best_for_specificity(frame: pd.DataFrame, wanted: float) -> float:
    """The lowest score that, as threshold, keeps the specificity."""
    table = sweep(frame["label"], frame["score"])
    return float(table.loc[table["specificity"] >= wanted - CLOSE, "threshold"].min())


@exercise("3.2")
def threshold_for_few_alarms(
    threshold: object, *, val: pd.DataFrame, test: pd.DataFrame, wanted: float = 0.90
) -> Reply:
    """A threshold on validation with a specificity of at least `wanted` and as many fractures found as can be."""
    y, score = val["label"], val["score"]
    best = _best_for_specificity(val, wanted)
    none_will_do = np.isinf(best) and isinstance(threshold, float) and threshold == best  # the first row of `table`
    value = best if none_will_do else proportion(threshold, "the threshold")
    at, goal = confusion_at(y, score, value), confusion_at(y, score, best)
    same_calls = at.specificity >= wanted - CLOSE and at.tp == goal.tp
    if not same_calls and not near(value, best, TWO_DIGITS):
        _other_threshold(value, val, test, wanted)
    return right(
        f"on validation it finds {goal.sensitivity:.2f} of the fractures. Few false alarms have their price, too: here "
        "it is paid in missed fractures."
    )


def _other_threshold(value: float, val: pd.DataFrame, test: pd.DataFrame, wanted: float) -> NoReturn:
    """Which threshold it is instead, or what is wrong with it."""
    at, found = confusion_at(val["label"], val["score"], value), sweep(val["label"], val["score"])
    sensitive = float(found.loc[found["sensitivity"] >= wanted - CLOSE, "threshold"].max())
    if near(value, _best_for_specificity(test, wanted), TWO_DIGITS):
        not_yet("that is the threshold which the test images would choose; it is chosen, and frozen, on validation")
    if near(value, wanted, 1e-6):
        not_yet(f"{wanted:.2f} is the specificity that you want; the threshold is the score from which on it holds")
    if near(value, sensitive, TWO_DIGITS):
        not_yet(f"that one reaches a *sensitivity* of {wanted:.2f}; look at the images that are not fractured")
    if at.specificity < wanted - CLOSE:
        not_yet(f"too many false alarms: its specificity on validation is {at.specificity:.2f}, so go higher")
    if not at.fp:
        not_yet("no false alarm at all: that gives away fractures that you could keep; you may afford some alarms")
    not_yet("the specificity holds, but a lower threshold keeps it, too, and finds more fractures")


# 3.3 --------------------------------------------------------------------------------------------------------------


@exercise("3.3")
def one_draw(function: object, *, test: pd.DataFrame) -> Reply:
    """A function of groups and a generator that draws patients with replacement, and gives the rows of their images."""
    group = np.array(["cyd", "ann", "bob", "cyd", "eve", "ann", "cyd", "dan"])
    seeds = (0, *range(40))  # the first one twice
    samples = outcomes(function, ((WHERE, group, np.random.default_rng(seed)) for seed in seeds))
    rows = [_as_rows(s, group) for s in samples]
    counts = np.array([np.bincount(r, minlength=len(group)) for r in rows])
    _judge_counts(counts[1:], group)
    if (counts[0] != counts[1]).any():
        not_yet("with the same seed it draws other patients: use the generator that your function is given")
    return right(_meaning(test))


def _as_rows(sample: object, group: NDArray[Any]) -> Rows:
    """Row numbers, or why these are none."""
    try:
        values = np.asarray(sample)
    except ValueError:
        not_yet("your lists of rows have unequal lengths; join them to one")
    if values.dtype.kind == "b":
        not_yet("a mask of True and False takes each image once or not at all, but who is drawn twice counts twice")
    if values.ndim == 1 and values.size and values.dtype.kind in "UO" and set(values.tolist()) <= set(group.tolist()):
        not_yet("you return the patients' names; return the row numbers of their images")
    whole = values.ndim == 1 and values.size and values.dtype.kind in "iuf" and bool((values == np.floor(values)).all())
    if not whole or values.min() < 0 or values.max() >= len(group):
        not_yet(f"row numbers from 0 to {len(group) - 1} are expected, as one array or list")
    return values.astype(np.int64)


def _judge_counts(counts: Rows, group: NDArray[Any]) -> None:
    """Whether these samples, counts of images (samples, images), come from drawing patients with replacement."""
    names, first = np.unique(group, return_index=True)
    if (counts == counts[0]).all():
        if (counts == 1).all():
            not_yet("every draw is the same, everybody once: draw with replacement")
        not_yet("every draw is the same: use the generator that your function is given")
    together = all((counts[:, group == n] == counts[:, [np.flatnonzero(group == n)[0]]]).all() for n in names)
    if not together:
        if (counts.sum(axis=1) == len(group)).all():
            not_yet("you draw images one by one; two views of one wrist are not two witnesses, so draw patients")
        not_yet("who is drawn should come with *all* their images, and some come with a part of them")
    patients = counts[:, first].sum(axis=1)
    if counts.max() == 1:
        not_yet("nobody is ever in a sample twice; with replacement, who is drawn twice brings all images twice")
    if (patients != len(names)).any():
        not_yet(f"draw as many patients as there are: {len(names)}, not {int(patients[patients != len(names)][0])}")
    shares = counts[:, first].mean(axis=0)
    if shares.max() > 2.2 * max(shares.min(), 1e-9):
        not_yet("some patients are drawn far more often than others; each should have the same chance")


def _meaning(test: pd.DataFrame) -> str:
    """What such draws say of the reader's own test images."""
    y, score = test["label"], test["score"]
    drawn, alone = (group_bootstrap(roc_auc, y, score, group, n=2000) for group in (list(test["group"]), None))
    if not drawn.high > drawn.low or not alone.high > alone.low:
        return "whole patients, with replacement. On these test images the AUC has no interval: there are too few."
    wider = (drawn.high - drawn.low) / (alone.high - alone.low)
    words = f"{wider:.2f} times as wide as" if wider > 1.02 else "hardly wider than"
    little = "Little here; other intervals, as lesson 01's, grow by more. " if wider < 1.2 else ""
    return (
        f"with such draws the test AUC runs from {drawn.low:.2f} to {drawn.high:.2f}, {words} if each image stood for "
        f"itself. {little}You cannot know beforehand by how much, so always draw patients."
    )


# 3.4 --------------------------------------------------------------------------------------------------------------


@exercise("3.4")
def predictive_value(ppv: object, *, sensitivity: float, specificity: float, prevalence: float) -> Reply:
    """The positive predictive value at another prevalence."""
    value = proportion(ppv, "the PPV")
    truth, npv = (float(v) for v in predictive_values(sensitivity, specificity, prevalence))
    flagged = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
    wrongs = [
        (prevalence, "that is the prevalence, before anybody was asked; three digits show what the call adds to it"),
        (sensitivity, "that is the sensitivity: of the fractured, how many are found; now start from those predicted"),
        (specificity, "that is the specificity; PPV starts from the images that are predicted fractured"),
        (npv, "that is the NPV, about calls of 'not fractured'"),
        (0.62, "that is the precision that was claimed, at the prevalence of that project; here fractures are rarer"),
        (sensitivity * prevalence, "so many of all are found; divide by all that are predicted fractured"),
        (flagged, "so many of all are predicted fractured; how many of *them* are?"),
        (1 - truth, "that is the share of alarms that are false; the PPV is the rest"),
        (
            sensitivity * prevalence / (sensitivity * prevalence + specificity * (1 - prevalence)),
            "the false alarms are 1 - specificity of those who are not fractured",
        ),
    ]
    return judge_number(
        value,
        truth,
        f"about {round(1 / truth) - 1} false alarms for each fracture that is found. Nothing about the classifier has "
        "changed; only the patients have.",
        wrongs,
        tolerance=0.0006,
        otherwise="imagine 1,000 patients: how many are fractured, how many of them are found, how many of the others "
        "are predicted fractured all the same?",
    )
