"""What every committed notebook must be, before nbval compares its outputs; and that it runs on own, small folders.

With `FRACTURE_LONG=1` every notebook runs on every folder of `tests.own_folders`, which takes an hour.
`tests/test_lessons.py` plants a fault for each rule.
"""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests import rules
from tests.conftest import ROOT
from tests.own_folders import FOLDERS

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
DEEPER = sorted((ROOT / "notebooks" / "deeper").glob("*.ipynb"))
Opened = tuple[Path, nbformat.NotebookNode]


@pytest.fixture(params=[*NOTEBOOKS, *DEEPER], ids=[p.stem for p in [*NOTEBOOKS, *DEEPER]])
def notebook(request: pytest.FixtureRequest) -> Opened:
    return request.param, nbformat.read(request.param, as_version=4)


def test_the_series_is_numbered_without_gaps() -> None:
    numbers = [int(p.stem[:2]) for p in NOTEBOOKS]
    assert numbers == list(range(len(numbers))) and len(numbers) >= 9


def test_it_is_executed_whole_and_clean(notebook: Opened) -> None:
    assert rules.unexecuted(notebook[1]) == []


def test_it_is_small(notebook: Opened) -> None:
    assert notebook[0].stat().st_size < 1_000_000


def test_it_opens_and_closes_as_promised(notebook: Opened) -> None:
    assert rules.strange_form(notebook[1], notebook[0].stem) == []


def test_its_links_lead_somewhere(notebook: Opened) -> None:
    assert rules.dead_links(notebook[1], notebook[0].parent) == []


def test_each_figure_is_followed_by_words(notebook: Opened) -> None:
    assert rules.uncaptioned(notebook[1]) == []


def test_no_output_names_a_path_or_an_address(notebook: Opened) -> None:
    assert rules.told_places(notebook[1]) == []


def test_prose_states_no_number_that_a_cell_computes(notebook: Opened) -> None:
    assert rules.results_in_prose(notebook[1]) == []


def test_its_exercises_are_whole_and_their_solutions_right(notebook: Opened) -> None:
    assert rules.faulty_exercises(notebook[1]) == []


def test_each_deeper_page_is_linked_to() -> None:
    lessons = "".join(rules.prose(nbformat.read(path, as_version=4)) for path in NOTEBOOKS)
    assert [path.name for path in DEEPER if f"deeper/{path.name}" not in lessons] == []


LONG = bool(os.environ.get("FRACTURE_LONG"))
RUNS = [(f, p.stem[:2]) for f in FOLDERS for p in NOTEBOOKS]
SHORT = [("twenty", n) for n in ("00", "01", "02", "03", "04", "05", "08")]
SHORT += [("small_test", n) for n in ("01", "03", "04", "05")] + [("test_of_one_class", "08"), ("dicom", "01")]


@pytest.fixture(scope="module")
def laid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The own folders, and the runs of notebook 02 on them."""
    return tmp_path_factory.mktemp("own")


@pytest.mark.parametrize(("folder", "number"), RUNS if LONG else SHORT)
def test_it_runs_on_an_own_folder(folder: str, number: str, laid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (laid / folder).exists():
        FOLDERS[folder](laid / folder)
    monkeypatch.setenv("FRACTURE_DATA", str(laid / folder))
    monkeypatch.setenv("FRACTURE_RUNS", str(laid / f"runs-{folder}"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("FRACTURE_SHIPPED", raising=False)
    (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    content = nbformat.read(path, as_version=4)
    quiet = ["--IPKernelApp.log_level=40"]
    NotebookClient(
        content, timeout=1800, allow_errors=True, extra_arguments=quiet, resources={"metadata": {"path": path.parent}}
    ).execute()
    outputs = [(i, o) for i, cell in enumerate(rules.code_cells(content), start=1) for o in cell.outputs]
    failed = [f"cell {i}: {o.ename}: {o.evalue}" for i, o in outputs if o.output_type == "error"]
    said = [f"cell {i}: {o.text}" for i, o in outputs if o.get("name") == "stderr" and "flatter" not in o.text]
    assert failed + said == []
    assert f"{folder!r}" in outputs[0][1].text
