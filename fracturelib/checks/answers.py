"""What every check is made of: a reply, the register of exercises, and ways to judge numbers, functions and choices."""

import copy
import html
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

import numpy as np
import pandas as pd

UNTRIED, NOT_YET, RIGHT = "untried", "not yet", "right"
COLOURS = {UNTRIED: "#767676", NOT_YET: "#b35900", RIGHT: "#006d77"}
Judge = Callable[..., "Reply"]
_EXERCISES: dict[str, Judge] = {}
STOPS = (Exception, SystemExit)  # how a reader's function may end
ALL_DIGITS = 1e-5  # how far off a number may be that was not rounded, but computed in another order, or in float32
TWO_DIGITS = 0.0055  # how far off a number may be that was rounded to two digits


@dataclass(frozen=True)
class Reply:
    """What a check says.

    Attributes
    ----------
    state : {"untried", "not yet", "right"}
    words : str
        Why it is not right yet, or what the right answer means.
    """

    state: str
    words: str

    def __repr__(self) -> str:
        """One line: the state, and the words."""
        return f"{self.state}: {self.words}"

    def _repr_html_(self) -> str:
        style = f"border-left: 4px solid {COLOURS[self.state]}; padding: 0.3em 0.8em; max-width: 46em"
        return f'<div style="{style}"><b>{self.state}</b>: {html.escape(self.words)}</div>'


class NotYetError(Exception):
    """Raised while an answer is judged: it is not right, and this is why."""


def not_yet(words: str) -> NoReturn:
    """End the judging of an answer with "not yet, because ..."."""
    raise NotYetError(words)


def right(words: str) -> Reply:
    """The reply to a right answer, with what it means."""
    return Reply(RIGHT, words)


def exercise(number: str) -> Callable[[Judge], Judge]:
    """Register what judges an exercise: `@exercise("3.1")` above a function of the answers and what is given."""

    def register(judge: Judge) -> Judge:
        _EXERCISES[number] = judge
        return judge

    return register


def exercises(lesson: int) -> dict[str, Judge]:
    """The exercises of a lesson by number, such as "3.1"."""
    name = f"fracturelib.checks.lesson_{lesson:02d}"
    try:
        import_module(name)  # a lesson loads its own checks only
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
    return {number: judge for number, judge in _EXERCISES.items() if number.split(".")[0] == str(lesson)}


def check(number: str, *answers: Any, **given: Any) -> Reply:
    """Judge an answer; it never raises, and never gives the answer away.

    Parameters
    ----------
    number : str
        Of the exercise, such as "3.1".
    answers : anything
        As the exercise asks for them; `...` is an answer that was not tried.
    given : anything
        What the exercise is about, such as the reader's own table of scores.

    Returns
    -------
    Reply
        Untried; not yet, because ...; or right, and what it means.

    Examples
    --------
    >>> from fracturelib.checks import check
    >>> check("0.2", ...)
    untried: replace the three dots of exercise 0.2 by your answer, and run the cell again
    """
    lesson = re.fullmatch(r"(\d{1,2})\.\d{1,2}", str(number))
    judge = exercises(int(lesson[1])).get(str(number)) if lesson else None
    if judge is None:
        return Reply(NOT_YET, f"there is no exercise {str(number)[:20]!r}; expected a number such as 3.1")
    if not answers or any(answer is ... for answer in answers):
        return Reply(UNTRIED, f"replace the three dots of exercise {number} by your answer, and run the cell again")
    try:
        return judge(*answers, **given)
    except NotYetError as reply:
        return Reply(NOT_YET, str(reply))
    except UntriedError:
        return Reply(UNTRIED, f"write the function of exercise {number}, and run the cell again")
    except STOPS as error:  # whatever a reader hands in
        return Reply(NOT_YET, f"this answer could not be read ({_in_short(error)})")


def _in_short(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {str(error)[:120]}"
    except Exception:  # an error that cannot say what it is
        return type(error).__name__


class UntriedError(Exception):
    """A function that was handed in as it stood in the stub: it returns nothing."""


def number(answer: object, what: str = "the answer") -> float:
    """A finite number from whatever holds one: int, float, NumPy, PyTorch, or an array of one element."""
    if isinstance(answer, bool | np.bool_):
        not_yet(f"{what} is {answer}; a number is expected")
    if isinstance(answer, str):
        not_yet(f"{what} is text; a number is expected, without quotes")
    if callable(answer):
        not_yet(f"{what} is a function; a number is expected: call it with ( )")
    if isinstance(answer, complex) or (not np.isscalar(answer) and not _holds_one(answer)):
        not_yet(f"{what} is a {type(answer).__name__}; one number is expected")
    array = np.asarray(answer.detach() if hasattr(answer, "detach") else answer).reshape(-1)
    if array.dtype.kind not in "iufO":
        not_yet(f"{what} holds no number, but {array[0]!r}")
    value = float(array[0])
    if not math.isfinite(value):
        not_yet(f"{what} is {value}; a finite number is expected")
    return value


def _holds_one(answer: object) -> bool:
    """Whether an array, a table or a tensor has one element."""
    count = getattr(answer, "numel", None) or getattr(answer, "size", None)
    return (count() if callable(count) else count) == 1


def proportion(answer: object, what: str = "the answer") -> float:
    """A number from 0 to 1; 50 for 0.5 gets a word about units."""
    value = number(answer, what)
    if 1 < value <= 100:
        not_yet(f"{what} is above 1; a proportion runs from 0 to 1, so write 50 % as 0.5")
    if not 0 <= value <= 1:
        not_yet(f"{what} lies outside 0 to 1, where a proportion lies")
    return value


def near(value: float, truth: float, tolerance: float = 0.006) -> bool:
    """Whether two numbers agree; the tolerance lets an answer pass that was rounded to two digits."""
    return math.isfinite(truth) and abs(value - truth) <= tolerance


def judge_number(
    value: float,
    truth: float,
    meaning: str,
    wrongs: Sequence[tuple[float, str]] = (),
    *,
    tolerance: float = 0.006,
    otherwise: str = "that is another number; take the definition once more, step by step",
) -> Reply:
    """Right within the tolerance; else the words for the usual wrong answer that it is, else `otherwise`.

    A usual wrong answer may lie within the tolerance, too. Who hands in all digits of it has not rounded the right one.
    """
    close = near(value, truth, tolerance)
    rounded = near(value, round(value, 2), 1e-9) or near(value, truth, ALL_DIGITS)
    if close and (rounded or not any(near(value, wrong, ALL_DIGITS) for wrong, _ in wrongs)):
        return right(meaning)
    for wrong, words in wrongs:
        if near(value, wrong, ALL_DIGITS if close else tolerance):
            not_yet(words)
    not_yet(otherwise)


def which_interval(ends: Sequence[float], correct: tuple[float, float], wrong: tuple[float, float]) -> bool | None:
    """True if two ends are the correct interval, False if the wrong one, None if neither.

    To two digits first, and then as far off as another bootstrap may be.
    """
    for allowed in (TWO_DIGITS, max(2 * TWO_DIGITS, 0.12 * (correct[1] - correct[0]))):
        for interval in (correct, wrong):
            if all(near(end, limit, allowed) for end, limit in zip(ends, interval, strict=True)):
                return interval is correct
    return None


def sides(low: float, high: float, line: float = 0.0) -> set[str]:
    """Where an interval may be said to lie: "below", "above" or "across" the line, on the edge in two of these ways.

    Two bootstraps differ a little. An interval without a width, or none, shows nothing.
    """
    if not high > low:
        return {"across"}
    slack = 0.05 * (high - low)
    lies = {"below": high < line + slack, "above": low > line - slack, "across": low - slack < line < high + slack}
    return {side for side, so in lies.items() if so}


def choice(answer: object, allowed: Collection[str], words: Mapping[str, str]) -> str:
    """The letter or word that was chosen, in any case, if it is allowed; `words` has those for each that is not."""
    said = answer.strip(" '\"().").casefold() if isinstance(answer, str) else ""
    offered = {option.casefold(): option for option in sorted({*allowed, *words})}
    if said not in offered:
        not_yet(f"choose one of {', '.join(map(repr, offered.values()))}, in quotes")
    if offered[said] not in allowed:
        not_yet(words[offered[said]])
    return offered[said]


def judge_choice(answer: object, correct: str, meaning: str, wrongs: Mapping[str, str]) -> Reply:
    """One letter or word among those offered, in any case."""
    choice(answer, {correct}, wrongs)
    return right(meaning)


def judge_function(
    function: object,
    cases: Mapping[str, tuple[Any, ...]],
    truth: Callable[..., Any],
    meaning: str,
    wrongs: Sequence[tuple[Callable[..., Any], str]] = (),
    *,
    tolerance: float = TWO_DIGITS,
) -> Reply:
    """Try a function on hidden inputs against the truth; a usual wrong function is known by what it returns.

    Parameters
    ----------
    function : callable
    cases : dict
        What is special about a case, such as "a table with ties" -> the arguments.
    truth : callable
    meaning : str
    wrongs : sequence of (callable, words)
        The first that returns what the reader's returned, in every case, explains it.
    tolerance : float
    """
    results = outcomes(function, ((f"on {name}", *arguments) for name, arguments in cases.items()))
    found = dict(zip(cases, results, strict=True))
    expected = {name: truth(*copy.deepcopy(arguments)) for name, arguments in cases.items()}
    differing = [name for name in cases if not same(found[name], expected[name], tolerance)]
    if not differing:
        return right(meaning)
    for wrong, words in wrongs:
        if all(same(found[name], wrong(*copy.deepcopy(cases[name])), tolerance) for name in cases):
            not_yet(words)
    if found[differing[0]] is None:
        not_yet(f"on {differing[0]} your function returns nothing")
    not_yet(f"it returns something else on {differing[0]}")


def outcomes(function: object, calls: Iterable[tuple[Any, ...]], expected: str = "a function") -> list[Any]:
    """What a reader's function returns for each (where, *arguments); untried if it never returns anything."""
    if not callable(function):
        not_yet(f"{expected} is expected; this is a {type(function).__name__}")
    results = [_called(function, where, *arguments) for where, *arguments in calls]
    if all(result is None or result is ... for result in results):
        raise UntriedError
    return results


def _called(function: Callable[..., Any], where: str, *arguments: Any) -> Any:
    """What a reader's function returns; words if it stops, or changes what it is given."""
    passed = copy.deepcopy(arguments)
    try:
        result = function(*passed)
    except STOPS as error:
        not_yet(f"{where} your function stopped ({_in_short(error)})")
    known = (pair for pair in zip(passed, arguments, strict=True) if not isinstance(pair[0], np.random.Generator))
    if not all(same(now, before, 0.0) for now, before in known):
        not_yet(f"{where} your function changes what it is given; work on a copy")
    return result


Unlisted = str | Mapping | pd.DataFrame  # what runs through something else than its values


def same(found: object, expected: object, tolerance: float) -> bool:
    """Whether two results agree: numbers within the tolerance, sequences by element, tables and sets as they are."""
    if isinstance(expected, pd.DataFrame | pd.Series):
        return isinstance(found, type(expected)) and found.equals(expected)
    if isinstance(expected, set | frozenset):
        try:
            return isinstance(found, Iterable) and not isinstance(found, Unlisted) and set(found) == expected
        except TypeError:  # lists inside of the list
            return False
    measurable = np.isscalar(expected) or hasattr(expected, "__len__")
    if isinstance(expected, str | bool | type(None)) or not measurable:
        try:
            return bool(found == expected)
        except Exception:  # an object whose comparison is no truth value
            return found is expected
    try:
        a, b = np.asarray(found, float), np.asarray(expected, float)
    except (TypeError, ValueError):
        try:
            return list(found) == list(expected)  # type: ignore[call-overload]
        except Exception:  # no sequences
            return False
    if a.size == b.size == 1:
        a = a.reshape(b.shape)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True))
