"""Exercises that answer back: untried; not yet, and why; or right, and what that means.

`check("3.1", answer)` is all that a lesson needs. The truth is computed here, one module for each lesson, from the data
that the reader has, and no reply gives it away.
"""

from fracturelib.checks.answers import check

__all__ = ["check"]
