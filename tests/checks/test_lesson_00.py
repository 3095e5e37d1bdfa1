"""The checks of lesson 00, and its map."""

import re
from collections.abc import Callable

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from fracturelib.checks import check
from tests.checks.conftest import Case, judged
from tests.conftest import ROOT

TRUTH = [1, 1, 0, 0, 1, 1, 0, 0]
GUESSES = [1, 1, 1, 0, 1, 0, 1, 0]  # finds 3 of 4, clears 2 of 4, calls 5
UNITS = ("image", "study", "patient", "split")
LEVEL = {letter: UNITS[i % 4] for i, letter in enumerate("abcdefghij")}
TITLE = re.compile(r"\| \[(\d\d) · [^\]]+\]\((\d\d_\w+\.ipynb)\) \| [^|]+ \| (\d+) \|")


def level(**changes: object) -> tuple[dict[str, object]]:
    return ({**LEVEL, **changes},)


CASES = [
    Case(
        "0.1",
        right=[(0.75, 0.5), (3 / 4, np.float32(1 / 2)), (0.7499, 0.5001)],
        wrong=[
            ((0.5, 0.75), "swapped"),
            ((0.625, 0.625), "sensitivity again: that is accuracy"),
            ((0.75, 0.625), "specificity again: that is accuracy"),
            ((0.6, 0.5), "that is precision"),
            ((0.25, 0.5), "you counted your mistakes"),
            ((0.375, 0.5), "sensitivity divides by the fractured ones"),
            ((0.75, 0.25), "specificity divides by the unbroken ones"),
            ((75, 50), "write 50 % as 0.5"),
            ((0.9, 0.5), "count the fractured images"),
        ],
        given={"guesses": GUESSES, "truth": TRUTH},
    ),
    Case(
        "0.2",
        right=[(37 / 256,), (0.14,), (0.145,), (np.float64(0.1445),)],
        wrong=[
            ((28 / 256,), "exactly six"),
            ((9 / 256,), "begins with six itself"),
            ((0.75,), "six of eight is the score"),
            ((0.5,), "a single image"),
            ((219 / 256,), "at most five"),
            ((1 / 64,), "six right in a row"),
            ((17 / 70,), "exactly four are broken"),
            ((14.45,), "write 50 % as 0.5"),
            ((0.33,), "256 ways"),
        ],
    ),
    Case(
        "0.3",
        right=[(LEVEL,), level(a="Image "), level(b="studies")],
        wrong=[
            (level(a="study"), "9 of 10; think again about (a)"),
            (level(b="image"), "one request"),
            (level(c="study"), "next visit"),
            (level(f="image"), "a report is written once"),
            (level(g="split"), "stay whole"),
            (level(d=..., h=...), "still open: d, h"),
            (level(d="folder"), "none of the four words"),
            ((list(LEVEL.values()),), "a dict"),
        ],
    ),
    Case(
        "0.4",
        right=[(0.97, 0), (0.97, 0.0), (970 / 1000, np.float64(0))],
        wrong=[
            ((0.97, 0.97), "not the same"),
            ((0.97, 1), "never calls one"),
            ((0.03, 0), "what it gets wrong"),
            ((0.97, 0.03), "how common"),
            ((0.5, 0.5), "toss a coin"),
            ((97, 0), "write 50 % as 0.5"),
        ],
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.number)
def test_it_answers(case: Case) -> None:
    judged(case)


def test_guesses_that_are_none() -> None:
    for guesses, words in (
        (..., "type your guesses"),
        ([1, 0], "2 guesses for 8 images"),
        ("10100101", "a list of 8"),
        ([1, 0, 1, 0, 1, 0, 1, 0.5], "something else"),
        (list("10101010"), "something else"),
        ([True, 0, 1, 0, 1, 0, 1, 2], "something else"),
    ):
        reply = check("0.1", 0.5, 0.5, guesses=guesses, truth=TRUTH)
        assert reply.state == "not yet" and words in reply.words, (guesses, reply)


def test_calling_nothing_has_no_precision() -> None:
    assert check("0.1", 0, 1, guesses=[0] * 8, truth=TRUTH).state == "right"
    assert check("0.1", 0.5, 1, guesses=[0] * 8, truth=TRUTH).state == "not yet"


def test_an_untouched_dict_is_untried() -> None:
    assert check("0.3", dict.fromkeys("abcdefghij", ...)).state == "untried"


def test_the_map_knows_every_lesson() -> None:
    folder = ROOT / "notebooks"
    text = "\n".join(c.source for c in nbformat.read(folder / "00_start_here.ipynb", as_version=4).cells)
    rows = TITLE.findall(text)
    assert [number for number, _, _ in rows] == [f"{n:02d}" for n in range(13)]
    lessons = sorted(p.name for p in folder.glob("[0-9][0-9]_*.ipynb"))
    assert set(lessons) <= {file for _, file, _ in rows}


@pytest.mark.parametrize("kind", [np.array, pd.Series, tuple, torch.tensor, lambda g: np.array(g) == 1, iter])
def test_guesses_may_come_in_any_list(kind: Callable[[list[int]], object]) -> None:
    assert check("0.1", 0.75, 0.5, guesses=kind(GUESSES), truth=TRUTH).state == "right"
