"""The explorer alone, as `make app` serves it: Voila in Chromium, on loopback, with no code to be seen."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from tests.browser.conftest import chromium
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if chromium() is None:
        pytest.skip("no Chromium here: install it (Debian: chromium) or name it in CHROMIUM, to test in a real browser")
    pytest.importorskip("voila", reason="voila is not installed: pip install -e '.[app]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("app")
    environment = {**os.environ, "FRACTURE_SHIPPED": "1"}
    environment.pop("FRACTURE_DATA", None)
    target = next(line for line in (ROOT / "Makefile").read_text().splitlines() if "/voila " in line)
    options = target.split("/voila ")[1].replace("$(PORT)", str(port)).split()
    with (folder / "voila.log").open("w") as log:
        command = [sys.executable, "-m", "voila", *options, "--no-browser"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment)
    url = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
            assert process.poll() is None, (folder / "voila.log").read_text()[-2000:]
        yield url
    finally:
        process.terminate()
        process.wait(20)


def test_it_shows_the_explorer_and_no_code(address: str, page: Any, tmp_path: Path) -> None:
    page.goto(address, wait_until="domcontentloaded")
    page.wait_for_selector("img.widget-image", timeout=120_000)
    page.wait_for_function("() => document.querySelector('img.widget-image').complete")
    assert page.get_by_text("not for clinical use").first.is_visible()
    assert page.locator("text=open_explorer").count() == 0
    before = page.evaluate("() => document.querySelector('img.widget-image').src")
    page.get_by_label("Layer", exact=True).select_option("stage2")
    page.wait_for_function(
        "old => document.querySelector('img.widget-image').src !== old && document.querySelector('img').complete",
        arg=before,
        timeout=20_000,
    )
    path = tmp_path / "app.png"
    page.screenshot(path=str(path))
    assert np.asarray(Image.open(path)).std() > 10


def test_it_listens_on_loopback_only(address: str) -> None:
    port = int(address.rsplit(":", 1)[1].strip("/"))
    assert requests.get(address, timeout=120).ok
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
