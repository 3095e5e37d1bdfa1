"""Processes that do not outlive the one that started them, and that leave Ctrl-C to it."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

INTERVAL = 0.2  # seconds between two looks at the parent


def end_with_parent() -> None:
    """End this process as soon as the one that started it has ended, even if that was killed and could say nothing."""
    parent, number = multiprocessing.parent_process(), os.getppid()

    def watch() -> None:
        if parent is not None:
            wait([parent.sentinel])
        else:
            while os.getppid() == number:  # an orphan is given to another parent
                time.sleep(INTERVAL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with parent").start()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Processes that are started within never get SIGINT; this one gets it at the end of the block.

    Ctrl-C in a terminal goes to all processes of a command, and each would print where it was.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
