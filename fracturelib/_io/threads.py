"""Work shared out among threads, with a bar, that ends at once when it is interrupted."""

import os
from _thread import start_new_thread
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], *, desc: str = "", unit: str = "", progress: bool = False
) -> Iterator[Result]:
    """What a function makes of each item, in their order, on as many threads as there are cores.

    What was not begun when the caller stops, or a call fails, is not begun any more.
    """
    # Not concurrent.futures, and not threading: Ctrl-C at a bad moment leaves one of their locks held, and the threads
    # then wait for it without end. What is used here has no lock that an interrupt could leave so.
    tasks: SimpleQueue[tuple[int, Item]] = SimpleQueue()
    made: SimpleQueue[tuple[int, Result | None, BaseException | None]] = SimpleQueue()
    ended: SimpleQueue[None] = SimpleQueue()
    for task in enumerate(items):
        tasks.put(task)

    def work() -> None:
        try:
            while True:
                i, item = tasks.get_nowait()
                try:
                    made.put((i, function(item), None))
                except BaseException as error:
                    made.put((i, None, error))
        except Empty:
            ended.put(None)

    threads = 0
    try:
        for _ in range(min(os.cpu_count() or 1, len(items))):
            start_new_thread(work, ())
            threads += 1
        yield from tqdm(_in_order(made, len(items)), total=len(items), desc=desc, unit=unit, disable=not progress)
    finally:
        try:
            while True:
                tasks.get_nowait()
        except Empty:
            pass
        for _ in range(threads):
            ended.get()


def _in_order(made: "SimpleQueue[tuple[int, Result | None, BaseException | None]]", number: int) -> Iterator[Result]:
    early: dict[int, tuple[Result | None, BaseException | None]] = {}
    for i in range(number):
        while i not in early:
            which, result, error = made.get()
            early[which] = result, error
        result, error = early.pop(i)
        if error is not None:
            raise error
        yield result  # type: ignore[misc]
