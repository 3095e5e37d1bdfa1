"""The explorer and the first notebook as a reader has them before her: JupyterLab in Chromium."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import Lab, open_and_run, write_notebook
from tests.conftest import ROOT

EXPLORER = """
import numpy as np
from fracturelib.course import open_classifier, open_split
from fracturelib.explorer import Explorer
classifier, films = open_classifier(), open_split("val")
explorer = Explorer(classifier, films.images, films.labels, masks=films.masks, files=list(films.frame["file"]))
explorer.widget
"""
PICTURE = ".jp-OutputArea-output img.widget-image"


def shown(page: Any) -> bytes:
    """The bytes of the picture that is on the page."""
    return bytes(
        page.evaluate(
            f"""async () => {{
                const image = document.querySelector("{PICTURE}");
                const answer = await fetch(image.src);
                return Array.from(new Uint8Array(await answer.arrayBuffer()));
            }}"""
        )
    )


def wait_for_another(page: Any, source: str, timeout: int = 20_000) -> str:
    """Wait until the picture's address has changed, and give the new one."""
    page.wait_for_function(
        "([selector, old]) => { const i = document.querySelector(selector); return i && i.src !== old && i.complete; }",
        arg=[PICTURE, source],
        timeout=timeout,
    )
    return source_of(page)


def source_of(page: Any) -> str:
    return page.evaluate(f"() => document.querySelector('{PICTURE}').src")


@pytest.fixture(scope="module")
def explorer(lab: Lab, page: Any) -> Any:
    write_notebook(lab.folder / "explorer.ipynb", EXPLORER)
    open_and_run(page, lab, "explorer.ipynb")
    try:
        page.wait_for_selector(PICTURE, timeout=60_000)
    except Exception:
        page.screenshot(path=str(lab.folder / "failed.png"))
        raise
    page.wait_for_function(f"() => document.querySelector('{PICTURE}').complete")
    return page


def screenshot(page: Any, lab: Lab, name: str) -> np.ndarray:
    path = lab.folder / f"{name}.png"
    page.locator(PICTURE).first.scroll_into_view_if_needed()
    page.screenshot(path=str(path))
    return np.asarray(Image.open(path))


def test_the_explorer_is_on_the_page(explorer: Any, lab: Lab) -> None:
    picture = Image.open(io.BytesIO(shown(explorer)))
    assert picture.size == (904, 448) and np.asarray(picture).std() > 10
    for label in ("Show", "Film", "Layer", "Evidence for", "Opacity", "Hide below", "Decision threshold"):
        assert explorer.get_by_text(label, exact=True).first.is_visible(), label
    assert screenshot(explorer, lab, "explorer").std() > 10


def test_arrow_keys_move_the_opacity(explorer: Any) -> None:
    before = source_of(explorer)
    handle = explorer.locator(".widget-slider", has_text="Opacity").locator(".noUi-handle")
    handle.focus()
    handle.press("ArrowLeft")
    wait_for_another(explorer, before)
    assert "0.55" in explorer.locator(".widget-slider", has_text="Opacity").inner_text()


def test_a_layer_is_chosen(explorer: Any) -> None:
    before = source_of(explorer)
    explorer.locator(".widget-dropdown", has_text="Layer").locator("select").select_option("stage2")
    wait_for_another(explorer, before)
    assert "stage2" in explorer.locator(".widget-html").last.inner_text()


def test_an_outcome_is_picked(explorer: Any, lab: Lab) -> None:
    before = source_of(explorer)
    menu = explorer.locator(".widget-dropdown", has_text="Show").locator("select")
    menu.select_option("true negatives: rightly left alone")
    wait_for_another(explorer, before)
    assert "is not fractured" in explorer.locator(".widget-html").last.inner_text()
    screenshot(explorer, lab, "negatives")


def test_no_picture_is_removed_while_a_key_is_held(explorer: Any) -> None:
    explorer.evaluate(
        f"""() => {{
            window.removed = 0;
            window.pictures = 0;
            new MutationObserver(changes => {{
                for (const change of changes) {{
                    if (change.type === "attributes") window.pictures += 1;
                    for (const node of change.removedNodes)
                        if (node.nodeType === 1 && (node.matches("img") || node.querySelector("img")))
                            window.removed += 1;
                }}
            }}).observe(document.querySelector("{PICTURE}").closest(".jp-OutputArea"),
                {{subtree: true, childList: true, attributes: true, attributeFilter: ["src"]}});
        }}"""
    )
    handle = explorer.locator(".widget-slider", has_text="Opacity").locator(".noUi-handle")
    handle.focus()
    for key in ("ArrowLeft", "ArrowRight"):
        for _ in range(6):
            before = source_of(explorer)
            handle.press(key)
            wait_for_another(explorer, before)
    assert explorer.evaluate("() => window.pictures") >= 12
    assert explorer.evaluate("() => window.removed") == 0


def test_the_first_notebook_runs(lab: Lab, page: Any) -> None:
    shutil.copy(ROOT / "notebooks" / "00_start_here.ipynb", lab.folder / "00_start_here.ipynb")
    open_and_run(page, lab, "00_start_here.ipynb")
    page.wait_for_selector("text=Data: the embedded demo set", timeout=60_000)
    page.wait_for_selector(".jp-RenderedImage img", timeout=60_000)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", timeout=60_000)
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert isinstance(lab.folder, Path)
