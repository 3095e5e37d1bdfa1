"""A real JupyterLab and a real Chromium, or one line that says why not."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
import requests

from tests.conftest import ROOT

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
WORDS = ".explorer-words"
# Whether all of an element can be seen where the page stands: each of its lines, at both ends.
IN_SIGHT = """selector => {
    const element = document.querySelector(selector);
    const places = Array.from(element.getClientRects()).flatMap(
        r => [[r.left + 4, r.top + 4], [r.right - 4, r.bottom - 4]]
    );
    return places.length > 0 && places.every(([x, y]) => {
        const top = document.elementFromPoint(x, y);
        return top !== null && (top === element || element.contains(top));
    });
}"""


def chromium() -> str | None:
    """The browser of the system."""
    named = os.environ.get("CHROMIUM")
    return named or next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)


@dataclass(frozen=True)
class Lab:
    """A JupyterLab: its folder, address and token."""

    folder: Path
    url: str
    token: str

    def address(self, notebook: str, view: str = "doc") -> str:
        """Of a notebook alone, or in the `lab` with its files at the left."""
        return f"{self.url}/{view}/tree/{notebook}?token={self.token}"


@contextmanager
def running_lab(folder: Path) -> Iterator[Lab]:
    """JupyterLab on a free port, over a folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(12)
    command = [
        sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1",
        f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(folder / ".config"), "FRACTURE_SHIPPED": "1"}
    environment.pop("FRACTURE_DATA", None)
    # No question about news in the way of the screenshots.
    settings = folder / ".settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    environment["JUPYTERLAB_SETTINGS_DIR"] = str(folder / ".settings")
    with (folder / "lab.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, env=environment)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                if requests.get(f"{url}/api/status?token={token}", timeout=2).ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.2)
            assert process.poll() is None, (folder / "lab.log").read_text()[-2000:]
        yield Lab(folder, url, token)
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def open_tab() -> Iterator[object]:
    """A tab of Chromium, large enough for the explorer."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        tab = browser.new_page(viewport={"width": 1280, "height": 1000})
        yield tab
        browser.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab of the module's own."""
    if chromium() is None:
        pytest.skip("no Chromium here: install it (Debian: chromium) or name it in CHROMIUM, to test in a real browser")
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[browser]'")
    with running_lab(tmp_path_factory.mktemp("lab")) as started:
        yield started


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[object]:
    """A tab of the module's own."""
    with open_tab() as tab:
        yield tab


def write_notebook(path: Path, *cells: str) -> None:
    """A notebook of code cells."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, path)


def open_and_run(page: object, lab: Lab, notebook: str, view: str = "doc") -> None:
    """Open a notebook and run all of its cells."""
    page.goto(lab.address(notebook, view), wait_until="domcontentloaded")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=240_000)
    page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status='idle']", timeout=240_000)
    page.wait_for_selector("text=/\\| Idle/", timeout=240_000)
    started = page.locator(".jp-InputPrompt", has_text="*").or_(page.locator(".jp-OutputArea-output"))
    for _ in range(5):
        page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
        page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
        for _ in range(20):
            # A slow machine may not have its kernel yet: then JupyterLab asks which one, and must be told again to run.
            asked = page.locator(".jp-Dialog .jp-mod-accept")
            if asked.count():
                asked.first.click()
                break
            if started.count():
                return
            page.wait_for_timeout(250)
        page.wait_for_timeout(1000)
