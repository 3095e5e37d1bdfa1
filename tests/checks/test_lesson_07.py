"""The checks of lesson 07: right answers, the usual wrong ones, each with its own words, and nonsense."""

import math
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from fracturelib.metrics import choose_threshold, confusion_at, roc_auc
from tests.checks.conftest import Case, judged

LOW, HIGH = 0.75 * 0.1**2 * -math.log(0.9), 0.25 * 0.9**2 * -math.log(0.1)


@dataclass
class Weights:
    """What a tensor of weights tells."""

    count: int
    requires_grad: bool

    def numel(self) -> int:
        return self.count


class Network:
    """Tensors that learn and tensors that do not."""

    def __init__(self, learn: list[int], frozen: list[int]) -> None:
        self.weights = [Weights(n, True) for n in learn] + [Weights(n, False) for n in frozen]

    def parameters(self) -> list[Weights]:
        return self.weights


NETWORKS = {"heads": Network([1000, 200], [8000, 30000]), "last": Network([1000, 200, 8000], [30000])}


def scores(y: np.ndarray, strength: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=len(y))
    return 1 / (1 + np.exp(-(strength * (y - 0.5) + noise)))


Y_VAL, Y_TEST = np.repeat([0, 1], [60, 40]), np.repeat([0, 1], [90, 50])
ON_VAL = {0.1: scores(Y_VAL, 1.6, 1), 1.0: scores(Y_VAL, 1.2, 2), 10.0: scores(Y_VAL, 0.4, 3)}
ON_TEST = {0.1: scores(Y_TEST, 1.0, 4), 1.0: scores(Y_TEST, 1.9, 5), 10.0: scores(Y_TEST, 0.2, 6)}
A_VAL = {c: roc_auc(Y_VAL, s) for c, s in ON_VAL.items()}
A_TEST = {c: roc_auc(Y_TEST, s) for c, s in ON_TEST.items()}
FLATTERY = A_TEST[1.0] - A_TEST[0.1]

# A plain model whose scores are low, and one with weights: nearly the same order, another place.
Y_RARE = np.repeat([0, 1], [150, 30])
FOLDS = {"plain": scores(Y_RARE, 2.0, 7) * 0.4, "weights": scores(Y_RARE, 2.0, 8)}
JUDGED = {"plain": scores(Y_VAL, 2.0, 9) * 0.4, "weights": scores(Y_VAL, 2.2, 9)}
VAL = SimpleNamespace(labels=Y_VAL, frame=pd.DataFrame({"group": np.arange(len(Y_VAL)) // 2}))


def gain(weights: float, plain: float) -> float:
    at = [confusion_at(Y_VAL, JUDGED[k], t).balanced_accuracy for k, t in (("weights", weights), ("plain", plain))]
    return at[0] - at[1]


CUT = {k: choose_threshold(Y_RARE, s, "youden").threshold for k, s in FOLDS.items()}
PEEPED = {k: choose_threshold(Y_VAL, s, "youden").threshold for k, s in JUDGED.items()}
HALF, CHOSEN = gain(0.5, 0.5), gain(CUT["weights"], CUT["plain"])
AREAS = roc_auc(Y_VAL, JUDGED["weights"]) - roc_auc(Y_VAL, JUDGED["plain"])
NOT = "not shown"

CASES = [
    Case(
        "7.1",
        right=[(LOW, HIGH), (0.0008, 0.47), (np.float64(0.00079), 0.4663)],
        wrong=[
            ((HIGH, LOW), "in the wrong order"),
            ((LOW / 0.75, HIGH / 0.25), "alpha is missing"),
            ((0.75 * 0.9**2 * -math.log(0.9), 0.25 * 0.1**2 * -math.log(0.1)), "you squared what the truth was given"),
            ((LOW, 3 * HIGH), "there is none"),
            ((LOW / 3, 3 * HIGH), "changed places"),
            ((0.75 * -math.log(0.9), 0.25 * -math.log(0.1)), "weighted cross-entropy"),
            ((-math.log(0.9), -math.log(0.1)), "that is the cross-entropy"),
            ((LOW, LOW / 3), "the network gave that much less than 0.9"),
            ((LOW / math.log(10), HIGH / math.log(10)), "not log10"),
            ((-LOW, -HIGH), "never negative"),
            ((0.001, 0.47), "four digits"),
            ((LOW, 3.0), "first is right, the second is not"),
            ((7.0, 3.0), "first is not right"),
        ],
    ),
    Case(
        "7.2",
        right=[(1200, 9200), (np.int64(1200), 9200.0)],
        wrong=[
            ((39200, 39200), "frozen, too"),
            ((9200, 1200), "wrong order"),
            ((2, 3), "tensors"),
            ((1200, 8000), "go on learning"),
            ((1.2, 9.2), "thousands"),
            ((1200, 5), "the heads are right"),
            ((7, 5), "`parameters()`"),
        ],
        given={"networks": NETWORKS},
    ),
    Case(
        "7.3",
        right=[(FLATTERY,), (round(FLATTERY, 3),)],
        wrong=[
            ((-FLATTERY,), "cannot lose on test"),
            ((A_TEST[1.0],), "AUC of the best one"),
            ((A_TEST[1.0] - A_VAL[0.1],), "two sets of images"),
            ((A_VAL[0.1] - A_TEST[0.1],), "how much validation flattered"),
            ((A_VAL[1.0] - A_VAL[0.1],), "both of these are AUCs on validation"),
            ((A_TEST[1.0] - A_TEST[10.0],), "best minus worst"),
            ((0.5,), "two AUCs on test"),
        ],
        given={"val": (Y_VAL, ON_VAL), "test": (Y_TEST, ON_TEST)},
    ),
    Case(
        "7.4",
        right=[(HALF, CHOSEN, NOT), (round(HALF, 2), round(CHOSEN, 2), " Not Shown ")],
        wrong=[
            ((-HALF, CHOSEN, NOT), "not plain minus weights"),
            ((AREAS, CHOSEN, NOT), "difference of AUCs"),
            ((100 * HALF, CHOSEN, NOT), "between -1 and 1"),
            ((0.9, CHOSEN, NOT), "with minus without"),
            ((HALF, HALF, NOT), "two thresholds, not two models"),
            ((HALF, gain(PEEPED["weights"], PEEPED["plain"]), NOT), "the very images that judge them"),
            ((HALF, gain(CUT["plain"], CUT["plain"]), NOT), "one of their own"),
            ((HALF, 0.77, NOT), "each its own threshold"),
            ((HALF, CHOSEN, "better"), "does not lie above 0"),
            ((HALF, CHOSEN, "worse"), "does not lie below 0"),
            ((HALF, CHOSEN, "equal"), "choose one of"),
        ],
        given={"folds": (Y_RARE, FOLDS), "val": VAL, "scores": JUDGED},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.number)
def test_it_answers(case: Case) -> None:
    judged(case)


def test_where_test_would_choose_as_validation_did_nothing_is_a_right_answer() -> None:
    from fracturelib.checks import check

    same = {c: ON_VAL[c] for c in ON_VAL}
    assert check("7.3", 0.0, val=(Y_VAL, same), test=(Y_VAL, same)).state == "right"
