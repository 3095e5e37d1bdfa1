"""The reader's copies agree with the lessons and lose nothing, and every rule for lessons notices a planted fault.

What holds for every lesson as it is committed is called `test_every_lesson_...`.
"""

import builtins
import copy
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from benchmarks import minutes
from fracturelib.checks import answers, check
from fracturelib.checks.answers import Reply, not_yet, right
from tests import rules
from tests.checks.conftest import Case, judged
from tests.conftest import ROOT
from tools.lessons import make_copies, pages, put_aside, readers_copy, stub

NOTEBOOKS = ROOT / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
every_page = pytest.mark.parametrize("path", pages(NOTEBOOKS), ids=[p.stem for p in pages(NOTEBOOKS)])
every_lesson = pytest.mark.parametrize("path", LESSONS, ids=[p.stem for p in LESSONS])


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


# Stubs


SOLVED = '''import numpy as np

### BEGIN SOLUTION
def sens(y, score, threshold=0.5):
    """A score at the threshold counts as positive."""
    helper = score >= threshold
    return helper[y == 1].mean()


found, missed = sens(1, 2), [x for x in "ab"]
### END SOLUTION
check("3.1", sens, missed)'''

STUB = '''import numpy as np

def sens(y, score, threshold=0.5):
    """A score at the threshold counts as positive."""
    ...  # your code

missed = ...  # your answer
check("3.1", sens, missed)'''


def test_a_stub_has_heads_and_dots_for_what_is_checked_and_nothing_else() -> None:
    assert stub(SOLVED) == STUB
    assert rules.leaking_stub(SOLVED, STUB) == []
    assert stub("x = 1\ncheck") == "x = 1\ncheck"


def test_a_guess_that_a_later_cell_compares_is_asked_for() -> None:
    assert stub("### BEGIN SOLUTION\nguess = 0.8\n### END SOLUTION") == "guess = ...  # your guess"


def test_a_stub_may_be_written_out() -> None:
    source = (
        "### BEGIN SOLUTION\n#: total = ...  # of all\n#: mean = total / 2\ntotal = 3 + 4\n### END SOLUTION\nshow(mean)"
    )
    assert stub(source) == "total = ...  # of all\nmean = total / 2\nshow(mean)"
    assert rules.leaking_stub(source, stub(source)) == []


@pytest.mark.parametrize(
    "source",
    [
        "x = 1\n### END SOLUTION",
        "### BEGIN SOLUTION\nx = 1",
        "### END SOLUTION\n### BEGIN SOLUTION",
        "### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n### BEGIN SOLUTION\ny = 1\n### END SOLUTION",
    ],
)
def test_a_mark_that_is_missing_stops_the_copying(source: str) -> None:
    with pytest.raises(ValueError, match="expected one '### BEGIN SOLUTION'"):
        stub(source)


@pytest.mark.parametrize(
    ("original", "leaking", "fault"),
    [
        (SOLVED, SOLVED, "a mark is left"),
        (SOLVED, SOLVED.replace("### BEGIN SOLUTION\n", "").replace("### END SOLUTION\n", ""), "holds the solution"),
        (SOLVED, STUB.replace("...  # your code", "return 1"), "it holds 'def sens"),
        (SOLVED, STUB.replace("missed = ...", 'missed = [x for x in "ab"]'), "it holds"),
        (SOLVED, STUB.replace("import numpy", "import scipy"), "outside of the marks"),
        (SOLVED, STUB.replace(", missed)", ")"), "outside of the marks"),
        (SOLVED.replace("### END SOLUTION\n", ""), STUB, "a mark of its solution is missing"),
        (STUB, STUB, "no solution is marked"),
        ("x = 1", "x = 2", "it differs"),
        ("### BEGIN SOLUTION\nx = 1\n### END SOLUTION", "", "it leaves nothing to do"),
        ("### BEGIN SOLUTION\n#: x = 1\nx = 1\n### END SOLUTION", "x = 1", "it leaves nothing to do"),
    ],
)
def test_a_stub_with_its_solution_is_noticed(original: str, leaking: str, fault: str) -> None:
    assert fault in "; ".join(rules.leaking_stub(original, leaking))


class Anything(dict[str, Any]):
    """The names of the cells above, without running them: each is a stand-in."""

    def __missing__(self, name: str) -> object:
        if hasattr(builtins, name):
            raise KeyError(name)
        return MagicMock(name=name)


def replies(source: str) -> list[Reply]:
    """What `check` says while a cell runs without those above it."""
    said: list[Reply] = []

    def noted(*given: Any, **named: Any) -> Reply:
        said.append(check(*given, **named))
        return said[-1]

    exec(compile(source, "stub", "exec"), Anything(check=noted, np=np, pd=pd))
    return said


@every_page
def test_every_lesson_and_its_copy_agree(path: Path) -> None:
    original = read(path)
    copied = readers_copy(original)
    assert rules.differing_copy(original, copied) == []
    nbformat.validate(copied)


@every_page
def test_every_lesson_has_whole_exercises(path: Path) -> None:
    assert rules.faulty_exercises(read(path)) == []


@every_lesson
def test_every_lesson_answers_to_its_exercises(path: Path) -> None:
    stated = set(rules.STATEMENT.findall(rules.prose(read(path))))
    assert stated == set(answers.exercises(int(path.stem[:2])))
    assert path.stem.startswith("00") or 3 <= len(stated) <= 5


@every_page
def test_every_lesson_has_stubs_that_run_untouched(path: Path) -> None:
    """From the mark on: what stands above it is not the reader's, and runs with the lesson."""
    for cell in rules.code_cells(read(path)):
        if rules.CHECKED.search(cell.source):
            untouched = stub(cell.source[cell.source.index(rules.BEGIN) :])
            said = replies(untouched)
            assert said and {reply.state for reply in said} == {"untried"}, f"{said}\n{untouched}"


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("FRACTURE_LONG"), reason="takes as long as all lessons: FRACTURE_LONG=1 runs it")
@every_page
def test_every_lesson_runs_untouched(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's copy from top to bottom, with nothing typed: no error, and each exercise untried."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("FRACTURE_SHIPPED", "1")
    monkeypatch.setenv("FRACTURE_RUNS", str(tmp_path / "runs"))
    copied = readers_copy(read(path))
    NotebookClient(copied, timeout=1800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in rules.code_cells(copied):
        if rules.CHECKED.search(cell.source):
            assert "untried: " in str(cell.outputs), cell.source


# Copies


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two lessons and a deeper page."""
    folder = tmp_path / "notebooks"
    (folder / "deeper").mkdir(parents=True)
    for name in ("00_start.ipynb", "01_data.ipynb", "deeper/more.ipynb"):
        cells = [new_markdown_cell("# A lesson"), new_code_cell(SOLVED, outputs=[new_output("stream", text="solved")])]
        nbformat.write(new_notebook(cells=cells), folder / name)
    (folder / "notes.ipynb").write_text("no lesson")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_copies_are_made_where_missing_and_never_overwritten(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "lessons"
    assert [p.relative_to(target).as_posix() for p in make_copies(source, target)] == [
        "00_start.ipynb", "01_data.ipynb", "deeper/more.ipynb",
    ]  # fmt: skip
    assert "solved" not in (target / "01_data.ipynb").read_text() and read(target / "deeper" / "more.ipynb")
    typed = read(target / "01_data.ipynb")
    typed.cells[1].source = typed.cells[1].source.replace("missed = ...", "missed = 3")
    nbformat.write(typed, target / "01_data.ipynb")
    (target / "deeper" / "more.ipynb").unlink()
    (target / "mine.ipynb").write_text("a notebook of one's own")
    before = contents(target)
    lessons = read(source / "01_data.ipynb")
    lessons.cells[0].source = "# A lesson that was improved"
    nbformat.write(lessons, source / "01_data.ipynb")
    assert [p.name for p in make_copies(source, target)] == ["more.ipynb"]
    assert make_copies(source, target) == []
    assert {name: data for name, data in contents(target).items() if name != "deeper/more.ipynb"} == before


def test_a_copy_that_was_cut_off_is_made_again(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "lessons"
    target.mkdir()
    (target / ".00_start.ipynb.part").write_text('{"cells": [')
    make_copies(source, target)
    assert read(target / "00_start.ipynb") and not list(target.rglob("*.part"))


def test_what_is_in_the_way_is_never_overwritten(source: Path, tmp_path: Path) -> None:
    target, precious = tmp_path / "lessons", tmp_path / "precious"
    target.mkdir()
    precious.write_text("mine")
    (target / "00_start.ipynb").symlink_to(tmp_path / "stick" / "answers.ipynb")  # not plugged in
    (target / ".01_data.ipynb.part").symlink_to(precious)
    assert [p.name for p in make_copies(source, target)] == ["01_data.ipynb", "more.ipynb"]
    assert (target / "00_start.ipynb").is_symlink() and precious.read_text() == "mine"
    (tmp_path / "lessons-old-1").symlink_to(tmp_path / "nowhere")
    assert put_aside(target) == tmp_path / "lessons-old-2" and (tmp_path / "lessons-old-1").is_symlink()
    target.symlink_to(tmp_path / "nowhere")
    assert put_aside(target) == tmp_path / "lessons-old-3" and not target.is_symlink()


def test_a_folder_that_cannot_be_one_is_an_error_of_one_line(tmp_path: Path) -> None:
    def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "tools" / "lessons.py"), str(folder), *options]
        return subprocess.run(command, capture_output=True, text=True)

    (tmp_path / "lessons").write_text("a file")
    failed = run(tmp_path / "lessons")
    assert failed.returncode == 1 and failed.stderr.startswith("lessons: ") and failed.stderr.count("\n") == 1
    assert (tmp_path / "lessons").read_text() == "a file"
    for folder in (NOTEBOOKS, ROOT):
        refused = run(folder, "--fresh")
        assert refused.returncode == 2 and "holds the lessons themselves" in refused.stderr and NOTEBOOKS.is_dir()


def test_to_begin_anew_loses_nothing(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "lessons"
    assert put_aside(target) is None
    kept = []
    for number in (1, 2, 3):
        make_copies(source, target)
        (target / "answers.txt").write_text(f"round {number}")
        kept.append(contents(target))
        aside = put_aside(target)
        assert aside == tmp_path / f"lessons-old-{number}" and not target.exists()
    assert [contents(tmp_path / f"lessons-old-{number}") for number in (1, 2, 3)] == kept


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    def run(*options: str) -> str:
        command = [sys.executable, str(ROOT / "tools" / "lessons.py"), str(tmp_path / "lessons"), *options]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    count = len(pages(NOTEBOOKS))
    assert run() == f"lessons/: {count} notebooks copied, 0 left as they were\n"
    assert run() == f"lessons/: 0 notebooks copied, {count} left as they were\n"
    assert run("--fresh").startswith("lessons/ is now lessons-old-1/: nothing is lost\nlessons/: ")
    assert set(contents(tmp_path / "lessons")) == set(contents(tmp_path / "lessons-old-1"))


def test_make_lab_opens_the_copies_and_git_does_not_see_them() -> None:
    text = (ROOT / "Makefile").read_text()
    lab = text.split("\nlab: ")[1].split("\n\n")[0]
    assert lab.index("tools/lessons.py lessons") < lab.index("tools/lab.py lessons/00_start_here.ipynb")
    assert "tools/lessons.py lessons --fresh" in text.split("\nfresh: ")[1].split("\n\n")[0]
    assert "lessons" not in text.split("\nclean: ")[1].split("\n")[1]
    if not (ROOT / ".git").exists():
        pytest.skip("no repository here")
    names = ["lessons/00_start_here.ipynb", "lessons/deeper/ssim.ipynb", "lessons-old-2/01_meet_the_data.ipynb"]
    done = subprocess.run(["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == names
    seen = subprocess.run(["git", "check-ignore", "notebooks/00_start_here.ipynb", "tools/lessons.py"], cwd=ROOT)
    assert seen.returncode == 1


def test_every_lesson_has_links_that_lead_somewhere_from_its_copy(tmp_path: Path) -> None:
    for entry in ROOT.iterdir():
        if not entry.name.startswith(("lessons", "notebooks")):
            (tmp_path / entry.name).symlink_to(entry)
    made = make_copies(NOTEBOOKS, tmp_path / "lessons")
    assert {p.name: faults for p in made if (faults := rules.dead_links(read(p), p.parent))} == {}


def test_a_copy_reads_the_data_that_the_lesson_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fracturelib.data import data_folder
    from fracturelib.tutorial import DEMO, run_folder
    from tools.lab import make_data_path_absolute

    monkeypatch.delenv("FRACTURE_DATA", raising=False)
    found = data_folder(), run_folder()
    assert found[0].resolve() == DEMO
    (tmp_path / "lessons" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "lessons" / "deeper")
    assert (data_folder(), run_folder()) == found
    (tmp_path / "own").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRACTURE_DATA", "own")
    make_data_path_absolute()  # as `make lab` does where it is typed
    monkeypatch.chdir(tmp_path / "lessons")
    assert data_folder().resolve() == tmp_path / "own"


# Limits


def test_every_lesson_keeps_to_the_limits() -> None:
    assert {lesson.number: lesson.over() for lesson in minutes.measure() if lesson.over()} == {}


def test_every_lesson_states_its_honest_minutes() -> None:
    stated = {
        lesson.number: (minutes.stated(NOTEBOOKS / f"{lesson.number}.ipynb"), lesson) for lesson in minutes.measure()
    }
    wrong = {
        n: (said, f"{m.minutes:.1f}") for n, (said, m) in stated.items() if said is None or abs(said - m.minutes) > 1
    }
    assert wrong == {}, "benchmarks/minutes.py --write puts them into the headers"


def test_the_limits_are_noticed(tmp_path: Path) -> None:
    def measured(*cells: NotebookNode, seconds: str = "{}") -> minutes.Lesson:
        nbformat.write(new_notebook(cells=[new_code_cell("pass"), *cells]), tmp_path / "01_one.ipynb")
        (tmp_path / "seconds.json").write_text(seconds)
        (lesson,) = minutes.measure(tmp_path)
        return lesson

    assert measured().over() == []
    assert measured(*[new_markdown_cell("x") for _ in range(35)]).over() == ["cells 36 > 35"]
    assert measured(new_code_cell("x = 1\n" * 16)).over() == ["longest 16 > 15"]
    assert measured(new_code_cell("x = 1\n" * 16, metadata={"tags": ["exercise"]})).over() == []
    names = ", ".join(f"name{i}" for i in range(13))
    assert measured(new_code_cell(f"from fracturelib.metrics import {names}")).over() == ["names 13 > 12"]
    assert measured(new_markdown_cell("word " * 180 * 46)).over() == ["minutes 46 > 45"]
    assert measured(seconds='{"01_one": 2760}').over() == ["minutes 46 > 45"]
    task = new_markdown_cell("**Exercise 1.1** · ●○○ · 46 min\n\n<details>" + "word " * 999 + "</details>")
    assert measured(task).exercises == {"1.1": 46} and measured(task).over() == ["minutes 46 > 45"]
    figures = [new_output("display_data", {"image/png": ""})] * 10
    assert measured(new_code_cell("x", outputs=figures)).minutes == pytest.approx(15 + 2 / 12)


def test_minutes_are_written_into_the_header(tmp_path: Path) -> None:
    head = new_markdown_cell("# 01 · One\n\n| | |\n|---|---|\n| **Minutes** | some |\n| **Reads** | nothing |")
    nbformat.write(
        new_notebook(cells=[head, new_code_cell("pass"), new_markdown_cell("word " * 3600)]), tmp_path / "01_one.ipynb"
    )
    (lesson,) = minutes.measure(tmp_path)
    assert minutes.stated(tmp_path / "01_one.ipynb") is None
    minutes.write(lesson, tmp_path)
    assert minutes.stated(tmp_path / "01_one.ipynb") == 20
    assert "| **Reads** | nothing |" in read(tmp_path / "01_one.ipynb").cells[0].source
    written = contents(tmp_path)
    minutes.write(*minutes.measure(tmp_path), tmp_path)
    assert contents(tmp_path) == written


# Planted faults


def lesson() -> NotebookNode:
    """A lesson without a fault."""
    table = "\n".join(f"| **{row}** | it |" for row in rules.ROWS)
    doi = "[one](https://doi.org/10.1000/1), [two](https://doi.org/10.1000/2)"
    parts = "\n\n".join(f"{part}\n\nIt." for part in rules.PARTS[:-1])
    reply = new_output("execute_result", {"text/plain": "right: it means this"}, execution_count=3)
    solved = '### BEGIN SOLUTION\nanswer = 1\n### END SOLUTION\ncheck("1.1", answer)'
    cells = [
        new_markdown_cell(f"# 01 · One\n\nNever for clinical use.\n\n| | |\n|---|---|\n{table}"),
        new_code_cell("print(data_line())\nprevalence = 0.05", execution_count=1),
        new_code_cell("plot()", execution_count=2, outputs=[new_output("display_data", {"image/png": "x"})]),
        new_markdown_cell("*Two curves that cross.* At a prevalence of .05 the PPV is small."),
        new_markdown_cell("## Exercises\n\n**Exercise 1.1** · ●○○ · 3 min\n\nCount."),
        new_code_cell(solved, execution_count=3, outputs=[reply], metadata={"tags": ["exercise", "hide-input"]}),
        new_markdown_cell(f"{parts}\n\n{rules.PARTS[-1]}\n\n{doi}"),
        new_markdown_cell("**Next: nothing**"),
    ]
    return new_notebook(cells=cells)


def found_in(notebook: NotebookNode) -> list[str]:
    """What all rules say of it."""
    return [
        *rules.unexecuted(notebook),
        *rules.uncaptioned(notebook),
        *rules.strange_form(notebook, "01_one"),
        *rules.dead_links(notebook, ROOT),
        *rules.told_places(notebook),
        *rules.results_in_prose(notebook),
        *rules.faulty_exercises(notebook),
        *rules.differing_copy(notebook, readers_copy(notebook)),
    ]


def test_a_good_lesson_has_no_fault() -> None:
    assert found_in(lesson()) == []


def append(cell: int, text: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        notebook.cells[cell].source += text

    return change


def replace(cell: int, old: str, new: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        assert old in notebook.cells[cell].source
        notebook.cells[cell].source = notebook.cells[cell].source.replace(old, new)

    return change


def store(cell: int, output: NotebookNode) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        notebook.cells[cell].outputs = [output]

    return change


def count(cell: int, number: int | None) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        notebook.cells[cell].execution_count = number

    return change


def untag(notebook: NotebookNode) -> None:
    notebook.cells[5].metadata = {}


FAULTS = {
    "an unexecuted cell": (count(2, None), "not run in one go"),
    "a cell that was run again": (count(2, 7), "not run in one go"),
    "a traceback": (store(1, new_output("error", ename="E", evalue="", traceback=[])), "traceback"),
    "stderr": (store(1, new_output("stream", name="stderr", text="warned")), "stderr: warned"),
    "a widget": (store(1, new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}})), "a widget"),
    "a path": (store(1, new_output("stream", text="in " + "/home" + "/me/x")), "/home/"),
    "a missing caption": (replace(3, "*Two curves that cross.*", "Two curves that cross."), "draws a figure"),
    "a caption in bold": (replace(3, "*Two curves that cross.*", "**Two curves that cross.**"), "draws a figure"),
    "a number in prose": (append(3, " The AUC of the network is 0.83."), "it states 0.83"),
    "a percentage in prose": (append(3, " Its sensitivity, 71 %, is low."), "it states 71"),
    "a count in prose": (append(3, "\n\nThe accuracy is high: 41 of 70 are found."), "it states 41 of 70"),
    "no notice": (replace(0, "Never for clinical use.", ""), "clinical use"),
    "a row of the table is missing": (replace(0, "**You need**", "You need"), "You need"),
    "no recap": (replace(6, "## Recap", "Recap"), "no part '## Recap'"),
    "no exercise": (replace(4, "## Exercises", "Exercises"), "no part '## Exercise'"),
    "one reference": (replace(6, "10.1000/2", "10.1000/1"), "fewer than two references"),
    "a malformed DOI": (append(6, " [x](https://doi.org/101000)"), "is no DOI"),
    "a dead link": (append(6, " [x](docs/nowhere.md#there)"), "links to docs/nowhere.md"),
    "no next lesson": (replace(7, "**Next: nothing**", "The end."), "what comes next"),
    "a stub with its solution": (replace(5, "### BEGIN SOLUTION\n", ""), "marks of a solution 0 and 1 times"),
    "no marks": (
        replace(5, "### BEGIN SOLUTION\nanswer = 1\n### END SOLUTION\n", "answer = 1\n"), "no solution is marked"
    ),
    "no tag": (untag, "not tagged"),
    "a solution that is not right": (
        store(5, new_output("execute_result", {"text/plain": "not yet: no"}, execution_count=3)), "is not right"
    ),
    "an exercise without a check": (append(4, "\n\n**Exercise 1.2** · ●○○ · 3 min"), "are stated"),
    "a guess that leaks": (append(1, "\nguess = 0.8  # your guess"), "what to guess"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_noticed(name: str) -> None:
    change, words = FAULTS[name]
    planted = lesson()
    change(planted)
    try:
        faults = found_in(planted)
    except ValueError as error:  # the copy cannot be made
        faults = [*rules.faulty_exercises(planted), str(error)]
    assert any(words in fault for fault in faults), faults


def test_a_copy_with_outputs_or_other_cells_is_noticed() -> None:
    original = lesson()
    assert "cell 2 has outputs" in rules.differing_copy(original, original)
    fewer = readers_copy(original)
    del fewer.cells[-1]
    assert rules.differing_copy(original, fewer) == ["it has other cells"]
    other = readers_copy(original)
    other.cells[0].source += "!"
    assert rules.differing_copy(original, other) == ["cell 0 differs"]


@pytest.mark.slow
@pytest.mark.parametrize(("stored", "passes"), [("42\n", True), ("41\n", False)])
def test_a_stale_output_is_noticed(stored: str, passes: bool, tmp_path: Path) -> None:
    cell = new_code_cell("print(6 * 7)", execution_count=1, outputs=[new_output("stream", text=stored)])
    notebook = new_notebook(cells=[cell])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, tmp_path / "stale.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval", "--nbval-current-env"]
    done = subprocess.run([*command, "stale.ipynb"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == (0 if passes else 1), done.stdout[-1000:]


@pytest.fixture
def planted_checks(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Room for an exercise 99.1."""
    module = types.ModuleType("fracturelib.checks.lesson_99")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(answers, "_EXERCISES", copy.copy(answers._EXERCISES))
    return module


WRONG: list[tuple[tuple[Any, ...], str]] = [((1,), "one"), ((2,), "two"), ((3,), "three")]


def tried(judge: Callable[..., Reply]) -> None:
    answers.exercise("99.1")(judge)
    judged(Case("99.1", right=[(4,)], wrong=WRONG))


def careful(answer: object) -> Reply:
    value = answers.number(answer)
    if value != 4:
        not_yet({1: "one less than two", 2: "two less than four", 3: "three"}.get(value, "another number"))
    return right("it is four")


def test_a_good_checker_passes(planted_checks: types.ModuleType) -> None:
    tried(careful)


@pytest.mark.parametrize(
    "judge",
    [
        lambda answer: right("yes"),
        lambda answer: right("yes") if answer is None else careful(answer),
        lambda answer: right("yes") if callable(answer) else careful(answer),
        lambda answer: right("yes") if answer != answer else careful(answer),
        lambda answer: not_yet("no"),
        lambda answer: careful(answer) if answer == 4 else not_yet("one, two or three"),
    ],
    ids=["all is right", "None is right", "a function is right", "NaN is right", "nothing is right", "the same words"],
)
def test_a_checker_that_passes_nonsense_is_noticed(
    judge: Callable[..., Reply], planted_checks: types.ModuleType
) -> None:
    with pytest.raises(AssertionError, match=r"99\.1"):
        tried(judge)
