"""What every check is made of: whatever is handed in, one of three replies, and no usual wrong answer is right."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

from fracturelib.checks import check
from fracturelib.checks.answers import NotYetError, choice, judge_number, number, sides, which_interval

HALVES = [Fraction(1, 2), Decimal("0.5"), np.float32(0.5), np.array([[0.5]]), pd.Series([0.5]), torch.tensor([0.5])]
HALVES += [torch.tensor(0.5, requires_grad=True), pd.DataFrame({"a": [0.5]})]
NO_NUMBERS = [0.5 + 1j, np.complex64(0.5), np.array(["0.5"]), np.array([True]), torch.tensor(True), [0.5], b"0.5"]


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ValueError("an error that cannot say what it is")


def unspeakable(*_: object) -> None:
    raise UnspeakableError


def leaves(*_: object) -> None:
    raise SystemExit(1)


@pytest.mark.parametrize("answer", HALVES, ids=lambda a: type(a).__name__)
def test_a_number_is_read_from_whatever_holds_one(answer: object) -> None:
    assert number(answer) == 0.5


@pytest.mark.parametrize("answer", NO_NUMBERS, ids=repr)
def test_what_holds_no_number_gets_words(answer: object) -> None:
    with pytest.raises(NotYetError, match="number"):
        number(answer)


@pytest.mark.parametrize("function", [unspeakable, leaves])
@pytest.mark.parametrize("exercise", ["1.2", "3.1", "3.3", "4.2", "5.1", "8.1", "9.3", "9.4"])
def test_no_error_of_a_function_gets_out(exercise: str, function: object) -> None:
    given = {"y": [0, 1], "score": [0.2, 0.7], "threshold": 0.5} if exercise == "9.4" else {}
    given |= {"test": pd.DataFrame()} if exercise in ("3.3", "4.2") else {}
    reply = check(exercise, function, **given)
    assert reply.state == "not yet" and "your function stopped" in reply.words


def test_a_usual_wrong_answer_close_to_the_truth_is_not_right() -> None:
    wrongs = [(0.2801, "the other one"), (0.28, "the round one")]
    for value in (0.2848, 0.285, 0.28, 0.2795, np.float32(0.2848)):
        assert judge_number(value, 0.2848, "so it is", wrongs).state == "right", value
    with pytest.raises(NotYetError, match="the other one"):
        judge_number(0.2801, 0.2848, "so it is", wrongs)
    assert judge_number(0.2801, 0.2801, "so it is", wrongs).state == "right"


def test_an_interval_is_known_by_two_digits_before_it_is_known_by_chance() -> None:
    by_patient, by_image = (0.60, 0.90), (0.62, 0.89)
    assert which_interval((0.60, 0.90), by_patient, by_image) is True
    assert which_interval((0.62, 0.89), by_patient, by_image) is False
    assert which_interval((0.58, 0.93), by_patient, by_image) is True  # another bootstrap
    assert which_interval((0.50, 0.90), by_patient, by_image) is None
    assert which_interval((0.60, 0.90), by_patient, by_patient) is True


def test_on_the_edge_either_verdict_will_do() -> None:
    assert sides(0.1, 0.3) == {"above"} and sides(-0.3, -0.1) == {"below"} and sides(-0.1, 0.1) == {"across"}
    assert sides(-0.001, 0.2) == sides(0.001, 0.2) == {"above", "across"}
    assert sides(0.45, 0.499, 0.5) == {"below", "across"}
    assert sides(np.nan, np.nan) == sides(0.2, 0.2) == {"across"}


def test_a_choice_may_be_in_brackets() -> None:
    for said in ("b", "B.", "(b)", " 'b' "):
        assert choice(said, {"b"}, {"a": "not that one"}) == "b"
    with pytest.raises(NotYetError, match="not that one"):
        choice("a)", {"b"}, {"a": "not that one"})
    with pytest.raises(NotYetError, match="choose one of 'a', 'b'"):
        choice("", {"b"}, {"a": "not that one"})
