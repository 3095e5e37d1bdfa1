"""Memory that is kept for the next image instead of being given back and fetched again."""

import ctypes
import functools
import os
import sys

# Of mallopt, in <malloc.h> of the GNU C library.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3


@functools.cache
def keep_freed_memory() -> bool:
    """Let the C library keep what a network frees, for the rest of the process; whether it was told so.

    The outputs of a layer are tens of megabytes. The GNU C library fetches each block of such a size from the system
    and gives it back when it is freed, so that every layer of every batch pays for fresh pages: up to half of all time
    on some machines. Kept, they cost more memory, nearly half in a training; in scoring, where few images are in work
    at once, none. It is for a process of one's own: the command line and the course call it, the library never does.

    Where another allocator is at work, nothing is done; nor where the environment sets the C library's options
    (`MALLOC_...` or `GLIBC_TUNABLES`), so that `MALLOC_ARENA_MAX=8 fracture train ...` is slower and smaller.
    """
    if not sys.platform.startswith("linux") or any(k.startswith(("MALLOC_", "GLIBC_TUNABLES")) for k in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    options = {MMAP_THRESHOLD: 1 << 30, TRIM_THRESHOLD: (1 << 31) - 1, TOP_PAD: 64 << 20}
    return all([mallopt(option, value) for option, value in options.items()])  # noqa: C419, each is set
