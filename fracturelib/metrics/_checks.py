"""Arguments that many functions share, refused in one line where they are none."""

import operator
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fracturelib._io.files import InputError

# Of a beta, a cost or a count: beyond it squares and products of them are no longer finite, or mean nothing.
MOST = 1e9


def number(name: str, value: Any, expected: str = "a number") -> float:
    """A number as float; infinity is one, since a rule may predict nobody, but NaN, text, bool and arrays are none."""
    if isinstance(value, Real) and not isinstance(value, bool):
        found = _as_float(value)
    else:
        array = _as_array(value)
        found = float(array) if array is not None and not array.ndim and array.dtype.kind in "fiu" else float("nan")
    if np.isnan(found):
        raise InputError(f"{name} is {_shown(value)}; expected {expected}")
    return found


def number_within(name: str, value: Any, least: float, most: float) -> float:
    """A number in least..most as float."""
    expected = f"a number in {least:g}..{most:g}"
    found = number(name, value, expected)
    if not least <= found <= most:
        raise InputError(f"{name} is {_shown(value)}; expected {expected}")
    return found


def require_level(level: Any) -> None:
    """Raise InputError if a coverage is not between 0 and 1."""
    expected = "a number between 0 and 1"
    if not 0 < number("level", level, expected) < 1:
        raise InputError(f"level is {_shown(level)}; expected {expected}")


def require_resamples(n: Any, *, least: int = 1) -> None:
    """Raise InputError if `n` is no whole number of resamples; 0 of them, where allowed, ask for no interval."""
    expected = "a whole number, at least one resample" + (", or 0 for no interval" if not least else "")
    try:
        whole = None if isinstance(n, bool) else operator.index(n)
    except TypeError:
        whole = None
    if whole is None or whole < least:
        raise InputError(f"n is {_shown(n)}; expected {expected}")


def require_bootstrap(n: Any, level: Any, *, least: int = 1) -> None:
    """As `require_resamples` and `require_level`."""
    require_resamples(n, least=least)
    require_level(level)


def require_counts(successes: Any, n: Any) -> None:
    """Raise InputError if these are not whole numbers, of which the first is not above the second."""
    for name, value in (("successes", successes), ("n", n)):
        found = number(name, value, "a whole number")
        if found != np.floor(found) or np.isinf(found):
            raise InputError(f"{name} is {_shown(value)}; expected a whole number")
    if not 0 <= successes <= n:
        raise InputError(f"successes is {successes} of n {n}; expected 0 <= successes <= n")


def _in_unit(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """Shares as float64, which lie in 0..1."""
    try:
        values = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{name} has values that are no numbers; expected proportions") from None
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"{name} has values outside 0..1; expected proportions")
    return values


def _as_float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("nan")


def _as_array(value: Any) -> Any:
    try:
        return np.asarray(value)
    except (TypeError, ValueError):
        return None


def _shown(value: Any) -> str:
    """A value in one line: text in quotes, numbers as they are, and of what is long only what it is."""
    text = repr(value) if isinstance(value, str | bytes) else str(value)
    return text if len(text) <= 60 and text.isprintable() else f"a value of type {type(value).__name__}"
