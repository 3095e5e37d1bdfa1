"""The explorer and the first notebook as a reader has them before her: JupyterLab in Chromium."""

import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import IN_SIGHT, WORDS, Lab, open_and_run, write_notebook
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

EXPLORER = """
import numpy as np
from fracturelib.tutorial import open_classifier, open_split
from fracturelib.viz.gradcam_explorer import GradCAMExplorer
classifier, images = open_classifier(), open_split("val")
explorer = GradCAMExplorer(
    classifier, images.images, images.labels, masks=images.masks, files=list(images.frame["file"]),
    regions=list(images.frame["region"]), save_to="saved",
)
explorer.widget
"""
ALONE = """
from fracturelib.tutorial import open_explorer
open_explorer().widget
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
        page.wait_for_selector(PICTURE, timeout=240_000)
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


def wait_for_words(page: Any, *words: str) -> None:
    """Until the lines below the picture, which arrive after it, hold all of these."""
    page.wait_for_function(
        f"words => words.every(w => document.querySelector('{WORDS}').innerText.includes(w))",
        arg=list(words),
        timeout=60_000,
    )


def unfold(page: Any, title: str) -> None:
    """Open one of the folds below the knobs."""
    fold = page.locator(".jupyter-widget-Collapse", has_text=title)
    if "jupyter-widget-Collapse-open" not in fold.get_attribute("class"):
        fold.locator(".jupyter-widget-Collapse-header").click()
        fold.locator(".widget-inline-hbox").first.wait_for(state="visible")


@pytest.mark.parametrize(("width", "height", "least"), [(1440, 900, 900), (1024, 768, 560)])
def test_image_map_and_score_are_in_the_first_screen(lab: Lab, page: Any, width: int, height: int, least: int) -> None:
    """JupyterLab as it opens, with its files at the left, and no scrolling."""
    write_notebook(lab.folder / "alone.ipynb", ALONE.strip())
    page.set_viewport_size({"width": width, "height": height})
    open_and_run(page, lab, "alone.ipynb", "lab")
    page.wait_for_selector(PICTURE, timeout=240_000)
    page.wait_for_function(f"() => document.querySelector('{PICTURE}').complete")
    page.wait_for_timeout(1000)
    page.screenshot(path=str(lab.folder / f"lab-{width}.png"))
    frame = page.locator(PICTURE).bounding_box()
    assert frame["width"] >= least and frame["width"] / frame["height"] == pytest.approx(1032 / 512, rel=0.01)
    assert page.evaluate(IN_SIGHT, PICTURE) and page.evaluate(IN_SIGHT, f"{WORDS} b:nth-of-type(2)")
    assert "score" in page.locator(f"{WORDS} b").nth(1).inner_text()
    assert "peak in the fracture" in page.locator(WORDS).inner_text()
    page.set_viewport_size({"width": 1280, "height": 1000})


def test_the_explorer_is_on_the_page(explorer: Any, lab: Lab) -> None:
    picture = Image.open(io.BytesIO(shown(explorer)))
    assert picture.size == (1032, 512) and np.asarray(picture).std() > 10
    for label in (
        "Show", "Region", "Order", "Image", "Threshold", "Layer", "Method", "Evidence for", "Opacity",
        "Hide below",
    ):  # fmt: skip
        assert explorer.get_by_text(label, exact=True).first.is_visible(), label
    assert screenshot(explorer, lab, "explorer").std() > 10


def test_rare_knobs_are_folded(explorer: Any, lab: Lab) -> None:
    folds = {
        "A second map beside the first": ("Second layer", "Second method"),
        "Colours, scale and smoothing": ("Colours", "Scale", "Smooth (pixels)"),
        "Zoom": ("Zoom at",),
        "What if a part were covered?": ("From top to", "From left to"),
    }
    for title, labels in folds.items():
        for label in labels:
            knob = explorer.locator("label", has_text=re.compile(f"^{re.escape(label)}$")).first
            assert not knob.is_visible(), label
            unfold(explorer, title)
            assert knob.is_visible(), label
            explorer.locator(".jupyter-widget-Collapse-open .jupyter-widget-Collapse-header").click()
            knob.wait_for(state="hidden")
    unfold(explorer, "Colours, scale and smoothing")
    screenshot(explorer, lab, "unfolded")


def test_arrow_keys_move_the_opacity(explorer: Any) -> None:
    before = source_of(explorer)
    handle = explorer.locator(".widget-slider", has_text="Opacity").locator(".noUi-handle")
    handle.focus()
    handle.press("ArrowLeft")
    wait_for_another(explorer, before)
    explorer.locator(".widget-slider", has_text="Opacity").get_by_text("0.55").wait_for(timeout=60_000)


def test_a_layer_is_chosen(explorer: Any) -> None:
    before = source_of(explorer)
    explorer.get_by_label("Layer", exact=True).select_option("stage2")
    wait_for_another(explorer, before)
    wait_for_words(explorer, "stage2")


def test_an_outcome_is_picked(explorer: Any, lab: Lab) -> None:
    before = source_of(explorer)
    menu = explorer.get_by_label("Show", exact=True)
    menu.select_option("true negatives: rightly left alone")
    wait_for_another(explorer, before)
    wait_for_words(explorer, "is not fractured")
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


def test_a_rectangle_is_covered(explorer: Any, lab: Lab) -> None:
    explorer.get_by_label("Order", exact=True).select_option("score, rising")
    before = source_of(explorer)  # of the false alarms, the one that the least would change
    explorer.get_by_label("Show", exact=True).select_option("false positives: false alarms")
    before = wait_for_another(explorer, before)
    unfold(explorer, "What if a part were covered?")
    explorer.get_by_text("Cover a rectangle").first.click()
    wait_for_another(explorer, before)
    wait_for_words(explorer, "with the rectangle covered")
    told = explorer.locator(WORDS).inner_text()
    handle = explorer.locator(".widget-slider", has_text="From top to").locator(".noUi-handle").first
    handle.focus()
    for _ in range(4):
        before = source_of(explorer)
        handle.press("ArrowLeft")
        wait_for_another(explorer, before)
    explorer.wait_for_function(
        f"told => document.querySelector('{WORDS}').innerText !== told",
        arg=told,
        timeout=60_000,
    )
    screenshot(explorer, lab, "covered")
    explorer.get_by_text("Cover a rectangle").first.click()


def test_a_rectangle_is_dragged(explorer: Any, lab: Lab) -> None:
    unfold(explorer, "What if a part were covered?")
    image = explorer.locator(PICTURE).first
    image.scroll_into_view_if_needed()
    before, frame = source_of(explorer), image.bounding_box()
    across = [frame["x"] + share * frame["width"] for share in (0.1, 0.3)]
    down = [frame["y"] + share * frame["height"] for share in (0.25, 0.75)]
    explorer.mouse.move(across[0], down[0])
    explorer.mouse.down()
    explorer.wait_for_timeout(300)  # as long as it takes to begin to move
    for step in range(1, 9):
        explorer.mouse.move(*(low + step / 8 * (high - low) for low, high in (across, down)))
        explorer.wait_for_timeout(40)
    before = wait_for_another(explorer, before)
    wait_for_words(explorer, "let go of the mouse")
    screenshot(explorer, lab, "dragging")
    explorer.mouse.up()
    wait_for_words(explorer, "score with the rectangle covered")
    ends = explorer.locator(".widget-slider", has_text="From top to").get_by_text(re.compile(r"0\.2\d.*0\.7\d"))
    ends.wait_for(timeout=60_000)
    screenshot(explorer, lab, "dragged")
    explorer.get_by_text("Cover a rectangle").first.click()


def test_two_maps_beside_each_other(explorer: Any, lab: Lab) -> None:
    unfold(explorer, "A second map beside the first")
    before = source_of(explorer)
    explorer.get_by_text("Compare with a second map").first.click()
    wait_for_another(explorer, before)
    wait_for_words(explorer, "left: ", "right: ")
    screenshot(explorer, lab, "compared")
    explorer.get_by_text("Compare with a second map").first.click()


def test_an_image_is_uploaded(explorer: Any, lab: Lab) -> None:
    image = ROOT / "data" / "demo" / "manifest.csv"
    chosen = sorted((ROOT / "data" / "demo" / "test" / "Fractured").glob("*.jpg"))[0]
    for path, expected in ((chosen, "your own image, truth unknown"), (image, "expected")):
        with explorer.expect_file_chooser() as choosing:
            explorer.locator(".widget-upload").first.click()
        choosing.value.set_files(str(path))
        wait_for_words(explorer, expected, path.name)
    screenshot(explorer, lab, "uploaded")


def test_the_view_is_saved_and_downloaded(explorer: Any, lab: Lab) -> None:
    explorer.get_by_text("Save this view as PNG").first.click()
    wait_for_words(explorer, "saved as ")
    saved = list((lab.folder / "saved").glob("*.png"))
    assert len(saved) == 1 and Image.open(saved[0]).size[0] == 1032
    assert str(saved[0].resolve()) in explorer.locator(WORDS).inner_text()
    with explorer.expect_download() as downloading:
        explorer.get_by_text("Download it").click()
    assert downloading.value.suggested_filename == saved[0].name
    assert Path(downloading.value.path()).read_bytes() == saved[0].read_bytes()
    screenshot(explorer, lab, "saved-view")


def test_the_first_notebook_runs(lab: Lab, page: Any) -> None:
    shutil.copy(ROOT / "notebooks" / "00_start_here.ipynb", lab.folder / "00_start_here.ipynb")
    open_and_run(page, lab, "00_start_here.ipynb")
    page.wait_for_selector("text=Data: the embedded demo set", timeout=240_000)
    page.wait_for_selector(".jp-RenderedImage img", timeout=240_000)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", timeout=240_000)
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert isinstance(lab.folder, Path)
