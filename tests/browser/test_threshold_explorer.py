"""The linked view of notebook 03 in a real browser, driven by keys."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser.conftest import Lab, write_notebook

pytestmark = pytest.mark.slow

VIEW = """
import numpy as np
from fracturelib.viz.threshold_explorer import ThresholdExplorer
rng = np.random.default_rng(0)
y = np.r_[np.zeros(130, int), np.ones(70, int)]
score = np.clip(rng.normal(0.35 + 0.25 * y, 0.15), 0, 1)
ramp = np.linspace(0, 120, 96)[None, :] + np.zeros((96, 1))
images = np.clip(ramp[None] + 120 * score[:, None, None], 0, 255).astype(np.uint8)
view = ThresholdExplorer(y, score, images=images, files=[f"image {i}" for i in range(len(y))])
view.widget
"""
CHARTS = ".jp-OutputArea-output svg[role='img']"


@pytest.fixture(scope="module")
def view(lab: Lab, page: Any) -> Any:
    write_notebook(lab.folder / "tradeoffs.ipynb", VIEW)
    page.goto(lab.address("tradeoffs.ipynb"), wait_until="domcontentloaded")
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", timeout=240_000)
    # The kernel says that it is idle a moment before the page listens to keys.
    page.wait_for_timeout(1500)
    page.locator(".jp-Cell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector(CHARTS, timeout=240_000)
    return page


def dots(page: Any) -> list[list[str]]:
    """Where the operating point is, on each chart."""
    read = "c => Array.from(c.querySelectorAll('circle')).map(d => d.getAttribute('cx') + ',' + d.getAttribute('cy'))"
    return page.evaluate(f'() => Array.from(document.querySelectorAll("{CHARTS}")).map({read})')


def press(page: Any, slider: str, key: str, times: int = 1) -> None:
    """Press a key on a slider and wait until the charts have followed and come to rest."""
    before = dots(page)
    handle = page.locator(".widget-slider", has_text=slider).locator(".noUi-handle")
    handle.focus()
    for _ in range(times):
        handle.press(key)
    seen, rested = before, 0
    for _ in range(300):
        page.wait_for_timeout(100)
        now = dots(page)
        rested = rested + 1 if now == seen and now != before else 0
        seen = now
        if rested == 10:
            return
    raise AssertionError(f"nothing moved after {key} on {slider}, or it never came to rest")


def until(view: Any, holds: Callable[[], bool]) -> None:
    """Wait until something holds: what a slider moves arrives in several messages."""
    for _ in range(200):
        if holds():
            return
        view.wait_for_timeout(100)
    assert holds()


def test_four_charts_four_galleries_and_two_sliders(view: Any, lab: Lab) -> None:
    assert [len(d) for d in dots(view)] == [1, 1, 2, 1]
    assert view.locator(".jp-OutputArea-output img.widget-image").count() == 4
    assert view.locator(".widget-slider .noUi-handle").count() == 2
    view.locator(CHARTS).first.scroll_into_view_if_needed()
    path = lab.folder / "tradeoffs.png"
    view.screenshot(path=str(path))
    assert np.asarray(Image.open(path)).std() > 10


def test_the_threshold_moves_everything(view: Any) -> None:
    text, before = view.locator(".jp-OutputArea-output table").first.inner_text(), dots(view)
    sources = "() => Array.from(document.querySelectorAll('.jp-OutputArea-output img.widget-image')).map(i => i.src)"
    images = view.evaluate(sources)
    press(view, "Threshold", "PageDown", times=12)
    until(view, lambda: all(a != b for a, b in zip(before, dots(view), strict=True)))
    until(view, lambda: view.locator(".jp-OutputArea-output table").first.inner_text() != text)
    until(view, lambda: all(a != b for a, b in zip(images, view.evaluate(sources), strict=True)))


def test_the_prevalence_leaves_the_roc_curve_alone(view: Any, lab: Lab) -> None:
    before = dots(view)
    press(view, "Prevalence", "ArrowLeft", times=20)
    until(view, lambda: all(a != b for a, b in zip(before[1:], dots(view)[1:], strict=True)))
    assert dots(view)[0] == before[0]
    view.screenshot(path=str(lab.folder / "tradeoffs-prevalence.png"))
