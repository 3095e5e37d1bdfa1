"""Lesson 10: its exercises answer right and wrong."""

import numpy as np
import pandas as pd
import pytest

from fracturelib.checks import check
from fracturelib.checks.lesson_10 import FRACTURES
from fracturelib.metrics import choose_threshold, confusion_at, prior_shift
from fracturelib.shift import Predictions
from tests.checks.conftest import Case, judged
from tests.conftest import ROOT

FRAME = pd.read_csv(ROOT / "data" / "checkpoints" / "demo-small-cnn-predictions.csv")
HOME = FRAME.query("split == 'val'")["score"].to_numpy()
TEST = FRAME.query("split == 'test'")
Y, GROUP = TEST["label"].to_numpy(), TEST["group"].to_numpy()
THERE = TEST["score"].to_numpy() ** 0.5  # a department whose scores are higher
FROZEN, PRIOR, ASK = 0.45, 0.37, 50
PREDICTED = float((HOME >= FROZEN).mean())
QUOTA = float(np.quantile(THERE, 1 - PREDICTED))
RARER = float(prior_shift([0.5], before=PRIOR, after=0.05)[0])


def rates() -> np.ndarray:
    rows = []
    for seed in range(50):
        his, others = Predictions(Y, THERE, GROUP).split(ASK, seed=seed)
        t = choose_threshold(Y[his], THERE[his], "sensitivity=0.9").threshold
        rows.append([confusion_at(Y[k], THERE[k], t).sensitivity for k in (his, others, np.arange(len(Y)))])
    return np.array(rows)


RATES = rates()
GAPS = RATES[:, 0] - RATES[:, 1]
MEAN, SPREAD = GAPS.mean(), GAPS.std()

CASES = [
    Case(
        "10.1",
        right=[(QUOTA, "A"), (round(QUOTA, 2), "a"), (np.float32(QUOTA), " A ")],
        wrong=[
            ((FROZEN, "A"), "the frozen threshold"),
            ((np.quantile(THERE, PREDICTED), "A"), "lie below your threshold"),
            ((PREDICTED, "A"), "the proportion itself"),
            ((FROZEN + 0.0015, "A"), "home's scores"),
            ((100 * QUOTA, "A"), "above 1"),
            ((0.99, "A"), "np.quantile"),
            ((QUOTA, "B"), "the order of scores only"),
            ((QUOTA, "C"), "AUC is 1 in both hospitals"),
            ((QUOTA, "D"), "choose one of"),
        ],
        given={"home": HOME, "there": THERE, "frozen": FROZEN},
    ),
    Case(
        "10.2",
        right=[(RARER,), (round(RARER, 2),), (round(RARER, 3),)],
        wrong=[
            ((0.5 * 0.05 / PRIOR,), "odds scale, probabilities do not"),
            ((1 - RARER,), "the wrong way"),
            ((0.05,), "that is the prevalence"),
            ((0.5,), "does not know the prevalence"),
            ((RARER / (1 - RARER),), "turn them back into a probability"),
            ((100 * RARER,), "write 50 % as 0.5"),
            ((0.3,), "turn the score into odds; multiply"),
        ],
        given={"prior": PRIOR},
    ),
    Case(
        "10.3",
        right=[(MEAN, SPREAD), (round(MEAN, 2), round(SPREAD, 2)), (MEAN, GAPS.std(ddof=1))],
        wrong=[
            ((-MEAN, SPREAD), "the sign is turned"),
            (((RATES[:, 0] - RATES[:, 2]).mean(), SPREAD), "among those you compare with"),
            ((RATES[:, 0].mean(), SPREAD), "what he reports; subtract"),
            ((RATES[:, 1].mean(), SPREAD), "subtract it from what he reports"),
            ((100 * MEAN, SPREAD), "write 5 points as 0.05"),
            ((GAPS[0], SPREAD), "the first draw alone"),
            ((np.abs(GAPS).mean(), SPREAD), "without abs"),
            ((0.5, SPREAD), "in each draw a new threshold"),
            ((MEAN, SPREAD / np.sqrt(50)), "how well you know the mean"),
            ((MEAN, np.ptp(GAPS)), "from the smallest to the largest"),
            ((MEAN, 100 * SPREAD), "not in per cent"),
            ((MEAN, 0.9), "the standard deviation of the differences"),
        ],
        given={"y": Y, "score": THERE, "group": GROUP, "ask": ASK, "target": 0.9},
    ),
    Case(
        "10.5",
        right=[(277.5,), (278,), (280,), (np.int64(277),)],
        wrong=[
            ((37,), "how many fractures"),
            ((185,), "fewer than two witnesses"),
            ((55.5,), "how many images hold them"),
            ((139,), "how many patients"),
            ((46,), "not by the one that is not"),
            ((69.4,), "goes below the line"),
            ((7.4,), "images = ?"),
            ((370,), "told nothing"),
            ((123,), "larger, not smaller"),
            ((1000,), "three steps"),
        ],
    ),
    Case(
        "10.4",
        right=[
            (["c", "a", "d", "b"],),
            (("C", "A", "D", "B"),),
            ("cadb",),
            ("c, a, d, b",),
            (np.array(list("cadb")),),
            (["(c)", "(a)", "(d)", "(b)"],),
        ],
        wrong=[
            ((["d", "a", "d", "b"],), "the first"),
            ((["c", "c", "d", "b"],), "the second"),
            ((["c", "a", "c", "b"],), "the third"),
            ((["c", "a", "d", "d"],), "the fourth"),
            ((["c", "a"],), "one for each fault"),
        ],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.number)
def test_it_answers(case: Case) -> None:
    judged(case)


def test_a_quota_that_ties_make_impossible_is_met_as_nearly_as_they_allow() -> None:
    there = np.repeat([0.2, 0.6], 50)
    given = {"home": np.linspace(0, 1, 101), "there": there, "frozen": 0.4}
    assert check("10.1", 0.6, "A", **given).state == "right"
    assert check("10.1", 0.2, "A", **given).state == "not yet"


def test_odds_that_are_close_to_the_probability_are_not_it() -> None:
    truth = float(prior_shift([0.5], before=0.5, after=0.05)[0])
    assert check("10.2", truth, prior=0.5).state == check("10.2", round(truth, 2), prior=0.5).state == "right"
    assert "those are the odds" in check("10.2", truth / (1 - truth), prior=0.5).words


def test_images_without_a_fracture_cannot_tell_of_flattery() -> None:
    reply = check("10.3", 0.1, 0.1, y=0 * Y, score=THERE, group=GROUP, ask=ASK, target=0.9)
    assert reply.state == "not yet" and "Go on" in reply.words


def test_the_study_is_the_smallest_that_does() -> None:
    def half(n: int) -> float:
        """Half the width of Wilson's interval of 0.9, with no need for whole fractures."""
        return 1.96 * np.sqrt(0.9 * 0.1 / n + 1.96**2 / (4 * n**2)) / (1 + 1.96**2 / n)

    assert half(FRACTURES) <= 0.1 < half(FRACTURES - 1)
