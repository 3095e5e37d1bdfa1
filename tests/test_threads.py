"""Work in threads: in order, no more than is wanted, and never waited for in vain."""

import sys
import time
from types import FrameType
from typing import Any

import pytest

from fracturelib._io.threads import in_threads


def test_results_come_in_order() -> None:
    def late(i: int) -> int:
        time.sleep(0.002 * (i % 3 == 0))
        return -i

    assert list(in_threads(late, range(40))) == [-i for i in range(40)]
    assert list(in_threads(late, [])) == []


def test_the_first_failure_in_order_is_raised_and_nothing_is_begun_after_it() -> None:
    begun: list[int] = []

    def some(i: int) -> int:
        begun.append(i)
        if i in (3, 4):
            raise ValueError(f"number {i}")
        time.sleep(0.001)
        return i

    found = in_threads(some, range(10_000))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="number 3"):
        next(found)
    assert len(begun) < 1000
    early = in_threads(some, range(5, 10_000))
    assert next(early) == 5
    early.close()
    many = len(begun)
    time.sleep(0.05)
    assert many == len(begun) < 2000


class Interrupted:
    """Raises KeyboardInterrupt in this thread at the n-th moment at which Python looks for signals, and at no other."""

    def __init__(self, moment: int) -> None:
        self.left = moment

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            sys.settrace(None)
            raise KeyboardInterrupt
        return self


def interrupted_at(moment: int) -> bool:
    """Whether work in threads was still under way at that moment; it ends in any case, or the test takes too long."""
    tracer = Interrupted(moment)
    try:
        sys.settrace(tracer)
        list(in_threads(str, range(6)))
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return tracer.left <= 0


@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # where it falls into a `__del__`
def test_an_interrupt_at_any_moment_ends_it() -> None:
    """`concurrent.futures` waits without end if Ctrl-C comes while it holds one of its own locks."""
    moment = 1
    while interrupted_at(moment):
        moment += 1
    assert moment > 100
