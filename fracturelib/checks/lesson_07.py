"""Exercises of lesson 07: the focal loss, what learns, a choice made on test, and what class weights are worth."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fracturelib.checks.answers import Reply, choice, exercise, judge_number, near, not_yet, number, right, sides
from fracturelib.metrics import choose_threshold, confusion_at, paired_group_bootstrap, roc_auc

Scores = NDArray[np.float64]
Labels = NDArray[np.int64]
SAID, BROKEN, SOUND = 0.9, 0.75, 0.25  # what the network says of the place, and the two weights of the focal loss


# 7.1 --------------------------------------------------------------------------------------------------------------


def _focal(p: float, alpha: float, *, of: float | None = None) -> float:
    """The focal loss where the truth was given p; `of` is what is squared if it is not what is missing."""
    return -alpha * (1 - p if of is None else of) ** 2 * math.log(p)


def _usual_losses() -> list[tuple[tuple[float, float], str]]:
    """Pairs that readers hand in, and what to say to each."""
    p, q = SAID, 1 - SAID
    plain = -math.log(p), -math.log(q)
    true = _focal(p, BROKEN), _focal(q, SOUND)
    return [
        (true[::-1], "both numbers are there, in the wrong order: first the place with a fracture, then without"),
        (
            (_focal(p, 1), _focal(q, 1)),
            "the square is right, but the weight alpha is missing, which is not the same for the two stories",
        ),
        (
            (_focal(p, BROKEN, of=p), _focal(q, SOUND, of=q)),
            "you squared what the truth was given; the focal loss squares what is missing to certainty",
        ),
        (
            (_focal(p, BROKEN), _focal(q, BROKEN)),
            "the first is right; the second has the weight of a place with a fracture, and there is none",
        ),
        ((_focal(p, SOUND), _focal(q, BROKEN)), "the two weights have changed places; a fracture counts the more"),
        (
            (BROKEN * plain[0], SOUND * plain[1]),
            "that is the weighted cross-entropy; the square, which quietens what is easy, is still to come",
        ),
        (plain, "that is the cross-entropy; the focal loss multiplies it by a weight and by a square"),
        (
            (true[0], _focal(p, SOUND)),
            "in the second story the truth is 'no fracture', and the network gave that much less than 0.9",
        ),
        ((true[0] / math.log(10), true[1] / math.log(10)), "the logarithm is the natural one, `math.log`, not log10"),
    ]


@exercise("7.1")
def focal_losses(fractured: object, sound: object) -> Reply:
    """The focal loss of a place that was called a fracture with 0.9, if it is one and if it is none."""
    given = number(fractured, "the first loss"), number(sound, "the second loss")
    true = _focal(SAID, BROKEN), _focal(1 - SAID, SOUND)

    def are(pair: tuple[float, float]) -> bool:
        return all(near(a, b, max(0.02 * abs(b), 1e-6)) for a, b in zip(given, pair, strict=True))

    if are(true):
        return right(
            f"being wrong costs {true[1] / true[0]:.0f} times as much as being right; in plain cross-entropy it is "
            f"{math.log(1 - SAID) / math.log(SAID):.0f} times. The many easy places fall silent, and the few hard ones "
            "are heard."
        )
    if min(given) < 0:
        not_yet("a loss is never negative: the logarithm of a probability is, so a minus sign stands before it")
    for pair, words in _usual_losses():
        if are(pair):
            not_yet(words)
    if near(given[0], true[0], 6e-4) and near(given[1], true[1], 0.02):
        not_yet("the first loss is small: give four digits after the point, or what you hand in is mostly rounding")
    first = near(given[0], true[0], 0.02 * true[0])
    which = "first is right, the second is not" if first else "first is not right"
    return not_yet(
        f"the {which}: alpha, times the square of what is missing to certainty, times minus the logarithm of what the "
        "truth was given"
    )


# 7.2 --------------------------------------------------------------------------------------------------------------


def _learning(network: Any) -> int:  # a torch module
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _about(value: float, truth: float) -> bool:
    return near(value, truth, max(0.4, 0.004 * truth))


@exercise("7.2")
def numbers_that_learn(heads: object, last: object, *, networks: Mapping[str, Any]) -> Reply:
    """How many numbers learn with frozen features, and with the last stage free as well."""
    given = number(heads, "the number for the heads"), number(last, "the number for the last stage")
    true = tuple(_learning(networks[tune]) for tune in ("heads", "last"))
    tensors = tuple(len([p for p in networks[tune].parameters() if p.requires_grad]) for tune in ("heads", "last"))
    everything = sum(p.numel() for p in networks["last"].parameters())

    def are(*pair: float) -> bool:
        return all(_about(a, b) for a, b in zip(given, pair, strict=True))

    if are(*true):
        return right(
            f"with the last stage {true[1] / true[0]:,.0f} times as many, {true[1] / everything:.0%} of all numbers in "
            "the network, and not one image more to learn from. What can learn can also learn by heart."
        )
    if are(everything, everything) or are(everything, true[1]) or are(true[0], everything):
        not_yet("that counts the numbers which are frozen, too: `requires_grad` says of each tensor whether it learns")
    if are(*true[::-1]):
        not_yet("these two are in the wrong order: the heads alone first")
    if are(*tensors):
        not_yet("these are tensors; each holds many numbers, and `numel()` says how many")
    if are(true[0], true[1] - true[0]):
        not_yet("with the last stage free the heads go on learning, and count as well")
    if any(are(true[0] / unit, true[1] / unit) for unit in (1e3, 1e6)):
        not_yet("hand in plain numbers, not thousands or millions")
    if _about(given[0], true[0]):
        not_yet("the heads are right; count the second network in the same way")
    return not_yet("go through `parameters()` of each network, and add up `numel()` of those that learn")


# 7.3 --------------------------------------------------------------------------------------------------------------


@exercise("7.3")
def flattery(
    answer: object, *, val: tuple[Labels, Mapping[float, Scores]], test: tuple[Labels, Mapping[float, Scores]]
) -> Reply:
    """AUC on test of the C that test would choose, minus that of the C that validation chose."""
    value = number(answer, "the flattery")
    on_val = {c: roc_auc(val[0], score) for c, score in val[1].items()}
    on_test = {c: roc_auc(test[0], score) for c, score in test[1].items()}
    chosen, wished = max(on_val, key=lambda c: on_val[c]), max(on_test, key=lambda c: on_test[c])
    truth = on_test[wished] - on_test[chosen]
    few = f"with {len(on_test)} candidates"
    meaning = (
        f"{few} the test images choose as validation did: no flattery this time. You could not know that before you "
        "looked, and with every further candidate there is more to gain by looking."
        if truth == 0
        else f"{few} it is {truth:.3f}, in favour of whoever looked. It grows with every further candidate that is "
        "tried, and no interval tells the reader of it."
    )
    wrongs = [
        (-truth, "negative? What is best on test cannot lose on test: best first, then the one that validation chose"),
        (
            on_val[wished] - on_val[chosen],
            "both of these are AUCs on validation; the flattery is what the *test* figure gains",
        ),
        (
            on_test[wished] - on_val[chosen],
            "that compares two sets of images; compare two choices of C on the same ones, those of test",
        ),
        (on_val[chosen] - on_test[chosen], "that is how much validation flattered; here test is to be flattered"),
        (on_test[wished], "that is the AUC of the best one; how much more is it than that of the honest choice?"),
        (max(on_test.values()) - min(on_test.values()), "that is best minus worst; the honest choice is seldom worst"),
    ]
    otherwise = "two AUCs on test: that of the C which is best there, minus that of the C which validation chose"
    return judge_number(value, truth, meaning, wrongs, tolerance=0.0006, otherwise=otherwise)


# 7.4 --------------------------------------------------------------------------------------------------------------


def _balanced(y: Labels, score: Scores, threshold: float) -> float:
    return confusion_at(y, score, threshold).balanced_accuracy


def _gain(y: Labels, scores: Mapping[str, Scores], thresholds: Mapping[str, float]) -> float:
    weighted, plain = (_balanced(y, scores[k], thresholds[k]) for k in ("weights", "plain"))
    return weighted - plain


def _verdicts(y: Labels, group: Any, scores: Mapping[str, Scores], thresholds: Mapping[str, float]) -> set[str]:
    """What the paired interval by patients says of the gain; on the edge, either of two."""
    weighted, plain = ((scores[k] >= thresholds[k]).astype(float) for k in ("weights", "plain"))
    found = paired_group_bootstrap(lambda t, s: _balanced(t, s, 0.5), y, weighted, plain, group, n=500)
    names = {"above": "better", "below": "worse", "across": "not shown"}
    return {names[side] for side in sides(found.low, found.high)}


@exercise("7.4")
def weights_or_a_threshold(
    at_half: object, at_chosen: object, verdict: object, *, folds: tuple[Labels, Mapping[str, Scores]],
    val: Any, scores: Mapping[str, Scores],
) -> Reply:  # fmt: skip
    """Gain in balanced accuracy by class weights: at 0.5, at thresholds chosen out of fold, and what was shown."""
    half, chosen = number(at_half, "the gain at 0.5"), number(at_chosen, "the gain at the chosen thresholds")
    y, names = val.labels, ("weights", "plain")
    at = {k: choose_threshold(folds[0], folds[1][k], "youden").threshold for k in names}
    peeped = _gain(y, scores, {k: choose_threshold(y, scores[k], "youden").threshold for k in names})
    true = _gain(y, scores, dict.fromkeys(names, 0.5)), _gain(y, scores, at)
    areas = roc_auc(y, scores["weights"]) - roc_auc(y, scores["plain"])
    if max(abs(half), abs(chosen)) > 1:
        not_yet("a gain in balanced accuracy lies between -1 and 1; write 10 points as 0.1")
    turned = "weights minus plain, not plain minus weights"
    of_one = _gain(y, scores, dict.fromkeys(names, at["plain"]))
    first = (
        (-true[0], turned),
        (areas, "that is a difference of AUCs, which know no threshold; average sensitivity and specificity"),
    )
    second = (
        (true[0], "two thresholds, not two models: 0.5 suits one of them only, so give each a threshold of its own"),
        (-true[1], turned),
        (peeped, "these thresholds were chosen on the very images that judge them; take the scores out of fold"),
        (of_one, "you gave both the threshold of the plain model; each model's scores need one of their own"),
    )
    rates = "mean of sensitivity and specificity on validation, with minus without"
    judge_number(half, true[0], "", first, otherwise=f"the gain at 0.5 is not right: {rates}")
    own = "each its own threshold, chosen on its scores out of fold"
    judge_number(chosen, true[1], "", second, otherwise=f"the gain at 0.5 is right, the other is not: {own}")
    wrongs = {
        "better": "the interval of the gain at the chosen thresholds, by patients, does not lie above 0",
        "worse": "the interval of the gain at the chosen thresholds, by patients, does not lie below 0",
        "not shown": "the interval of the gain, by patients, leaves 0 out: something was shown",
    }
    shown = choice(verdict, _verdicts(y, list(val.frame["group"]), scores, at), wrongs)
    moral = (
        "Weights move the scores; a threshold does as much, and leaves their meaning alone."
        if shown == "not shown"
        else "One draw of rare fractures, though: draw others before you build on it."
    )
    return right(
        f"at 0.5 the weights seem to gain {true[0]:+.2f}; once each model has a threshold of its own, it is "
        f"{true[1]:+.2f} ({shown}), and the AUCs are {areas:+.2f} apart. {moral}"
    )
