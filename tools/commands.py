"""Write docs/commands.md from the help of every command: `python tools/commands.py [OUT]`."""

import argparse
import os
import sys
from pathlib import Path

COLUMNS = 100
HEAD = """# The commands

*Written by `make docs` from `--help`; change the text in `fracturelib/cli.py`.*

For education and research, never for clinical use.

A mistake gets one line that names it, exit code 2, and leaves nothing half-written. No command replaces a file that it
did not make. What cannot be read is named, and never stops the rest. `fracture evaluate` judges anybody's scores: a
table with the columns file, label and score, and preferably group (the patient). One network can be trained by several
processes, on one machine or many: `torchrun --nproc-per-node=2 -m fracturelib.cli train ...`.
"""


def commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """The parser of each command that can be run, in the order of the help."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not below:
        return [parser]
    return [leaf for action in below for child in action.choices.values() for leaf in commands(child)]


def page() -> str:
    """The whole page, at a fixed width."""
    os.environ["COLUMNS"] = str(COLUMNS)
    os.environ["NO_COLOR"] = "1"
    from fracturelib.cli import parser

    root = parser()
    names = [c.prog for c in commands(root)]
    index = "\n".join(f"- [`{name}`](#{name.replace(' ', '-')})" for name in names)
    parts = [HEAD, index + "\n", *(section(c) for c in commands(root))]
    return "\n".join(parts)


def section(command: argparse.ArgumentParser) -> str:
    """A heading, and the help as it is printed."""
    shown = "\n".join(line.rstrip() for line in command.format_help().strip().splitlines())
    return f"## `{command.prog}`\n\n```text\n{shown}\n```\n"


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "docs" / "commands.md"
    out.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
