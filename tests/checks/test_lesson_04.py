"""The exercises of lesson 04."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from fracturelib.checks import check
from fracturelib.metrics import roc_auc
from tests.checks.conftest import Case, judged
from tests.conftest import ROOT

TABLE = pd.read_csv(ROOT / "data" / "checkpoints" / "demo-small-cnn-predictions.csv")
VAL = TABLE[TABLE["split"] == "val"].reset_index(drop=True)
TEST = TABLE[TABLE["split"] == "test"].reset_index(drop=True)
SUSPECTS = ["foot", "hand"]


def auc(frame):
    return roc_auc(frame["label"], frame["score"])


def within(frame, names=SUSPECTS):
    return frame[frame["region"].isin(names)]


ON_VAL, ON_TEST = auc(within(VAL)), auc(within(TEST))
OTHERS = auc(VAL[~VAL["region"].isin(SUSPECTS)])
CALLS = ((within(TEST)["score"] >= 0.5) == (within(TEST)["label"] == 1)).mean()
Y, SCORED = TEST["label"].to_numpy() == 1, TEST["score"].to_numpy()


def twin(score, rng):
    return (rng.random(len(score)) < score).astype(int)


def twin_in_a_list(score, rng):
    return [bool(rng.binomial(1, s)) for s in score]


def softened(score, temperature):
    odds = (score / (1 - score)) ** (1 / temperature)
    return odds / (1 + odds)


def hits_and_alarms(risk):
    called = np.asarray(SCORED) >= risk
    return (called & Y).mean(), (called & ~Y).mean()


HITS, ALARMS = hits_and_alarms(0.1)
AT_FIFTH = hits_and_alarms(0.2)[0] - hits_and_alarms(0.2)[1] / 4
BENEFIT = HITS - ALARMS / 9


CASES = [
    Case(
        "4.1",
        right=[
            (ON_VAL, ON_TEST, "b"),
            (round(ON_VAL, 2), round(ON_TEST, 2), " B "),
            (np.float64(ON_VAL), ON_TEST, "b"),
        ],
        wrong=[
            ((ON_VAL, ON_TEST, "a"), "too much"),
            ((ON_VAL, ON_TEST, "c"), "Does it not say it, too?"),
            ((ON_VAL, ON_TEST, "d"), "hides those"),
            ((ON_VAL, ON_TEST, "e"), "choose one of"),
            ((OTHERS, ON_TEST, "b"), "all *other* images"),
            ((auc(VAL), ON_TEST, "b"), "all images of validation"),
            ((1 - ON_VAL, ON_TEST, "b"), "turned over"),
            ((ON_VAL, CALLS, "b"), "needs no threshold"),
            ((100 * ON_VAL, ON_TEST, "b"), "0.5"),
        ],
        given={"val": VAL, "test": TEST, "column": "region", "suspects": SUSPECTS},
    ),
    Case(
        "4.2",
        right=[(twin,), (twin_in_a_list,)],
        wrong=[
            ((lambda score, rng: (score >= 0.5).astype(int),), "a decision"),
            ((lambda score, rng: twin(score, np.random.default_rng(0)),), "every draw is the same"),
            ((lambda score, rng: twin(score, np.random.default_rng()),), "with the same seed"),
            ((lambda score, rng: (rng.random(len(score)) > score).astype(int),), "upside down"),
            ((lambda score, rng: twin(np.full(len(score), score.mean()), rng),), "it should have its own"),
            ((lambda score, rng: rng.integers(0, 2, len(score)),), "a coin"),
            ((lambda score, rng: (rng.random() < score).astype(int),), "one random number decides"),
            ((lambda score, rng: rng.random(len(score)),), "0 or 1"),
            ((lambda score, rng: int(rng.random() < 0.5),), "one label for each score"),
            ((lambda score, rng: twin(0.9 * score, rng),), "is not the score"),
            ((0.05,), "a function is expected"),
        ],
        given={"test": TEST},
    ),
    Case(
        "4.3",
        right=[(softened, "calibration"), (lambda s, t: np.round(softened(s, t), 2), "(Calibration)")],
        wrong=[
            ((lambda s, t: s / t, "calibration"), "you divided the probabilities"),
            ((lambda s, t: softened(s, 1 / t), "calibration"), "you multiplied"),
            ((lambda s, t: logit(s) / t, "calibration"), "back to probabilities"),
            ((lambda s, t: s ** (1 / t), "calibration"), "logarithm of p"),
            ((lambda s, t: s / (s + t * (1 - s)), "calibration"), "divided the odds"),
            ((lambda s, t: expit(s / t), "calibration"), "for a logit"),
            ((softened, "ranks"), "ever smaller"),
            ((softened, "both"), "overtake"),
            ((softened, "nothing"), "still 0.96"),
        ],
    ),
    Case(
        "4.4",
        right=[(BENEFIT, "cannot tell"), (round(BENEFIT, 2), "Cannot tell")],
        wrong=[
            ((HITS - ALARMS * 9, "cannot tell"), "upside down"),
            ((HITS - ALARMS, "cannot tell"), "as much as a find"),
            ((HITS - ALARMS * 0.1, "cannot tell"), "and you took t itself"),
            ((Y.mean() - (1 - Y.mean()) / 9, "cannot tell"), "the rival"),
            ((HITS / Y.mean() - ALARMS / (1 - Y.mean()) / 9, "cannot tell"), "within each class"),
            ((BENEFIT * len(Y), "cannot tell"), "those are counts"),
            ((HITS, "cannot tell"), "finds alone"),
            ((AT_FIFTH, "cannot tell"), "another number"),
            ((BENEFIT, "classifier"), "not above 0"),
            ((BENEFIT, "treat alike"), "not below 0"),
        ],
        given={"test": TEST, "risk": 0.1},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.number)
def test_it_answers(case):
    judged(case)


def test_a_suspicion_that_validation_does_not_share_is_no_report():
    given = {"val": VAL, "test": TEST, "column": "region", "suspects": ["knee", "hip"]}
    values = [auc(within(frame, given["suspects"])) for frame in (VAL, TEST)]
    assert check("4.1", *values, "c", **given).state == "right"
    assert "really lie below" in check("4.1", *values, "b", **given).words


def test_both_orders_of_the_two_numbers():
    given = {"val": VAL, "test": TEST, "column": "region", "suspects": ["knee", "forearm"]}
    values = [auc(within(frame, given["suspects"])) for frame in (VAL, TEST)]
    assert "wrong order" in check("4.1", *values[::-1], "c", **given).words


def test_the_mean_of_two_areas_is_not_the_area_of_both():
    given = {"val": VAL, "test": TEST, "column": "region", "suspects": ["wrist", "foot"]}
    each = np.mean([auc(within(TEST, [name])) for name in given["suspects"]])
    reply = check("4.1", auc(within(VAL, given["suspects"])), each, "c", **given)
    assert "mean of the parts" in reply.words, reply


def test_data_without_parts_get_a_sentence():
    given = {"val": VAL, "test": TEST, "column": None, "suspects": []}
    assert "do not say enough" in check("4.1", 0.5, 0.5, "b", **given).words


def test_a_risk_at_which_the_classifier_helps():
    benefit = AT_FIFTH
    assert check("4.4", benefit, "classifier", test=TEST, risk=0.2).state == "right"
    assert "leaves out 0" in check("4.4", benefit, "cannot tell", test=TEST, risk=0.2).words
