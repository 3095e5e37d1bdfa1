"""The checks of lesson 12: right answers, the usual wrong ones, each with its own words, and nonsense."""

import numpy as np
import pytest

from fracturelib.checks import check
from fracturelib.metrics import roc_auc
from tests.checks.conftest import Case, judged


def by_study(study: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    names = np.unique(study)
    return np.isin(study, rng.permutation(names)[: round(0.3 * len(names))])


def by_slice(study: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.random(len(study)) < 0.3


def the_first(study: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.isin(study, np.unique(study)[:12])


def half(study: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    names = np.unique(study)
    return np.isin(study, rng.permutation(names)[: len(names) // 2])


def places(study: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.flatnonzero(by_study(study, rng))


def changing(study: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    study.sort()
    return by_study(study, rng)


def untouched(study: np.ndarray, rng: np.random.Generator) -> None: ...


RNG = np.random.default_rng(3)
N, S = 60, 20
SHOWS = np.zeros((N, S), bool)
for row, first in enumerate(RNG.integers(2, 12, N)):
    SHOWS[row, first : first + 2 + row % 5] = True
DECIDED = np.where(RNG.random(N) < 0.7, SHOWS.argmax(axis=1), RNG.integers(0, S, N))
SHOWN = float(SHOWS[np.arange(N), DECIDED].mean())
CHANCE = float(SHOWS.mean())

TEAR = np.repeat(["none", "degenerated", "partial", "complete"], [60, 40, 25, 55])
EVIDENCE = np.select([TEAR == "degenerated", TEAR == "partial", TEAR == "complete"], [0.9, 1.6, 2.2])
SCORE = 1 / (1 + np.exp(-(EVIDENCE + RNG.normal(size=len(TEAR)))))
WHOLE = np.isin(TEAR, ("none", "degenerated"))


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    chosen = positive | negative
    return float(roc_auc(positive[chosen].astype(int), SCORE[chosen]))


COMPLETE, PARTIAL = auc(TEAR == "complete", WHOLE), auc(TEAR == "partial", WHOLE)

CASES = [
    Case(
        "12.1",
        right=[(lambda e, t: e[t].max(),), (lambda e, t: max(v for v, here in zip(e, t, strict=True) if here),)],
        wrong=[
            ((lambda e, t: e.max(),), "padding counts"),
            ((lambda e, t: e[t].mean(),), "that is the mean"),
            ((lambda e, t: e[t].sum(),), "that is the sum"),
            ((lambda e, t: e[t][np.abs(e[t]).argmax()],), "of either sign"),
            ((lambda e, t: int(e[t].argmax()),), "which slice it is"),
            ((lambda e, t: e[t].min(),), "the smallest"),
            ((lambda e, t: 7.0,), "it returns something else"),
        ],
    ),
    Case(
        "12.2",
        right=[(COMPLETE, PARTIAL), (round(COMPLETE, 2), round(PARTIAL, 2))],
        wrong=[
            ((PARTIAL, COMPLETE), "the other way round"),
            ((auc(TEAR == "complete", TEAR != "complete"), PARTIAL), "the negatives of complete"),
            ((COMPLETE, auc(TEAR == "partial", TEAR != "partial")), "the negatives of partial"),
            ((auc(~WHOLE, WHOLE), PARTIAL), "only the complete ones"),
            ((COMPLETE, auc(TEAR == "partial", TEAR == "none")), "hard negatives"),
            ((1 - COMPLETE, PARTIAL), "the wrong way round"),
            ((COMPLETE, 0.99), "the figure for partial tears is another"),
        ],
        given={"score": SCORE, "tear": TEAR},
    ),
    Case(
        "12.3",
        right=[(by_study,)],
        wrong=[
            ((by_slice,), "that is the leak"),
            ((lambda study, rng: ~by_study(study, rng),), "marks the training slices"),
            ((half,), "three in ten"),
            ((the_first,), "not drawn"),
            ((places,), "True or False for each"),
            ((changing,), "work on a copy"),
        ],
    ),
    Case(
        "12.4",
        right=[(SHOWN, CHANCE), (round(SHOWN, 2), round(CHANCE, 2))],
        wrong=[
            ((CHANCE, SHOWN), "the other way round"),
            ((1 - SHOWN, CHANCE), "does *not* show"),
            ((float(SHOWS[:, DECIDED].mean()), CHANCE), "`shows[:, decided]`"),
            ((CHANCE, CHANCE), "that is chance"),
            ((SHOWN, 1 / S), "one in the number of slices"),
            ((SHOWN, 0.5), "no coin"),
            ((SHOWN, 0.9), "the second figure is another"),
            ((0.33, CHANCE), "the first figure is another"),
        ],
        given={"decided": DECIDED, "shows": SHOWS},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.number)
def test_a_check(case: Case) -> None:
    judged(case)


def test_a_split_as_it_stands_in_the_stub() -> None:
    assert check("12.3", untouched).state == "untried"


def test_a_split_of_another_length() -> None:
    reply = check("12.3", lambda study, rng: np.ones(3, bool))
    assert reply.state == "not yet" and "each of 240 slices" in reply.words
