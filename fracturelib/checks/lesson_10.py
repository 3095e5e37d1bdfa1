"""Exercises of lesson 10: a quota, another prevalence, a flattering judge, faults and repairs, the size of a study."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracturelib.checks.answers import (
    TWO_DIGITS,
    Reply,
    exercise,
    judge_choice,
    judge_number,
    near,
    not_yet,
    number,
    proportion,
    right,
)
from fracturelib.metrics import choose_threshold, confusion_at, prior_shift
from fracturelib.shift import Predictions

Scores = NDArray[np.float64]
RARE = 0.05  # prevalence of the third hospital
DRAWS = 50
FRACTURES, PREVALENCE, IMAGES_A_PATIENT, ALIKE = 37, 0.2, 2, 0.5  # of the study: for 0.9 to within 0.1 by Wilson


# 10.1 ---------------------------------------------------------------------------------------------------------------


@exercise("10.1")
def quota(threshold: object, why: object, *, home: ArrayLike, there: ArrayLike, frozen: float) -> Reply:
    """The threshold that predicts as large a proportion positive there as at home, and why that is wrong."""
    value, scores, at_home = number(threshold, "the threshold"), np.asarray(there, float), np.asarray(home, float)
    wanted = float((at_home >= frozen).mean())
    possible = float(np.abs([(scores >= t).mean() - wanted for t in [*np.unique(scores), np.inf]]).min())
    allowed = possible + 1.5 / len(scores) + 0.003
    rounded = 0.0 if (scores == value).any() else TWO_DIGITS  # a score itself was not rounded
    least, most = ((scores >= value + step).mean() for step in (rounded, -rounded))
    if not least - allowed <= wanted <= most + allowed:
        if 1 < value <= 100:
            not_yet("the threshold is above 1, where no score lies; it is a score, from 0 to 1, and no percentage")
        if not 0 <= value <= 1:
            not_yet("the threshold lies outside 0 to 1, where scores lie")
        if near(value, frozen, 1e-3):
            not_yet("that is the frozen threshold; which score do as many images there reach as reach it at home?")
        if abs(float((scores < value).mean()) - wanted) <= allowed:
            not_yet("so many images there lie below your threshold; so many are to lie at it or above")
        if near(value, wanted, 0.004):
            not_yet("that is the proportion itself; the threshold is the score that such a proportion there reaches")
        if abs(float((at_home >= value).mean()) - wanted) <= allowed:
            not_yet("that is a quantile of home's scores; take one of the scores there")
        not_yet("another proportion of the images there reaches that threshold; np.quantile finds the one")
    return judge_choice(
        why,
        "A",
        "the quota holds whatever the prevalence is. Where fractures are half as common, a perfect order of the images "
        "changes nothing: the calls that fractures do not use up go to patients without one",
        {
            "B": "a quota looks at the order of scores only, so it does not matter what a score means; and a perfect "
            "classifier has nothing to calibrate. What does the quota take to be the same in both hospitals?",
            "C": "suppose that the classifier orders the images perfectly, so AUC is 1 in both hospitals. The quota is "
            "wrong all the same: count the fractures that there are to be called",
        },
    )


# 10.2 ---------------------------------------------------------------------------------------------------------------


@exercise("10.2")
def rarer(answer: object, *, prior: float) -> Reply:
    """What a score of one half becomes where one image in twenty is fractured."""
    truth = float(prior_shift([0.5], before=prior, after=RARE)[0])
    return judge_number(
        proportion(answer, "the score"),
        truth,
        "the odds scale with the odds of a fracture, and the score follows. The order of images stays, so AUC stays; "
        "what no longer fits is every sentence that reads the score as a probability, and each threshold on it",
        (
            (0.5 * RARE / prior, "you scaled the probability; odds scale, probabilities do not: turn 0.5 into odds"),
            (1 - truth, "the odds moved the wrong way: where fractures are rarer, a score has to fall"),
            (RARE, "that is the prevalence; this image looks more suspicious than the average image"),
            (0.5, "the network says 0.5 there, too, because it does not know the prevalence; what should it say?"),
            (truth / (1 - truth), "those are the odds; turn them back into a probability, odds / (1 + odds)"),
            (
                0.5 * RARE / (0.5 * RARE + 0.5 * (1 - RARE)) if not near(prior, 0.5) else -1,
                "the odds at home are missing: the score was fitted at home's prevalence, which is not one half",
            ),
        ),
        tolerance=TWO_DIGITS,
        otherwise="turn the score into odds; multiply by the odds of a fracture there, divide by those at home",
    )


# 10.3 ---------------------------------------------------------------------------------------------------------------


def _flattery(y: NDArray[np.int64], score: Scores, group: ArrayLike, ask: int, target: float) -> Scores:
    """Sensitivity on the labelled images, on the others and on all, for each draw: (k, 3)."""
    rows, there = [], Predictions(y, score, np.asarray(group, object))
    for seed in range(DRAWS):
        his, others = there.split(ask, seed=seed)
        if y[his].any() and y[others].any():
            t = choose_threshold(y[his], score[his], f"sensitivity={target}").threshold
            parts = (his, others, np.arange(len(y)))
            rows.append([confusion_at(y[k], score[k], t).sensitivity for k in parts])
    return np.array(rows).reshape(-1, 3)


@exercise("10.3")
def flattery(
    mean: object, spread: object, *, y: ArrayLike, score: ArrayLike, group: ArrayLike, ask: int, target: float
) -> Reply:
    """How much a judge flatters himself who judges on the images that he chose on: mean and spread over draws."""
    rates = _flattery(np.asarray(y, np.int64), np.asarray(score, float), group, ask, target)
    if not len(rates):
        not_yet("no draw has a fracture on both sides: these images cannot answer. Go on")
    gaps = rates[:, 0] - rates[:, 1]
    truth, deviation = float(gaps.mean()), float(gaps.std())
    value = number(mean, "the mean")
    wrongs = (
        (-truth, "the sign is turned: his own sensitivity less that on the others"),
        (float((rates[:, 0] - rates[:, 2]).mean()), "his own images are among those you compare with: take others"),
        (float(rates[:, 0].mean()), "that is what he reports; subtract the sensitivity on the other images"),
        (float(rates[:, 1].mean()), "that is the sensitivity on the others; subtract it from what he reports"),
        (100 * truth, "a difference of proportions, please, not per cent: write 5 points as 0.05"),
        (float(gaps[0]), "that is the first draw alone, and one draw is luck: take the mean over all of them"),
        (float(gaps[1 % len(gaps)]), "that is a single draw, and one draw is luck: take the mean over all of them"),
        (float(np.abs(gaps).mean()), "without abs(...): in some draws he is unlucky, and those count, too"),
    )
    judge_number(value, truth, "", wrongs, otherwise="the mean: in each draw a new threshold on his images, "
                        "then his sensitivity less that on the others")  # fmt: skip
    return judge_number(
        number(spread, "the spread"),
        deviation,
        "on average he flatters himself, because the threshold was fitted to the very fractures that it is judged by. "
        "In one draw it may look like nothing, or like much more: the spread says how little a single one tells",
        (
            (deviation / np.sqrt(len(gaps)), "that is how well you know the mean; how much do the draws differ?"),
            (deviation**2, "that is the variance; its root is the standard deviation"),
            (float(np.ptp(gaps)), "that is from the smallest to the largest; take the standard deviation"),
            (float(rates[:, 1].std()), "that is the spread of the others' sensitivity; take that of the difference"),
            (100 * deviation, "the spread is in proportions, as the mean is, not in per cent"),
        ),
        tolerance=max(0.006, 0.02 * deviation),
        otherwise="the spread: the standard deviation of the differences over the draws",
    )


# 10.4 ---------------------------------------------------------------------------------------------------------------

LEAST = ("c", "a", "d", "b")  # the least repair for each fault
WRONG_REPAIR = (
    "the first: nothing in an inverted image is lost, so what is the least that brings it back?",
    "the second: images look as they did and are only mixed otherwise. What of a score depends on the mix?",
    "the third: what compression threw away cannot be computed back, and no threshold knows it. What is left?",
    "the fourth: no image and no score knows what people call a fracture. Who does?",
)


@exercise("10.4")
def repairs(answer: object) -> Reply:
    """The least repair for each of four faults, as four letters."""
    said = list(answer) if isinstance(answer, Iterable) and not isinstance(answer, set) else []
    letters = [letter for s in said if (letter := str(s).strip(" ,;()\n").casefold())]
    if len(letters) != len(LEAST) or not set(letters) <= set(LEAST):
        not_yet(f"expected {len(LEAST)} of the letters a to d, one for each fault, such as ['a', 'a', 'b', 'c']")
    for letter, expected, words in zip(letters, LEAST, WRONG_REPAIR, strict=True):
        if letter != expected:
            not_yet(words)
    return right(
        "undo what lost nothing; move scores where only the mix changed; train, and judge anew, where something is "
        "lost; and where words differ, talk and label. A cheap repair for a costly fault is no repair"
    )


# 10.5 ---------------------------------------------------------------------------------------------------------------


@exercise("10.5")
def study(answer: object) -> Reply:
    """How many images must be labelled to know a sensitivity of 0.9 within 0.1, with two alike images a patient."""
    effect = 1 + (IMAGES_A_PATIENT - 1) * ALIKE
    truth = FRACTURES * effect / PREVALENCE
    value = number(answer, "the number of images")
    wrongs = (
        (FRACTURES, "that is how many fractures; most images there show none, so it takes more: divide by prevalence"),
        (FRACTURES / PREVALENCE, "as if each image were of another patient: two images of a patient are fewer than two "
         "witnesses"),
        (FRACTURES * effect, "those are fractures, with two images a patient allowed for; how many images hold them?"),
        (truth / IMAGES_A_PATIENT, "that is how many patients; how many images are to be labelled?"),
        (FRACTURES / (1 - PREVALENCE), "divide by the proportion that is fractured, not by the one that is not"),
        (FRACTURES * effect / (1 - PREVALENCE), "the proportion that is fractured goes below the line, not the other"),
        (FRACTURES * PREVALENCE, "you multiplied by the prevalence: fractures = images x prevalence, so images = ?"),
        (FRACTURES * IMAGES_A_PATIENT / PREVALENCE, "as if the second image of a patient told nothing; it tells "
         "something, since the two agree by half only"),
        (FRACTURES / effect / PREVALENCE, "images that are alike make the study larger, not smaller"),
    )  # fmt: skip
    return judge_number(
        value,
        truth,
        "and this is for the sensitivity only, to within a tenth. Half the width takes four times as many. Patients "
        "who lend images to the repair come on top, since none may serve for both",
        wrongs,
        tolerance=3.5,
        otherwise="three steps: fractures; more of them, since images of a patient are alike; images that hold them",
    )
