"""The explorer of studies and the view of a spin echo in a real browser: all in the first screen, driven by keys."""

from typing import Any

import pytest

from tests.browser.conftest import IN_SIGHT, WORDS, Lab, open_and_run, write_notebook
from tests.conftest import ROOT

pytestmark = pytest.mark.slow

PICTURE = ".jp-OutputArea-output img.widget-image"
STUDIES = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.test_study_explorer import explorer
view = explorer()
view.widget
""".strip()
SPIN_ECHO = """
from fracturelib.viz import SpinEchoView
SpinEchoView().widget
""".strip()
PLACES = """() => {
    const middle = q => { const r = document.querySelector(q).getBoundingClientRect(); return r.left + r.width / 2; };
    return [middle(".study-bars rect.current"), middle(".widget-slider .noUi-handle")];
}"""
TITLE = f"() => document.querySelector('{PICTURE}').title"


def opened(lab: Lab, page: Any, name: str, cell: str) -> None:
    write_notebook(lab.folder / name, cell)
    page.set_viewport_size({"width": 1440, "height": 900})
    open_and_run(page, lab, name, "lab")
    page.wait_for_selector(PICTURE, timeout=240_000)


def test_a_study_is_gone_through_by_keys(lab: Lab, page: Any) -> None:
    opened(lab, page, "study.ipynb", STUDIES)
    for width, height in ((1440, 900), (1024, 768)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(1500)
        page.screenshot(path=str(lab.folder / f"study-{width}.png"))
        for part in (PICTURE, ".study-bars svg", f"{WORDS} b"):
            assert page.evaluate(IN_SIGHT, part), part
        button = page.get_by_text("Go to the deciding slice").bounding_box()
        assert button["y"] + button["height"] <= height - 24  # above the line of state
    handle = page.locator(".widget-slider", has_text="Slice").locator(".noUi-handle")
    handle.focus()
    for key, at in (("Home", 0), ("ArrowRight", 1), ("End", 7), ("ArrowLeft", 6)):
        handle.press(key)
        page.wait_for_function(f"() => document.querySelector('{WORDS}').innerText.includes('slice {at} of 0 to 7')")
        page.wait_for_function(f"() => document.querySelector('{PICTURE}').title.startsWith('Slice {at},')")
        bar, slider = page.evaluate(PLACES)
        assert abs(bar - slider) <= 2, "the bar is not beneath the slider's handle"
    page.locator(".study-bars svg").first.click(position={"x": 2, "y": 30})
    page.wait_for_function(f"() => document.querySelector('{WORDS}').innerText.includes('slice 0 of 0 to 7')")


def test_a_spin_echo_is_moved_by_keys(lab: Lab, page: Any) -> None:
    for file in lab.folder.glob(".config/lab/workspaces/*"):  # else the first notebook is opened again
        file.unlink()
    opened(lab, page, "spin-echo.ipynb", SPIN_ECHO)
    page.locator(".jp-OutputArea-output").get_by_text("Fat saturation").wait_for(timeout=240_000)
    for width, height in ((1440, 900), (1024, 768)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(1500)
        page.screenshot(path=str(lab.folder / f"spin-echo-{width}.png"))
        page.get_by_text("TR 3000 ms, TE 30 ms").first.wait_for(timeout=60_000)
        said = page.get_by_text("TR 3000 ms, TE 30 ms").first.bounding_box()
        assert said["y"] + said["height"] <= height - 24
    page.get_by_text("Fat saturation").click()
    page.get_by_text("TR 3000 ms, TE 30 ms: proton density-weighted.").wait_for(timeout=60_000)
    handle = page.locator(".widget-slider", has_text="Repetition time").locator(".noUi-handle")
    handle.focus()
    handle.press("Home")
    page.get_by_text("TR 100 ms, TE 30 ms: T1-weighted.").wait_for(timeout=60_000)
    assert "T1-weighted" in page.evaluate(TITLE)
