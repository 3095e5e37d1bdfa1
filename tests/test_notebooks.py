"""What every committed notebook must be, before nbval compares its outputs; and that it runs on own, small folders.

With `FRACTURE_LONG=1` every notebook runs on every folder of `tests.own_folders`, which takes an hour.
"""

import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT
from tests.own_folders import FOLDERS

pytestmark = pytest.mark.slow

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
WIDGETS = "application/vnd.jupyter.widget"


@pytest.fixture(params=NOTEBOOKS, ids=[p.stem for p in NOTEBOOKS])
def notebook(request: pytest.FixtureRequest) -> tuple[Path, nbformat.NotebookNode]:
    return request.param, nbformat.read(request.param, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [c for c in notebook.cells if c.cell_type == "code"]


def test_the_series_is_numbered_without_gaps() -> None:
    numbers = [int(p.stem[:2]) for p in NOTEBOOKS]
    assert numbers == sorted(set(numbers)) and numbers[:5] == [0, 1, 2, 3, 4]


def test_it_is_executed_whole_and_clean(notebook: tuple[Path, nbformat.NotebookNode]) -> None:
    path, content = notebook
    assert [c.execution_count for c in code_cells(content)] == list(range(1, len(code_cells(content)) + 1))
    for cell in code_cells(content):
        for output in cell.outputs:
            assert output.output_type != "error", f"{path.name} stores a traceback"
            assert output.get("name") != "stderr", f"{path.name} stores stderr: {output.get('text', '')[:200]}"
            assert not any(kind.startswith(WIDGETS) for kind in output.get("data", {}))
    assert "widgets" not in content.metadata


def test_it_is_small(notebook: tuple[Path, nbformat.NotebookNode]) -> None:
    assert notebook[0].stat().st_size < 1_000_000


def test_it_opens_and_closes_as_promised(notebook: tuple[Path, nbformat.NotebookNode]) -> None:
    path, content = notebook
    first = content.cells[0].source
    assert first.startswith(f"# {path.stem[:2]} ·")
    for row in ("You will learn", "You need", "Minutes", "Reads", "Writes"):
        assert f"| **{row}** |" in first, f"{path.name} does not say {row}"
    assert "clinical use" in first
    text = "\n".join(c.source for c in content.cells if c.cell_type == "markdown")
    for part in ("## Recap", "## Exercise"):
        assert part in text
    assert re.search(r"\*\*(Next:|Back to)", content.cells[-1].source)
    assert "data_line(" in code_cells(content)[0].source


def test_its_links_lead_somewhere(notebook: tuple[Path, nbformat.NotebookNode]) -> None:
    path, content = notebook
    for cell in content.cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#\s]+)\)", cell.source):
                if not target.startswith("http"):
                    assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_each_figure_is_followed_by_words(notebook: tuple[Path, nbformat.NotebookNode]) -> None:
    path, content = notebook
    for cell, following in zip(content.cells, [*content.cells[1:], None], strict=True):
        drawn = cell.cell_type == "code" and any("image/png" in o.get("data", {}) for o in cell.outputs)
        if drawn:
            assert following is not None and following.cell_type == "markdown", path.name
            assert following.source.startswith("*"), f"{path.name}: a figure without a sentence that says what to see"


def test_no_output_names_a_path_or_an_address(notebook: tuple[Path, nbformat.NotebookNode]) -> None:
    text = json.dumps([c.outputs for c in code_cells(notebook[1])])
    assert not re.search(r"(/home/|/root/|/Users/|\bat 0x[0-9a-f]+|site-packages)", text)


def test_prose_states_no_number_that_looks_like_a_result(notebook: tuple[Path, nbformat.NotebookNode]) -> None:
    for cell in notebook[1].cells:
        if cell.cell_type == "markdown":
            prose = re.sub(r"```.*?```|`[^`]*`|\[[^\]]*\]\([^)]*\)", "", cell.source, flags=re.DOTALL)
            assert not re.search(r"(AUC|accuracy|sensitivity|specificity)\s+(of|is|was)\s+0?\.\d\d", prose)


LONG = bool(os.environ.get("FRACTURE_LONG"))
RUNS = [(f, p.stem[:2]) for f in FOLDERS for p in NOTEBOOKS]
SHORT = [("twenty", n) for n in ("00", "01", "02", "03", "04", "07")]
SHORT += [("small_test", n) for n in ("01", "03", "04")] + [("test_of_one_class", "07"), ("dicom", "01")]


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
    outputs = [(i, o) for i, cell in enumerate(code_cells(content), start=1) for o in cell.outputs]
    failed = [f"cell {i}: {o.ename}: {o.evalue}" for i, o in outputs if o.output_type == "error"]
    said = [f"cell {i}: {o.text}" for i, o in outputs if o.get("name") == "stderr" and "flatter" not in o.text]
    assert failed + said == []
    assert f"{folder!r}" in outputs[0][1].text
