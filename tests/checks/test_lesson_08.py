"""The checks of lesson 08: right answers, the usual wrong ones, each with its own words, and nonsense."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from fracturelib.checks import check
from fracturelib.metrics import group_bootstrap, roc_auc
from tests.checks.conftest import Case, judged


def surprises(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    return -np.log(np.where(y == 1, p, 1 - p))


def masked_loss(p: np.ndarray, y: np.ndarray) -> float:
    loss = 0.0
    for surprise, t in zip(surprises(p, y).T, y.T, strict=True):
        if (t >= 0).any():
            loss += surprise[t >= 0].mean()
    return loss


def by_all(p: np.ndarray, y: np.ndarray) -> float:
    return float((surprises(p, y) * (y >= 0)).sum() / len(y))


def unknown_is_no(p: np.ndarray, y: np.ndarray) -> float:
    return float(surprises(p, y).mean(axis=0).sum())


def summed(p: np.ndarray, y: np.ndarray) -> float:
    return float((surprises(p, y) * (y >= 0)).sum())


def careless(p: np.ndarray, y: np.ndarray) -> float:
    return masked_loss(p, y) if (y >= 0).any(axis=0).all() else math.nan


def pooled(p: np.ndarray, y: np.ndarray) -> float:
    return float(surprises(p, y)[y >= 0].mean())


def averaged(p: np.ndarray, y: np.ndarray) -> float:
    return masked_loss(p, y) / y.shape[1]


def only_yes(p: np.ndarray, y: np.ndarray) -> float:
    return masked_loss(p, np.where(y == 0, 1, y))


def negative(p: np.ndarray, y: np.ndarray) -> float:
    return -masked_loss(p, y)


def decimal(p: np.ndarray, y: np.ndarray) -> float:
    return masked_loss(p, y) / math.log(10)


def stopped_at_nothing(p: np.ndarray, y: np.ndarray) -> float:
    return masked_loss(p, y) if (y >= 0).any(axis=0).all() else 7.0


def in_place(p: np.ndarray, y: np.ndarray) -> float:
    value = masked_loss(p, y)
    y[y < 0] = 0
    return value


def untouched(p: np.ndarray, y: np.ndarray) -> None: ...


RNG = np.random.default_rng(0)
N = 200
FULL = np.stack([RNG.integers(0, 2, N), np.arange(N) % 4], axis=1)
LOST = RNG.random(N) < 0.9


def hidden(rows: np.ndarray, value: int = -1, column: int = 1) -> np.ndarray:
    table = FULL.copy()
    table[rows, column] = value
    return table


FIRST = FULL[:, 1] == 0
TABLE = hidden(LOST & FIRST)


def recall(table: np.ndarray) -> float:
    return 0.1 + 0.8 * float((table[FIRST, 1] == 0).mean())


LEFT = recall(TABLE)

GONE = RNG.random(N) < 0.7
TASKS = ("fracture", "region")


def auc_of(table: np.ndarray, tasks: tuple[str, ...], seed: int) -> float:
    few = (table[:, 0] >= 0).mean()
    return 0.6 + 0.2 * float(few) + (0.02 * (seed - 0.5) + 0.05 * float(1 - few)) * (len(tasks) - 1)


FEW = hidden(GONE, column=0)


def gains(table: np.ndarray) -> list[float]:
    return [auc_of(table, TASKS, seed) - auc_of(table[:, :1], TASKS[:1], seed) for seed in (0, 1, 2)]


GAINS = gains(FEW)

# Fractured images lean far more than the others do, so that the wrong images give another figure.
FRACTURED = np.repeat([0, 1], [120, 80])
ASKED = RNG.random(N) < np.where(FRACTURED == 1, 0.7, 0.4)
OWNERS = np.arange(N) // 2
SCORE = FRACTURED * 1.0 + RNG.normal(size=N) + ASKED * np.where(FRACTURED == 1, 1.5, 0.1)
SCORE = 1 / (1 + np.exp(-SCORE))
SOUND = FRACTURED == 0
FOUND = group_bootstrap(roc_auc, ASKED[SOUND].astype(int), SCORE[SOUND], OWNERS[SOUND], n=500)
AREA, NOT = FOUND.value, "not shown"
GIVEN = {"score": SCORE, "fractured": FRACTURED, "asked": ASKED, "owners": OWNERS}

CASES = [
    Case(
        "8.1",
        right=[(masked_loss,), (lambda p, y: np.array([round(masked_loss(p, y), 3)]),)],
        wrong=[
            ((by_all,), "you divide by all images"),
            ((unknown_is_no,), "you read -1 as 'no'"),
            ((summed,), "not their sum"),
            ((careless,), "that spreads"),
            ((pooled,), "you pool all known answers"),
            ((averaged,), "not averaged"),
            ((only_yes,), "log p for everybody"),
            ((negative,), "the wrong way round"),
            ((decimal,), "`np.log`"),
            ((stopped_at_nothing,), "of which nothing is known"),
            ((lambda p, y: masked_loss(p[:, :2], y[:, :2]),), "where nothing is missing"),
            ((in_place,), "work on a copy"),
        ],
    ),
    Case(
        "8.2",
        right=[(TABLE, LEFT), (TABLE, round(LEFT, 2)), (TABLE.tolist(), LEFT), (pd.DataFrame(TABLE), LEFT)],
        wrong=[
            ((FULL, LEFT), "targets['train'] itself"),
            ((TABLE[:10], LEFT), "expected an array of shape"),
            ((FULL.copy(), LEFT), "nothing is hidden"),
            ((hidden(LOST & FIRST, column=0), LEFT), "a column other than 1"),
            ((hidden(LOST & FIRST, value=4), LEFT), "written as -1"),
            ((hidden(LOST), LEFT), "other answers have lost theirs"),
            ((hidden(FIRST), LEFT), "all of them are hidden"),
            ((hidden(FIRST & ~LOST), LEFT), "kept nine in ten"),
            ((hidden(FIRST & (np.arange(N) % 5 < 3)), LEFT), "nine in ten was asked for"),
            ((TABLE, recall(FULL)), "with all labels known"),
            ((TABLE, 1 - LEFT), "*not* named correctly"),
            ((TABLE, recall(FULL) - LEFT), "the loss in recall"),
            ((TABLE, 0.5), "the table is right; the recall is not"),
            ((TABLE, 100 * LEFT), "write 50 % as 0.5"),
        ],
        given={"full": FULL, "column": 1, "recall": recall},
    ),
    Case(
        "8.3",
        right=[
            (GAINS,),
            (np.array(GAINS),),
            (torch.tensor(GAINS),),
            (pd.Series(GAINS),),
            (tuple(round(g, 2) for g in GAINS),),
        ],
        wrong=[
            ((GAINS[0],), "one seed is one draw"),
            ((GAINS[:2],), "holds 2 gains"),
            (([-g for g in GAINS],), "fracture alone minus all tasks?"),
            (([GAINS[0]] * 3,), "three times the same gain"),
            (([auc_of(FEW, TASKS, s) for s in (0, 1, 2)],), "these look like AUCs"),
            ((GAINS[::-1],), "not in the order of the seeds"),
            ((gains(FULL),), "nothing is hidden yet"),
            (([GAINS[0], GAINS[1], 0.3],), "with seed 2"),
            (({0: GAINS[0]},), "a list of three gains"),
        ],
        given={"targets": FULL, "gone": GONE, "auc_of": auc_of, "tasks": TASKS},
    ),
    Case(
        "8.4",
        right=[(AREA, NOT), (round(AREA, 2), "Not shown")],
        wrong=[
            ((roc_auc(ASKED.astype(int), SCORE), NOT), "fractured images are among them"),
            ((roc_auc(ASKED[~SOUND].astype(int), SCORE[~SOUND]), NOT), "these are the fractured images"),
            ((1 - AREA, NOT), "turned round"),
            ((roc_auc(FRACTURED, SCORE), NOT), "that is the AUC for fractures; here"),
            ((roc_auc(FRACTURED[ASKED], SCORE[ASKED]), NOT), "within the label"),
            ((0.11, NOT), "keep the images without a fracture"),
            ((100 * AREA, NOT), "write 50 % as 0.5"),
            ((AREA, "leans"), "0.5 lies inside"),
            ((AREA, "yes"), "choose one of"),
        ],
        given=GIVEN,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.number)
def test_it_answers(case: Case) -> None:
    judged(case)


def test_a_stub_is_untried() -> None:
    assert check("8.1", untouched).state == "untried"


def test_a_score_that_leans_is_called_that() -> None:
    score = SCORE + 2 * ASKED
    area = roc_auc(ASKED[SOUND].astype(int), score[SOUND])
    given = {**GIVEN, "score": score}
    assert check("8.4", area, "leans", **given).state == "right"
    assert "0.5 lies outside" in check("8.4", area, "not shown", **given).words


def test_images_that_cannot_answer_are_said_to_be_so() -> None:
    reply = check("8.4", 0.5, "not shown", **{**GIVEN, "asked": FRACTURED == 1})
    assert reply.state == "not yet" and "cannot answer" in reply.words
    reply = check("8.2", TABLE, 0.5, full=FULL, column=1, recall=lambda _: math.nan)
    assert reply.state == "not yet" and "Go on" in reply.words
