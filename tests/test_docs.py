"""The pages are true of what is here: links lead somewhere, options exist, the README's code runs, versions agree."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from fracturelib import __version__
from tests.conftest import ROOT

PAGES = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "data" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")), ROOT / "fracturelib" / "models" / "pretrained" / "model_card.md",
]  # fmt: skip
OF_OTHERS = {"--nproc-per-node", "--help", "--debug", "--version"}  # of torchrun, and of every command
PAST = {"CHANGELOG.md", "CONTRIBUTING.md", "model_card_trials.md"}  # pages that name options of older versions, too


def anchors(page: Path) -> set[str]:
    """What links into a page may name: its headings, as web sites spell them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def test_the_readme_is_read_in_two_minutes() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 90
    assert "never for clinical use" in text.lower()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name if p.parent == ROOT else f"{p.parent.name}/{p.name}")
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            file, _, anchor = target.partition("#")
            linked = page.parent / file if file else page
            assert linked.exists(), f"{page.name} links to {target}"
            assert not anchor or anchor in anchors(linked), f"{page.name} links to {target}"


def test_every_page_is_linked() -> None:
    """From the README, or from a page that is."""
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached:
            reached.add(page)
            found = re.findall(r"\]\(([^)\s#]+\.md)", page.read_text(encoding="utf-8"))
            waiting += [(page.parent / f).resolve() for f in found if not f.startswith("http")]
    assert set((ROOT / "docs").glob("*.md")) <= reached


def test_commands_are_as_their_help_says(tmp_path: Path) -> None:
    """Versions of Python break lines otherwise, so words are compared."""
    out = tmp_path / "commands.md"
    subprocess.run([sys.executable, "tools/commands.py", str(out)], cwd=ROOT, check=True)
    stored = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert stored.split() == out.read_text(encoding="utf-8").split(), "docs/commands.md is old: make docs"


def test_what_the_pages_name_exists() -> None:
    """Options, benchmarks and modules."""
    listed = subprocess.run(["git", "ls-files", "benchmarks", "tools"], cwd=ROOT, capture_output=True, text=True).stdout
    scripts = "\n".join((ROOT / f).read_text(encoding="utf-8") for f in listed.split() if f.endswith(".py"))
    known = set(re.findall(r"--[a-z][a-z-]+", (ROOT / "docs" / "commands.md").read_text() + scripts)) | OF_OTHERS
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for file in re.findall(r"\b((?:benchmarks|tools|fracturelib|tests)/[\w/]+\.\w+)", text):
            assert (ROOT / file).is_file(), f"{page.name} names {file}"
        if page.name not in PAST:
            assert set(re.findall(r"(?<!\w)--[a-z][a-z-]+", text)) <= known, page.name


def test_what_a_notebook_is_said_to_print_it_prints() -> None:
    """A row of results.md that ends in "notebook NN" has no decimal number that is not among that one's outputs."""
    rows = re.findall(r"^(\|.*)\| notebook (\d\d) \|$", (ROOT / "docs/results.md").read_text(), re.MULTILINE)
    assert len(rows) > 10
    for row, number in rows:
        (path,) = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
        outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]
        texts = [output.get("text", output.get("data", {}).get("text/plain", "")) for output in outputs]
        printed = re.findall(r"\d+\.\d+", json.dumps(texts))
        for said in re.findall(r"\d+\.\d+", row.split("|")[-2]):
            decimals = len(said.partition(".")[2])
            assert any(f"{float(one):.{decimals}f}" == said for one in printed), f"{said} of {row}: {path.name}"


def test_the_site_names_what_there_is() -> None:
    named = set()
    for page in (ROOT / "docs").rglob("*.md"):
        named |= set(re.findall(r"\{py:\w+\}`(fracturelib[\w.]+)`", page.read_text()))
    assert len(named) > 15
    for name in sorted(named):
        module, _, what = name.rpartition(".")
        assert what in import_module(module).__all__, f"{name} is not public"


def test_the_readmes_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    for label in ("Fractured", "Not Fractured"):
        (tmp_path / "few" / "test" / label).mkdir(parents=True)
        for path in sorted((ROOT / "data" / "demo" / "test" / label).glob("*.jpg"))[:2]:
            shutil.copy(path, tmp_path / "few" / "test" / label)
    assert '"data/demo"' in code
    monkeypatch.chdir(ROOT)
    exec(code.replace('"data/demo"', repr(str(tmp_path / "few"))), {})
    shown = capsys.readouterr().out
    assert "test: 4 images" in shown and re.search(r"sensitivity +0\.92 +0\.87 +0\.97", shown)


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"] and "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "fracturelib.__version__"}
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_citation_has_what_its_format_asks_for() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation) and citation["cff-version"] == "1.2.0"
    (reference,) = citation["references"]
    assert {"type", "title", "authors"} <= set(reference) and reference["doi"] == "10.1038/s41597-023-02432-4"
    assert citation["license"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"]
