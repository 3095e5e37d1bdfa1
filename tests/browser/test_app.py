"""The explorer alone, as `make app` serves it: Voila in Chromium, on loopback, with no code to be seen."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from tests.browser.conftest import IN_SIGHT, WORDS, chromium
from tests.processes import Place, within
from tests.test_app import Served, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    if chromium() is None:
        pytest.skip("no Chromium here: install it (Debian: chromium) or name it in CHROMIUM, to test in a real browser")
    with serving(Place(tmp_path_factory.mktemp("app")), "--left", 90) as served:
        yield served


def test_it_shows_the_explorer_and_no_code(app: Served, page: Any, tmp_path: Path) -> None:
    page.goto(app.address, wait_until="commit")
    page.wait_for_selector("img.widget-image", timeout=240_000)
    page.wait_for_function("() => document.querySelector('img.widget-image').complete")
    assert page.get_by_text("never for clinical use").first.is_visible()
    assert page.locator("text=open_explorer").count() == 0
    before = page.evaluate("() => document.querySelector('img.widget-image').src")
    page.get_by_label("Layer", exact=True).select_option("stage2")
    page.wait_for_function(
        "old => document.querySelector('img.widget-image').src !== old && document.querySelector('img').complete",
        arg=before,
        timeout=60_000,
    )
    path = tmp_path / "app.png"
    page.screenshot(path=str(path))
    assert np.asarray(Image.open(path)).std() > 10
    assert len(app.kernels()) == 1
    page.goto("about:blank")
    assert within(25, lambda: not app.kernels()), "the kernel of a page that was left stays"


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768), (390, 844)])
def test_image_map_and_score_are_in_the_first_screen(
    app: Served, page: Any, tmp_path: Path, width: int, height: int
) -> None:
    """The last one is a telephone: it has its own pixels, and touches."""
    phone = {"is_mobile": True, "has_touch": True, "device_scale_factor": 3} if width < 500 else {}
    context = page.context.browser.new_context(viewport={"width": width, "height": height}, **phone)
    try:
        tab = context.new_page()
        tab.goto(app.address, wait_until="commit")
        tab.wait_for_selector("img.widget-image", timeout=240_000)
        tab.wait_for_function("() => document.querySelector('img.widget-image').complete")
        tab.wait_for_timeout(1000)
        tab.screenshot(path=str(tmp_path / f"app-{width}.png"))
        assert tab.evaluate("() => window.scrollY") == 0
        frame = tab.locator("img.widget-image").bounding_box()
        assert frame["width"] >= min(1000, 0.85 * width)
        assert frame["width"] / frame["height"] == pytest.approx(1032 / 512, rel=0.01)
        assert tab.evaluate(IN_SIGHT, "img.widget-image") and tab.evaluate(IN_SIGHT, f"{WORDS} b:nth-of-type(2)")
        assert "score" in tab.locator(f"{WORDS} b").nth(1).inner_text()
        across = tab.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert across <= 0, "the page is wider than the screen"
        tab.goto("about:blank")  # a page that is left takes its kernel along
    finally:
        context.close()


def test_what_cannot_be_opened_is_a_sentence_on_the_page(page: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no folder")
    for wrong in ("notes.txt", "nowhere"):
        place = Place(tmp_path / f"app-{wrong}")
        with serving(place, FRACTURE_DATA=str(tmp_path / wrong)) as served:
            page.goto(served.address, wait_until="commit")
            page.get_by_text("The explorer cannot open:").first.wait_for(timeout=240_000)
            text = page.locator("body").inner_text()
            assert wrong in text and "Traceback" not in text and "Error" not in text
            page.screenshot(path=str(tmp_path / f"error-{wrong}.png"))
            page.goto("about:blank")


def test_a_link_on_another_page_opens_nothing(app: Served, page: Any, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.html"
    elsewhere.write_text(f"<a id=link href={app.bare}>look</a><img src={app.bare}><iframe src={app.bare}></iframe>")
    page.goto(elsewhere.as_uri(), wait_until="commit")
    page.click("#link")
    page.wait_for_load_state()
    assert not app.kernels() and page.locator("img.widget-image").count() == 0


def test_it_listens_on_loopback_only(app: Served) -> None:
    port = int(app.place.split(":")[1])
    assert requests.get(f"{app.bare}login", timeout=120).ok
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            own = probe.getsockname()[0]
        except OSError:
            pytest.skip("this computer has no address but loopback")
    if own.startswith("127."):
        pytest.skip("this computer has no address but loopback")
    with socket.socket() as other:
        other.settimeout(2)
        assert other.connect_ex((own, port)) != 0
