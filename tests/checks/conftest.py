"""How a checker is tried: right answers, usual wrong ones with words of their own, nonsense, and nothing at all."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fracturelib.checks import check


def stopping(*_: object, **__: object) -> None:
    raise RuntimeError("a reader's function that stops")


NONSENSE: list[Any] = [None, "x", "", math.nan, math.inf, -math.inf, [], {}, ()]
NONSENSE += [stopping, True, object(), np.zeros((2, 2))]


@dataclass(frozen=True)
class Case:
    """An exercise and what may be handed in.

    Attributes
    ----------
    number : str
    right : list of tuples
        Answers that are right.
    wrong : list of (tuple, str)
        Usual wrong answers, and words that the reply to each must contain.
    given : dict
        What the lesson's cell passes besides.
    """

    number: str
    right: list[tuple[Any, ...]]
    wrong: list[tuple[tuple[Any, ...], str]]
    given: dict[str, Any] = field(default_factory=dict)


def judged(case: Case) -> None:
    """Try all of it."""
    assert case.right and len(case.wrong) >= 3, f"{case.number}: one right answer and three wrong ones at least"
    for answers in case.right:
        reply = check(case.number, *answers, **case.given)
        assert reply.state == "right", f"{case.number}: {answers!r} is right; {reply}"
    said = set()
    for answers, words in case.wrong:
        reply = check(case.number, *answers, **case.given)
        assert reply.state == "not yet" and words in reply.words, f"{case.number}: {answers!r}: {reply}"
        said.add(reply.words)
    assert len(said) == len(case.wrong), f"{case.number}: two wrong answers get the same words"
    count = len(case.right[0])
    assert check(case.number, *[...] * count, **case.given).state == "untried"
    for nonsense in NONSENSE:
        reply = check(case.number, *[nonsense] * count, **case.given)
        assert reply.state in ("not yet", "untried"), f"{case.number} takes {nonsense!r}: {reply}"
