"""Work shared out among threads, with a bar, that ends at once when it is interrupted."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm.auto import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], *, desc: str, unit: str, progress: bool
) -> Iterator[Result]:
    """What a function makes of each item, in their order, on as many threads as there are cores.

    What was not begun when the caller stops, or a call fails, is not begun any more.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        made = pool.map(function, items)
        try:
            yield from tqdm(made, total=len(items), desc=desc, unit=unit, disable=not progress)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
