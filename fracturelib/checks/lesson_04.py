"""Exercises of lesson 04: a suspicion and what may be said of it, a calibrated twin, a temperature, net benefit."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from fracturelib.checks.answers import (
    Reply,
    choice,
    exercise,
    judge_choice,
    judge_function,
    judge_number,
    near,
    not_yet,
    number,
    outcomes,
    proportion,
    right,
    sides,
)
from fracturelib.metrics import calibration_error, group_bootstrap, net_benefit, roc_auc

Numbers = NDArray[np.float64]
DRAWS = 400


# 4.1 --------------------------------------------------------------------------------------------------------------


def _auc(frame: pd.DataFrame) -> float:
    both = frame["label"].nunique() == 2
    return float(roc_auc(frame["label"].to_numpy(), frame["score"].to_numpy())) if both else float("nan")


def _may_be_said(val: pd.DataFrame, inside: "pd.Series[bool]") -> tuple[dict[str, str], str]:
    """The sentences that validation allows, and what they mean (on the edge, two); and what it shows, in words."""
    part, elsewhere = val[inside], _auc(val[~inside])
    found = group_bootstrap(roc_auc, part["label"], part["score"], list(part["group"]), n=500)
    where = sides(found.low, found.high, elsewhere)
    confirmed = (
        "a suspicion from one set of patients, and others who were not asked before agree: that may be said, with its "
        "numbers, and it is a reason to collect more such patients, not the end of the matter."
    )
    not_so = "a suspicion that other patients do not confirm stays one: say that you looked, and at how many parts."
    seen = (
        f"the AUC of these parts runs from {found.low:.2f} to {found.high:.2f}, that of all others is {elsewhere:.2f}"
    )
    return ({"b": confirmed} if "below" in where else {}) | ({"c": not_so} if where != {"below"} else {}), seen


@exercise("4.1")
def whom_it_fails(
    on_val: object,
    on_test: object,
    sentence: object,
    *,
    val: pd.DataFrame,
    test: pd.DataFrame,
    column: str | None,
    suspects: Sequence[str],
) -> Reply:
    """AUC of the suspected parts on validation and on test, and the sentence that these allow."""
    if column is None or not len(suspects):
        not_yet("these images do not say enough for this exercise: it needs parts with images of both classes")
    inside = {name: frame[column].isin(list(suspects)) for name, frame in (("validation", val), ("test", test))}
    frames = {"validation": val, "test": test}
    truth = {name: _auc(frame[inside[name]]) for name, frame in frames.items()}
    if any(np.isnan(value) for value in truth.values()):
        not_yet("these parts lack a class on validation or on test, so that no AUC of them exists: take the demo set")
    said = {"validation": proportion(on_val, "the AUC on validation"), "test": proportion(on_test, "the AUC on test")}
    swapped = near(said["validation"], truth["test"]) and near(said["test"], truth["validation"])
    if swapped and not near(said["test"], truth["test"]):
        not_yet("both numbers are right, in the wrong order: validation first, then test")
    for name, frame in frames.items():
        _judge_auc(said[name], truth[name], frame, inside[name], column, name)
    return _judge_sentence(sentence, *_may_be_said(val, inside["validation"]))


def _judge_auc(
    value: float, truth: float, frame: pd.DataFrame, inside: "pd.Series[bool]", column: str, name: str
) -> None:
    """Nothing if the AUC is right, else which number it is instead."""
    part = frame[inside]
    wrongs = [
        (_auc(frame[~inside]), f"that is the AUC on {name} of all *other* images; turn the selection round"),
        (_auc(frame), f"that is the AUC of all images of {name}; take only those of the suspected parts"),
        (1 - truth, f"the AUC on {name} is turned over: one minus it; are labels and scores in the right order?"),
        (
            float(((part["score"] >= 0.5) == (part["label"] == 1)).mean()),
            f"on {name} that is a proportion of right calls at a threshold of 0.5; an AUC needs no threshold",
        ),
        (
            float(np.mean([_auc(rows) for _, rows in part.groupby(column, observed=True)])),
            f"on {name} that is the mean of the parts' own AUCs; take one AUC from the images of all of them together",
        ),
    ]
    otherwise = f"on {name} it is another number: one AUC from the images of all suspected parts together"
    judge_number(value, truth, "", wrongs, otherwise=otherwise)


def _judge_sentence(sentence: object, may_be_said: Mapping[str, str], seen: str) -> Reply:
    luck = f"many parts were looked at, but on validation, which had no part in it, {seen}. Does it not say it, too?"
    hasty = (
        "you looked at many parts and picked the lowest, which makes a suspicion; on validation, which was not asked "
        f"before, {seen}. Does the interval really lie below that?"
    )
    words = {
        "a": "'proved' is too much: few patients, and parts that were picked because they were low",
        "b": hasty,
        "c": luck,
        "d": "one AUC for everybody hides those for whom it is not true; you have just seen two such parts",
    }
    return right(may_be_said[choice(sentence, may_be_said, words)])


# 4.2 --------------------------------------------------------------------------------------------------------------


@exercise("4.2")
def calibrated_twin(function: object, *, test: pd.DataFrame) -> Reply:
    """A function of scores and a generator that draws the labels of a perfectly calibrated classifier."""
    score = np.r_[np.linspace(0.03, 0.6, 45), np.linspace(0.7, 0.97, 15)]
    seeds = (0, *range(DRAWS))  # the first one twice
    drawn = outcomes(function, ((f"on {len(score)} scores", score, np.random.default_rng(seed)) for seed in seeds))
    labels = np.array([_as_labels(d, len(score)) for d in drawn])
    _judge_draws(labels[1:], score)
    if (labels[0] != labels[1]).any():
        not_yet("with the same seed it draws other labels: use the generator that your function is given")
    scores, rng = test["score"].to_numpy(), np.random.default_rng(0)
    errors = [calibration_error((rng.random(len(scores)) < scores).astype(int), scores) for _ in range(200)]
    low, high = np.quantile(errors, [0.025, 0.975])
    return right(
        f"such twins of these {len(scores)} test images, each perfectly calibrated, show an error of {low:.2f} "
        f"to {high:.2f}. An error inside of that range is no evidence of a fault, nor a fall inside of it of a repair."
    )


def _as_labels(drawn: object, length: int) -> NDArray[np.int64]:
    try:
        values = np.asarray(drawn, dtype=float)
    except (TypeError, ValueError):
        not_yet("labels are expected, an array of 0 and 1, one for each score")
    if values.shape != (length,):
        not_yet(f"one label for each score is expected: {length} of them; yours has the shape {values.shape}")
    if not np.isin(values, (0, 1)).all():
        not_yet("labels are 0 or 1 (or True and False): whether an image is fractured, not how likely it is")
    return values.astype(np.int64)


def _judge_draws(labels: NDArray[np.int64], score: Numbers) -> None:
    """Whether these draws (draws, images) are independent and as likely as the scores say."""
    share = labels.mean(axis=0)
    if (labels == labels[0]).all():
        if np.array_equal(labels[0], score >= 0.5):
            not_yet("0.8 becomes a fracture every time: that is a decision; of ten such images, eight should be broken")
        not_yet("every draw is the same: use the generator that your function is given")
    if labels.sum(axis=1).var() > 4 * (score * (1 - score)).sum():
        not_yet("one random number decides for all images at once; draw one for each, with `size`")
    if ((share - score) ** 2 / (score * (1 - score))).mean() > 2 / len(labels):  # chance makes that 1 / draws
        if np.abs(share - (1 - score)).mean() < 0.05:
            not_yet("upside down: where the score is high, your twin is seldom fractured")
        if np.abs(share - score.mean()).mean() < 0.05:
            not_yet("each image has the same chance, the mean of all scores; it should have its own")
        if np.abs(share - 0.5).mean() < 0.05:
            not_yet("that is a coin for each image; let it fall as often as the score says")
        not_yet("the proportion that is fractured is not the score: over many draws, 0.3 should be broken in 3 of 10")


# 4.3 --------------------------------------------------------------------------------------------------------------


def _softened(score: Numbers, temperature: float) -> Numbers:
    return np.asarray(expit(logit(score) / temperature))


@exercise("4.3")
def temperature_and_ranks(function: object, changes: object) -> Reply:
    """Scores after their logits were divided by a temperature, and what this changes."""
    cases: dict[str, tuple[Any, ...]] = {
        "a temperature of two": (np.array([0.02, 0.3, 0.5, 0.71, 0.96]), 2.0),
        "a temperature below one": (np.array([0.1, 0.45, 0.8]), 0.5),
        "a temperature of one": (np.array([0.25, 0.9]), 1.0),
    }
    wrongs: list[tuple[Callable[..., Any], str]] = [
        (lambda s, t: s / t, "you divided the probabilities; go to the logit first, divide there, and come back"),
        (lambda s, t: expit(logit(s) * t), "you multiplied; a temperature above 1 is to bring scores closer to a half"),
        (lambda s, t: logit(s) / t, "these are the logits, divided rightly; now back to probabilities"),
        (lambda s, t: s ** (1 / t), "you divided the logarithm of p; the logit is log(p / (1 - p))"),
        (
            lambda s, t: (s / (1 - s)) / t / (1 + (s / (1 - s)) / t),
            "you divided the odds, which shifts each logit; divide their logarithm",
        ),
        (lambda s, t: expit(s / t), "you took the probability for a logit; begin with log(p / (1 - p))"),
    ]
    judge_function(function, cases, _softened, "", wrongs)
    return judge_choice(
        changes,
        "calibration",
        "who was ahead of whom stays so, and with it the AUC; what a score *means* has moved. A frozen threshold means "
        "other images after that, unless it is moved through the same function.",
        {
            "ranks": "is a larger logit ever smaller than another after both were divided by the same positive number?",
            "both": "the scores move, but does any image overtake another?",
            "nothing": "the order stays, but is 0.96 still 0.96? Try your function on it",
        },
    )


# 4.4 --------------------------------------------------------------------------------------------------------------


@exercise("4.4")
def net_benefit_by_hand(benefit: object, advice: object, *, test: pd.DataFrame, risk: float) -> Reply:
    """The net benefit at a risk, and whether the classifier beats treating all alike."""
    value = number(benefit, "the net benefit")
    y, score = test["label"].to_numpy() == 1, test["score"].to_numpy()
    table = net_benefit(test["label"], score, [risk], group=list(test["group"]), n=500).iloc[0]
    truth, called = float(table["model"]), score >= risk
    hits, alarms = float((called & y).mean()), float((called & ~y).mean())
    weight = risk / (1 - risk)
    wrongs = [
        (hits - alarms / weight, "a false alarm costs t / (1 - t) of a find; you took the fraction upside down"),
        (hits - alarms, "you let a false alarm cost as much as a find gains; at this risk it costs t / (1 - t)"),
        (hits - alarms * risk, "nearly: the exchange rate is t / (1 - t), odds, and you took t itself"),
        (
            hits / y.mean() - weight * alarms / (~y).mean(),
            "these are rates within each class; net benefit counts finds and alarms as shares of all images",
        ),
        (truth * len(y), "those are counts; divide by the number of images"),
        (float(table["all"]), "that is the net benefit of treating everybody, the rival"),
        (hits, "those are the finds alone; take off what the false alarms cost"),
        (float(y.mean()), "that is the prevalence"),
    ]
    otherwise = "that is another number: finds less alarms times t / (1 - t), both as shares of all images"
    judge_number(value, truth, "", wrongs, otherwise=otherwise)
    return _judge_advice(advice, float(table["gain_low"]), float(table["gain_high"]), risk)


def _judge_advice(advice: object, low: float, high: float, risk: float) -> Reply:
    where = sides(low, high)
    names = {"above": "classifier", "below": "treat alike", "across": "cannot tell"}
    wrongs = {
        "classifier": "the interval of the gain over the better rival is not above 0: the numbers do not show it",
        "treat alike": "the interval of the gain is not below 0: that the classifier does harm is not shown either",
        "cannot tell": "the interval of the gain leaves out 0, so that you can tell; look at its sign",
    }
    words = {
        "classifier": "its gain is above 0 in all of its interval",
        "treat alike": "its gain is below 0 in all of its interval: here, acting on it does harm",
        "cannot tell": "the interval of its gain holds 0, and these patients cannot say whether a score helps whoever "
        "treats nearly everybody anyway",
    }
    said = choice(advice, {names[side] for side in where}, wrongs)
    return right(f"at a risk of {risk:g}: {words[said]}.")
