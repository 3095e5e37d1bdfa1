"""How options are read: each number within its bounds, each option once, each default said as it is."""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from fracturelib._io.files import printable

SEEDS = (0, 2**32 - 1)  # what every generator of random numbers takes


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the example's lines, and names the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        # By identity: a default of 0 says something, and equals False.
        if action.default is None or action.default is False or action.default in ("", [], argparse.SUPPRESS):
            return action.help
        several = isinstance(action.default, list)
        return f"{action.help} (default: {' '.join(action.default) if several else action.default})"


class Once(argparse._StoreAction):
    """An option's value; a second one is a mistake, not the better one."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        given = vars(namespace).setdefault("given", set())
        if option is not None and self.dest in given:
            raise argparse.ArgumentError(self, "is given twice; expected once")
        given.add(self.dest)
        super().__call__(parser, namespace, values, option)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.register("action", None, Once)
        self.register("action", "store", Once)

    def error(self, message: str) -> NoReturn:
        said = re.sub(r"^argument (\S+): is ", r"\1 is ", printable(message))
        self.exit(2, f"{self.prog}: error: {said[:1000]} (see {self.prog} --help)\n")


def path_of(what: str) -> Callable[[str], Path]:
    """The type of an option that takes a path; `what` it leads to. An empty one would mean the current folder."""

    def parse(text: str) -> Path:
        if not text:
            raise argparse.ArgumentTypeError(f"is empty; expected {what}")
        return Path(text)

    return parse


def whole(bounds: Sequence[float]) -> Callable[[str], int]:
    """The type of an option that takes a whole number within `bounds`, the least and the most."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"is {text[:40]!r}; expected a whole number") from None
        return _within(value, text, bounds)

    return parse


def real(bounds: Sequence[float]) -> Callable[[str], float]:
    """The type of an option that takes a number within `bounds`, the least and the most."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"is {text[:40]!r}; expected a number") from None
        return _within(value, text, bounds)

    return parse


def _within(value: Any, text: str, bounds: Sequence[float]) -> Any:
    least, most = bounds
    if value < least:
        raise argparse.ArgumentTypeError(f"is {text[:40]}; expected at least {least:.10g}")
    if not value <= most:
        raise argparse.ArgumentTypeError(f"is {text[:40]}; expected a number from {least:.10g} to {most:.10g}")
    return value
