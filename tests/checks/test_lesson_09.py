"""Lesson 09: its exercises answer right and wrong."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from fracturelib.checks import check
from tests.checks.conftest import Case, judged
from tests.conftest import ROOT

FRAME = pd.read_csv(ROOT / "data" / "checkpoints" / "demo-small-cnn-predictions.csv").query("split == 'test'")
Y, SCORE = FRAME["label"].to_numpy(), FRAME["score"].to_numpy()


def gap(a, b):
    return max(abs((a <= t).mean() - (b <= t).mean()) for t in np.concatenate([a, b]))


def by_scipy(a, b):
    return ks_2samp(a, b).statistic


def one_sided(a, b):
    return max((a <= t).mean() - (b <= t).mean() for t in np.concatenate([a, b]))


def other_side(a, b):
    return one_sided(b, a)


def at_first(a, b):
    return max(abs((a <= t).mean() - (b <= t).mean()) for t in a)


def at_second(a, b):
    return max(abs((a <= t).mean() - (b <= t).mean()) for t in b)


def on_a_grid(a, b):
    return max(abs((a <= t).mean() - (b <= t).mean()) for t in np.linspace(0, 1, 101))


def counts(a, b):
    return max(abs((a <= t).sum() - (b <= t).sum()) for t in np.concatenate([a, b]))


def sorts_in_place(a, b):
    a.sort()
    return gap(a, b)


def noisy(scores):
    return np.clip(scores + np.random.default_rng(0).normal(0, 0.3, len(scores)), 0, 1)


CASES = [
    Case(
        "9.1",
        right=[(1.05, 0.66), (1, 0.659), (0.05 * 21, 1 - 0.95**21), (np.float64(1.05), np.array([0.6594]))],
        wrong=[
            ((19.95, 0.66), "hold the zero; count the others"),
            ((0, 0.66), "leaves out the truth now and then"),
            ((0.05, 0.66), "how often one interval errs"),
            ((105, 0.66), "not in per cent"),
            ((21, 0.66), "95 of 100 hold it"),
            ((7, 0.66), "how many are there?"),
            ((1.05, 0.341), "none leaves out zero"),
            ((1.05, 0.05), "a single interval"),
            ((1.05, 1.0), "not certain"),
            ((1.05, 0.0), "all of them leave out zero at once"),
            ((1.05, 66), "write 50 % as 0.5"),
            ((1.05, 0.5), "begin with how probable"),
        ],
        given={"intervals": 21},
    ),
    Case(
        "9.2",
        right=[(0.7625,), (0.76,), (0.25 * 76 / 80 + 0.75 * 28 / 40,)],
        wrong=[
            ((104 / 120,), "home's mix"),
            ((0.8875,), "the wrong way round"),
            ((0.825,), "as many hairlines as displaced"),
            ((0.7,), "sensitivity for hairlines"),
            ((0.95,), "for displaced fractures"),
            ((76,), "write 50 % as 0.5"),
            ((0.5,), "of each kind at home first"),
        ],
    ),
    Case(
        "9.3",
        right=[(gap,), (by_scipy,), (lambda a, b: round(float(gap(a, b)), 2),), (lambda a, b: np.array([gap(a, b)]),)],
        wrong=[
            ((one_sided,), "only scores that are higher there"),
            ((other_side,), "only scores that are lower there"),
            ((at_first,), "at a score of the second hospital"),
            ((at_second,), "at a score of the first hospital"),
            ((lambda a, b: abs(a.mean() - b.mean()),), "the means lie apart"),
            ((lambda a, b: abs(np.median(a) - np.median(b)),), "the medians lie apart"),
            ((on_a_grid,), "may step over the widest gap"),
            ((counts,), "not numbers of images"),
            ((lambda a, b: np.mean([abs((a <= t).mean() - (b <= t).mean()) for t in [*a, *b]]),), "the average gap"),
            ((sorts_in_place,), "changes what it is given"),
            ((lambda a, b: 0.5,), "something else on"),
        ],
    ),
    Case(
        "9.4",
        right=[(lambda s: s**3,), (np.sqrt,), (lambda s: s / 2,), (lambda s: list(0.5 + s / 2),)],
        wrong=[
            ((lambda s: s,), "nothing has changed"),
            ((lambda s: s**1.05,), "push the scores further"),
            ((lambda s: 1 - s,), "turned the order"),
            ((noisy,), "AUC sees it, too"),
            ((lambda s: np.full(len(s), 0.5),), "the same score"),
            ((lambda s: s + 0.5,), "outside 0 to 1"),
            ((lambda s: s.mean() / 2,), "returns the shape ()"),
            ((lambda s: "higher",), "returns a str"),
            ((lambda s: np.multiply(s, 0.5, out=s),), "work on a copy"),
            ((lambda s: s / missing,), "your function stopped"),  # noqa: F821
            ((lambda s: np.log(s - s),), "no numbers"),
        ],
        given={"y": Y, "score": SCORE, "threshold": 0.3},
    ),
]


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.number)
def test_it_answers(case: Case) -> None:
    judged(case)


def test_few_intervals_are_judged_by_their_own_number() -> None:
    assert check("9.1", 0.15, 0.143, intervals=3).state == "right"
    assert check("9.1", 1.05, 0.66, intervals=3).state == "not yet"


def test_a_head_without_a_body_is_untried() -> None:
    def change(scores):
        """Stub."""
        ...

    assert check("9.4", change, y=Y, score=SCORE, threshold=0.3).state == "untried"
    assert check("9.3", change).state != "right"
