"""How long each lesson honestly takes, and whether it keeps to the limits; `--write` puts the minutes into its header.

Reading at 180 words a minute, code at 12 lines a minute, 1.5 minutes for a figure, each exercise at its own estimate,
and the seconds of computing that `tools/notebooks.py refresh` measured (notebooks/seconds.json). A reader skips what is
folded, and one of the two kinds of boxes, the one for doctors or the one for engineers: the longer kind is counted.
"""

import argparse
import ast
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
WORDS, LINES, FIGURE = 180, 12, 1.5  # a minute, a minute, minutes
LIMITS = {"cells": 35, "longest": 15, "names": 12, "minutes": 45}
EXERCISE = re.compile(r"\*\*Exercise (\d+\.\d+)\*\* · [●○]{3} · (\d+) min")
BOX = re.compile(r"^> \*\*For (doctors|engineers)", re.MULTILINE)


@dataclass(frozen=True)
class Lesson:
    """What a lesson asks of its reader."""

    number: str
    cells: int
    longest: int  # lines of the longest code cell
    names: tuple[str, ...]  # of the library, not met in an earlier lesson
    words: int
    lines: int
    figures: int
    exercises: dict[str, int]  # number -> minutes
    seconds: float

    @property
    def minutes(self) -> float:
        reading = self.words / WORDS + self.lines / LINES + self.figures * FIGURE
        return reading + sum(self.exercises.values()) + self.seconds / 60

    def over(self) -> list[str]:
        """Which limits it breaks."""
        values = {"cells": self.cells, "longest": self.longest, "names": len(self.names), "minutes": self.minutes}
        return [f"{name} {values[name]:.0f} > {most}" for name, most in LIMITS.items() if values[name] > most]


def words_read(text: str) -> int:
    """Words outside of folds, code and the shorter kind of boxes."""
    text = re.sub(r"<details.*?</details>", "", text, flags=re.DOTALL)
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    boxes = {"doctors": 0, "engineers": 0}
    kept = []
    for paragraph in re.split(r"\n\s*\n", text):
        found = BOX.search(paragraph)
        if found:
            boxes[found[1]] += len(paragraph.split())
        else:
            kept.append(paragraph)
    return sum(len(p.split()) for p in kept) + max(boxes.values())


def library_names(source: str) -> list[str]:
    """What a cell imports from the library."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a line magic
        return []
    return [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fracturelib")
        for alias in node.names
    ]


def code_lines(source: str) -> int:
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in source.splitlines())


def measure(folder: Path = NOTEBOOKS) -> list[Lesson]:
    """All lessons in their order."""
    stored = folder / "seconds.json"
    seconds = json.loads(stored.read_text()) if stored.is_file() else {}
    met = {"check"}
    lessons = []
    for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        code = [c for c in notebook.cells if c.cell_type == "code"]
        text = "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
        read = [c for c in code if "exercise" not in c.metadata.get("tags", [])]
        new = tuple(dict.fromkeys(n for c in code for n in library_names(c.source) if n not in met))
        met.update(new)
        drawn = sum("image/png" in o.get("data", {}) for c in code for o in c.outputs)
        lessons.append(
            Lesson(
                number=path.stem,
                cells=len(notebook.cells),
                longest=max(len(c.source.splitlines()) for c in read),
                names=new,
                words=words_read(text),
                lines=sum(code_lines(c.source) for c in read),
                figures=drawn,
                exercises={number: int(minutes) for number, minutes in EXERCISE.findall(text)},
                seconds=seconds.get(path.stem, 0.0),
            )
        )
    return lessons


def stated(notebook: Path) -> int | None:
    """The minutes in the header of a lesson."""
    found = re.search(r"\| \*\*Minutes\*\* \| (\d+)", nbformat.read(notebook, as_version=4).cells[0].source)
    return int(found[1]) if found else None


def write(lesson: Lesson, folder: Path = NOTEBOOKS) -> None:
    path = folder / f"{lesson.number}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    first = "".join(notebook["cells"][0]["source"])
    computing = max(1, round(lesson.seconds / 60))
    said = f"| **Minutes** | {lesson.minutes:.0f}, of them {computing} of computing |"
    notebook["cells"][0]["source"] = re.sub(r"\| \*\*Minutes\*\* \|[^\n]*\|", said, first)
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def write_map(lessons: list[Lesson], folder: Path = NOTEBOOKS) -> None:
    """The minutes in the table of lesson 00."""
    path = folder / "00_start_here.ipynb"
    minutes = {lesson.number[:2]: f"{lesson.minutes:.0f}" for lesson in lessons}
    text = path.read_text(encoding="utf-8")
    found = re.sub(r"(\| \[(\d\d) · [^\n|]*\|[^\n|]*\| )\d+( \|)", lambda m: m[1] + minutes[m[2]] + m[3], text)
    path.write_text(found, encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    if args.write:
        write_map(measure())
    print(f"{'lesson':28} cells longest names words lines figures exercises seconds minutes")
    for lesson in measure():
        if args.write:
            write(lesson)
        print(
            f"{lesson.number:28} {lesson.cells:5} {lesson.longest:7} {len(lesson.names):5} {lesson.words:5} "
            f"{lesson.lines:5} {lesson.figures:7} {len(lesson.exercises):9} {lesson.seconds:7.0f} {lesson.minutes:7.0f}"
            f"  {'; '.join(lesson.over())}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
