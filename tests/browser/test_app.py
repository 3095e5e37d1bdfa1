"""The explorer alone, as `make app` serves it: Voila in Chromium, on loopback, with no code to be seen."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from tests.browser.conftest import chromium
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
    assert page.get_by_text("not for clinical use").first.is_visible()
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
