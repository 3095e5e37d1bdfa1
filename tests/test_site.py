"""The web site: it builds without a warning, every link leads somewhere, and no page asks another host for anything."""

import functools
import http.server
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml

from fracturelib.metrics import confusion_at, roc_auc, wilson_interval
from fracturelib.metrics.classification import predictive_values
from tests.browser.conftest import FLAGS, chromium
from tests.conftest import ROOT

NEEDED = ("sphinx", "myst_nb", "sphinx_book_theme", "sphinx_design")
MISSING = [name for name in NEEDED if not importlib.util.find_spec(name)]
DOI = re.compile(r"10\.\d{4,9}/[-._;()/:<>\[\]A-Za-z0-9]+")
WIDTHS = {"telephone": 390, "tablet": 768, "laptop": 1440}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/site.py, whose name is also that of a module of Python's."""
    spec = importlib.util.spec_from_file_location("site_tool", ROOT / "tools" / "site.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["site_tool"] = module
    spec.loader.exec_module(module)
    return module


# The parts, without Sphinx


def test_a_term_is_linked_once_and_only_in_prose(tool: ModuleType) -> None:
    words = tool.patterns({"AUC": "area", "threshold": "cut", "cut-off": "cut", "score": "number"})
    text = "# threshold\n`AUC` [AUC](a.md) $AUC$ Thresholds and a threshold, a cut-off, AUC, auc, scores\n*a threshold*"
    met: set[str] = set()
    linked = tool.link_terms(text, words, met)
    assert linked == text.replace("Thresholds", "{term}`Thresholds <threshold>`").replace(
        ", AUC,", ", {term}`AUC <AUC>`,"
    )
    assert met == {"area", "cut"}
    assert tool.link_terms("a threshold", words, met) == "a threshold"


def test_a_lesson_is_prepared_for_the_web(tool: ModuleType) -> None:
    code, markdown = nbformat.v4.new_code_cell, nbformat.v4.new_markdown_cell
    picture = nbformat.v4.new_output("display_data", {"image/png": "aGk="})
    solved = "### BEGIN SOLUTION\n#: x = ...\nx = 1\n### END SOLUTION\ncheck('1.1', x)"
    cells = [
        markdown("> **For doctors.** A loss\n> is a number.\n\nText."),
        code("draw();", outputs=[picture]),
        markdown("*Look at the **left** `side`.* More."),
        code(solved, metadata={"tags": ["exercise", "hide-input"]}),
        code("view = ThresholdExplorer(y, score)\nview"),
    ]
    made = tool.prepare(nbformat.v4.new_notebook(cells=cells), {}, relink=str).cells
    assert made[0].source == ":::{admonition} For doctors\n:class: for-doctors\nA loss\nis a number.\n:::\n\nText."
    assert made[1].metadata["mystnb"]["image"]["alt"] == "Look at the left side."
    assert made[3].source == "x = 1\ncheck('1.1', x)"
    assert made[3].metadata["tags"] == ["hide-cell"]
    assert "../play.md" in made[5].source


def test_links_that_lead_nowhere_are_told(tool: ModuleType) -> None:
    links = tool.Links({"notebooks/a.ipynb"})
    text = "[a](a.ipynb#x) [b](b.ipynb) [code](../fracturelib/cli.py) [web](https://a.b/c) [here](#x)"
    assert links.relink(text, "notebooks/a.ipynb") == "[a](a.ipynb#x) b code [web](https://a.b/c) [here](#x)"
    assert links.dead == ["notebooks/a.ipynb links to b.ipynb"]


def test_the_glossary_is_long_enough_and_short_in_each_entry(tool: ModuleType) -> None:
    text = (ROOT / "docs" / "site" / "glossary.md").read_text(encoding="utf-8")
    entries = [e for block in re.findall(r":::\{glossary\}\n(.*?)\n:::", text, re.DOTALL) for e in block.split("\n\n")]
    assert len(entries) >= 80
    for entry in entries:
        assert len(re.findall(r"[.?](?:\s|$)", entry)) in (1, 2), entry
    terms = [line.lower() for e in entries for line in e.splitlines() if not line.startswith(" ")]
    assert len(terms) == len(set(terms))
    assert set(terms) >= tool.NOT_LINKED


def test_every_lesson_has_its_plan_in_every_track() -> None:
    plans = yaml.safe_load((ROOT / "docs" / "site" / "lessons.yml").read_text(encoding="utf-8"))
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        plan = plans[path.name[:2]]
        assert plan["question"].endswith("?")
        assert plan["clinician"][0] in ("do", "read", "skip") and plan["engineer"][0] in ("do", "read", "skip")
        assert {"opening", "listen", "discuss", "short"} <= set(plan)


# The whole


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built anew."""
    if MISSING:
        pytest.skip(f"{', '.join(MISSING)} not installed: pip install -e '.[site]', to build the site")
    out = tmp_path_factory.mktemp("build") / "site"
    environment = {k: v for k, v in os.environ.items() if k != "SITE_REPOSITORY"}
    done = subprocess.run(
        [sys.executable, "tools/site.py", str(out)], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert "warning" not in done.stderr.lower(), done.stderr[-4000:]
    return out


class Page(HTMLParser):
    """What a page links to, loads, and can be linked at; and its pictures without words."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.silent: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        loads = "src" if tag in ("script", "img", "iframe", "source", "video") else "href" if tag == "link" else ""
        if given.get(loads) and given.get("rel") != "canonical":
            self.loads.append(given[loads])
        if tag == "img" and "alt" not in given:
            self.silent.append(given.get("src", ""))


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def broken(pages: dict[Path, Page]) -> list[str]:
    """Links and files that lead nowhere."""
    wrong = []
    for path, page in pages.items():
        for target in [*page.links, *page.loads]:
            parts = urlsplit(target)
            if parts.scheme or target in ("#", ""):
                continue
            linked = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not linked.is_file():
                wrong.append(f"{path.name} leads to {target}")
            elif parts.fragment and linked in pages and unquote(parts.fragment) not in pages[linked].ids:
                wrong.append(f"{path.name} leads to {target}, which has no such place")
    return wrong


@pytest.mark.slow
def test_every_link_leads_somewhere(pages: dict[Path, Page], tmp_path: Path) -> None:
    assert len(pages) > 30
    assert broken(pages) == []
    (tmp_path / "a.html").write_text(
        '<p id="x"><a href="#x">1</a><a href="#y">2</a><a href="b.html">3</a><img src="c.png">'
    )
    assert len(broken({tmp_path / "a.html": Page(tmp_path / "a.html")})) == 3


@pytest.mark.slow
def test_every_doi_is_well_formed(pages: dict[Path, Page]) -> None:
    dois = {link for page in pages.values() for link in page.links if "doi.org" in link}
    assert len(dois) >= 10
    for link in dois:
        address, doi = link.split("doi.org/", 1)
        assert address == "https://" and DOI.fullmatch(unquote(unescape(doi))), link


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(pages: dict[Path, Page], site: Path) -> None:
    for path, page in pages.items():
        assert not [load for load in page.loads if urlsplit(load).scheme not in ("", "data")], path.name
    for style in site.rglob("*.css"):
        assert not re.search(r"@import[^;]*//|url\(['\"]?(https?:)?//", style.read_text(encoding="utf-8")), style.name


@pytest.mark.slow
def test_every_picture_has_words(pages: dict[Path, Page], site: Path) -> None:
    for path, page in pages.items():
        assert page.silent == [], path.name
    for path in (site / "notebooks").rglob("[0-9]*.html"):
        for picture in re.findall(r'<img[^>]*src="[^"]*_images/[^>]*>', path.read_text(encoding="utf-8")):
            words = re.search(r'alt="([^"]*)"', picture)
            assert words and len(words[1].split()) > 3 and "_images" not in words[1], f"{path.name}: {picture[:200]}"


@pytest.mark.slow
def test_solutions_are_folded_and_marks_are_gone(site: Path) -> None:
    for path in (site / "notebooks").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "END SOLUTION" not in text, path.name
        notebook = nbformat.read(ROOT / "notebooks" / path.relative_to(site / "notebooks").with_suffix(".ipynb"), 4)
        exercises = sum("exercise" in c.metadata.get("tags", []) for c in notebook.cells)
        assert text.count("One solution") == exercises, path.name


# In a real browser


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """The site, served on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def tab(site: Path) -> Iterator[Any]:
    """A tab that counts what it asks for, and what goes wrong in it."""
    if chromium() is None:
        pytest.skip("no Chromium here: install it (Debian: chromium) or name it in CHROMIUM, to page through the site")
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        tab = browser.new_page(viewport={"width": 1440, "height": 900})
        tab.asked, tab.wrong = [], []
        tab.on("request", lambda request: tab.asked.append(request.url))
        tab.on("response", lambda response: tab.wrong.append(response.url) if response.status >= 400 else None)
        tab.on("pageerror", lambda error: tab.wrong.append(str(error)))
        yield tab
        browser.close()


def foreign(asked: list[str], address: str) -> list[str]:
    return [url for url in asked if not url.startswith((address, "data:", "blob:", "about:"))]


@pytest.mark.slow
def test_no_page_asks_another_host(tab: Any, address: str, pages: dict[Path, Page], site: Path) -> None:
    tab.asked.clear()
    tab.wrong.clear()
    for path in pages:
        tab.goto(f"{address}/{path.relative_to(site)}", wait_until="load")
    tab.goto(f"{address}/mathematics.html", wait_until="networkidle")
    tab.wait_for_selector("mjx-container", timeout=30_000)  # mathematics is set, with fonts from here
    assert tab.locator("mjx-merror").count() == 0
    assert len(tab.asked) > 3 * len(pages)
    assert foreign([*tab.asked, "https://elsewhere.org/x.js"], address) == ["https://elsewhere.org/x.js"]
    assert tab.wrong == []


@pytest.mark.slow
def test_the_search_finds(tab: Any, address: str) -> None:
    tab.goto(f"{address}/search.html?q=prevalence")
    tab.wait_for_selector("#search-results ul.search li a, #search-results li a", timeout=30_000)
    found = tab.locator("#search-results li a").evaluate_all("links => links.map(a => a.href)")
    assert any("glossary" in link for link in found), found
    assert foreign(tab.asked, address) == []


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_no_page_is_wider_than_the_screen(
    tab: Any, address: str, pages: dict[Path, Page], site: Path, width: int
) -> None:
    tab.set_viewport_size({"width": width, "height": 900})
    for path in pages:
        tab.goto(f"{address}/{path.relative_to(site)}", wait_until="domcontentloaded")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, path.relative_to(site)
    tab.set_viewport_size({"width": 1440, "height": 900})


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    frame = pd.read_csv(ROOT / "data" / "checkpoints" / "demo-small-cnn-predictions.csv")
    return frame[frame["split"] == "test"]


@pytest.mark.slow
def test_the_sliders_say_what_the_library_says(tab: Any, address: str, scores: pd.DataFrame) -> None:
    """At many thresholds and prevalences, the ends included."""
    tab.goto(f"{address}/play.html")
    data = json.loads(tab.locator("#scores-data").text_content())
    assert data["label"] == list(scores["label"])
    assert np.abs(np.array(data["score"]) - scores["score"]).max() < 1e-6
    given = "JSON.parse(document.getElementById('scores-data').textContent)"
    area = tab.evaluate(f"fracturePlay.roc({given}).area")
    assert area == pytest.approx(roc_auc(scores["label"], scores["score"]), abs=1e-9)
    for threshold in [0.0, *np.linspace(0.01, 0.99, 15), 1.0]:
        for prevalence in (0.01, 0.35):
            call = f"fracturePlay.rates({given}, {threshold}, {prevalence})"
            said = tab.evaluate(f"JSON.parse(JSON.stringify({call}))")
            count = confusion_at(scores["label"], np.round(scores["score"], 6), float(threshold))
            assert said["counts"] == {"tp": count.tp, "fn": count.fn, "fp": count.fp, "tn": count.tn}
            pairs = [(count.tp, count.tp + count.fn), (count.tn, count.tn + count.fp)]
            se, sp = (wilson_interval(k, n) for k, n in pairs)
            assert said["sensitivity"] == pytest.approx([se.value, se.low, se.high], abs=1e-6)
            assert said["specificity"] == pytest.approx([sp.value, sp.low, sp.high], abs=1e-6)
            for i, (a, b) in enumerate([(se.value, sp.value), (se.low, sp.low), (se.high, sp.high)]):
                for name, expected in zip(("ppv", "npv"), predictive_values(a, b, prevalence), strict=True):
                    if np.isfinite(expected):
                        assert said[name][i] == pytest.approx(float(expected), abs=1e-6)
                    else:
                        assert said[name][i] is None


@pytest.mark.slow
def test_the_sliders_move(tab: Any, address: str) -> None:
    tab.wrong.clear()
    tab.goto(f"{address}/play.html")
    tab.wait_for_selector("#rates tbody tr")
    before = tab.locator("#rates").inner_text(), tab.locator("#hist").inner_html()
    tab.locator("#t").focus()
    for _ in range(20):
        tab.keyboard.press("ArrowRight")
    after = tab.locator("#rates").inner_text(), tab.locator("#hist").inner_html()
    assert before[0] != after[0] and before[1] != after[1]
    tab.locator("#p").focus()
    tab.keyboard.press("Home")
    rates = tab.locator("#rates").inner_text()
    assert rates != after[0] and rates.splitlines()[0] == after[0].splitlines()[0]
    people = [
        int(n.replace(",", "")) for n in re.findall(r"\d+", tab.locator("#people").get_attribute("aria-label"))[2:]
    ]
    assert sum(people) == 1000
    tab.locator("#t-buttons button").nth(0).click()
    assert tab.locator("#t-buttons button").nth(0).get_attribute("aria-pressed") == "true"
    assert tab.wrong == []


@pytest.mark.slow
def test_layers_can_be_picked(tab: Any, address: str) -> None:
    tab.wrong.clear()
    tab.goto(f"{address}/maps.html")
    tab.wait_for_selector("#maps-images button")
    data = json.loads(tab.locator("#maps-data").text_content())
    assert len(data["images"]) == 6 and len(data["layers"]) == 5
    assert not tab.locator("#maps-heat").is_visible()
    assert "Score" not in tab.locator("#maps-says").inner_text()  # nothing is given away before a guess
    for i, image in enumerate(data["images"]):
        tab.locator("#maps-images button").nth(i).click()
        for k, layer in enumerate(data["layers"]):
            tab.locator("#maps-layers button").nth(k).click()
            if layer and image["maps"][layer]["file"]:
                tab.wait_for_function("document.getElementById('maps-heat').naturalWidth > 0")
                assert layer in tab.locator("#maps-says").inner_text()
    assert any(not image["outline"] for image in data["images"]) and any(image["outline"] for image in data["images"])
    assert tab.wrong == [] and foreign(tab.asked, address) == []
