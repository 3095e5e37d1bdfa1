"""The app as `make app` serves it: who is let in, how many kernels there are, and how they end."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
import pytest
import requests

from tests.conftest import ROOT
from tests.processes import Place, interruptible, within

pytest.importorskip("voila", reason="voila is not installed: pip install -e '.[app]'")
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

pytestmark = pytest.mark.slow

MOST = 2


@dataclass(frozen=True)
class Served:
    """An app: its process, and the address that it printed, with the token and without."""

    process: "subprocess.Popen[bytes]"
    address: str

    @property
    def bare(self) -> str:
        return self.address.split("?")[0]

    @property
    def place(self) -> str:
        return self.bare.removeprefix("http://").rstrip("/")

    def kernels(self) -> list[psutil.Process]:
        """Its kernels that are alive."""
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
            return [p for p in children if "ipykernel_launcher" in p.cmdline()]
        except psutil.Error:
            return []


@contextmanager
def serving(place: Place, *options: object, **environment: str) -> Iterator[Served]:
    """Run tools/app.py on a free port until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = place.root / "app.log"
    command = [sys.executable, "tools/app.py", *map(str, options), "--port", str(port), "--no-browser"]
    with log.open("w") as file:
        variables = {**place.environment, "FRACTURE_SHIPPED": "1", **environment}
        streams = {"stdout": file, "stderr": subprocess.STDOUT, "preexec_fn": interruptible}
        process = subprocess.Popen(command, cwd=ROOT, env=variables, **streams)  # type: ignore[call-overload]
    try:
        found = within(120, lambda: "token=" in log.read_text() or process.poll() is not None)
        assert found and process.poll() is None, log.read_text()[-2000:]
        yield Served(process, re.findall(r"http://\S+", log.read_text())[0])
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small page in the explorer's place."""
    path = tmp_path_factory.mktemp("page") / "small.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('served', 6 * 7)")])
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, path)
    return path


@pytest.fixture(scope="module")
def app(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(Place(tmp_path_factory.mktemp("app")), page, "--kernels", MOST, "--left", 3, "--idle", 12) as served:
        yield served


def get(address: str, **headers: str) -> requests.Response:
    return requests.get(address, headers=headers, timeout=120, allow_redirects=False)


def entered(app: Served) -> tuple[requests.Session, str]:
    """A browser that has opened the page, and its kernel."""
    session = requests.Session()
    answer = session.get(app.address, timeout=120)
    began = time.monotonic()
    while answer.status_code == 503 and time.monotonic() - began < 60:  # others are still on their way out
        time.sleep(1)
        answer = session.get(app.address, timeout=120)
    assert answer.status_code == 200 and "served 42" in answer.text
    return session, re.findall(r'"kernelId": "([\w-]+)"', answer.text)[0]


def connect(app: Served, session: requests.Session, kernel: str, **headers: str) -> int:
    """What a websocket to a kernel is answered: 101 if it is let in."""
    cookie = "; ".join(f"{c.name}={c.value}" for c in session.cookies)
    request = HTTPRequest(
        f"ws://{app.place}/api/kernels/{kernel}/channels", headers={"Cookie": cookie, **headers}, request_timeout=60
    )

    async def opened() -> int:
        try:
            connection: WebSocketClientConnection = await websocket_connect(request)
        except HTTPClientError as error:
            return error.code
        connection.close()
        return 101

    return asyncio.run(asyncio.wait_for(opened(), 90))


def test_nobody_without_the_token(app: Served) -> None:
    before = {p.pid for p in app.kernels()}
    for address in (app.bare, f"{app.bare}?token=", f"{app.bare}?token=wrong", f"{app.bare}?template=lab"):
        answer = get(address)
        assert answer.status_code == 302 and "/login" in answer.headers["Location"], address
        assert "served" not in answer.text
    assert {p.pid for p in app.kernels()} <= before
    assert get(app.bare + "login").status_code == 200


def test_a_name_that_is_not_ours_is_refused_everywhere(app: Served) -> None:
    token = app.address.split("?")[1]
    for path in ("", "voila/static/voila.js", "api/kernels/0-0-0-0-0", "login", "voila/files/a.png"):
        for host in ("attacker.example", "attacker.example:80", "127.0.0.1.attacker.example", "192.0.2.1", ""):
            answer = get(f"{app.bare}{path}?{token}", Host=host)
            assert answer.status_code in (400, 403), (path, host)
            assert "served" not in answer.text
    port = app.place.split(":")[1]
    assert get(f"{app.bare}voila/static/voila.js", Host=f"localhost:{port}").status_code == 200


def test_another_page_cannot_start_a_kernel_by_a_link(app: Served) -> None:
    session, _ = entered(app)
    assert all(c.get_nonstandard_attr("SameSite") == "Strict" for c in session.cookies if "username" in c.name)
    before = {p.pid for p in app.kernels()}
    foreign = (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Referer": "http://attacker.example/"},
        {"Referer": "http://localhost:1/"},
        {"Origin": "null"},
    )
    for headers in foreign:
        answer = session.get(app.bare, headers=headers, timeout=60)
        assert answer.status_code == 403 and "Another page asked" in answer.text and "Traceback" not in answer.text
    assert {p.pid for p in app.kernels()} <= before


def test_a_websocket_from_elsewhere_is_refused(app: Served) -> None:
    session, kernel = entered(app)
    assert connect(app, session, kernel, Origin="http://attacker.example") == 403
    assert connect(app, session, kernel, Origin="http://localhost:1") == 403
    assert connect(app, session, kernel, Origin=f"http://{app.place}", Host="attacker.example") == 403
    assert connect(app, requests.Session(), kernel, Origin=f"http://{app.place}") == 403
    assert connect(app, session, kernel, Origin=f"http://{app.place}") == 101


def test_a_page_that_is_closed_takes_its_kernel_along(app: Served) -> None:
    session, kernel = entered(app)
    address = f"{app.bare}voila/api/shutdown/{kernel}"
    assert session.post(address, headers={"Origin": f"http://{app.place}"}, timeout=60).status_code == 403
    own = {"_xsrf": session.cookies["_xsrf"]}
    assert session.post(address, own, headers={"Origin": "http://attacker.example"}, timeout=60).status_code in (
        403,
        404,
    )
    assert session.post(address, own, headers={"Origin": f"http://{app.place}"}, timeout=60).status_code == 204


def test_kernels_are_few_and_go(app: Served) -> None:
    assert within(60, lambda: not app.kernels())
    time.sleep(3)  # until the app has noticed it, too
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(get, app.address) for _ in range(8)]
        seen = 0
        while not all(a.done() for a in answers):
            seen = max(seen, len(app.kernels()))
            within(0.1, lambda: False)
    assert 1 <= seen <= MOST
    codes = [a.result().status_code for a in answers]
    assert 1 <= codes.count(200) <= MOST and codes.count(503) == 8 - codes.count(200)
    refused = next(a.result().text for a in answers if a.result().status_code == 503)
    assert f"The explorer is open {MOST} times already" in refused and "Traceback" not in refused
    assert within(60, lambda: not app.kernels()), "kernels without a page stay"
    entered(app)


def test_the_kernel_of_an_open_page_stays_until_it_is_idle(app: Served) -> None:
    session, kernel = entered(app)
    cookie = "; ".join(f"{c.name}={c.value}" for c in session.cookies)
    headers = {"Cookie": cookie, "Origin": f"http://{app.place}"}
    answers = []

    async def look() -> None:
        request = HTTPRequest(f"ws://{app.place}/api/kernels/{kernel}/channels", headers=headers)
        connection = await websocket_connect(request)
        await asyncio.sleep(6)  # twice what a closed page's kernel has
        answers.append(session.get(f"{app.bare}api/kernels/{kernel}", headers={"Referer": app.bare}).status_code)
        for _ in range(60):
            await asyncio.sleep(1)
            answers.append(session.get(f"{app.bare}api/kernels/{kernel}", headers={"Referer": app.bare}).status_code)
            if answers[-1] == 404:
                break
        connection.close()

    asyncio.run(look())
    assert answers[0] == 200 and answers[-1] == 404


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_kernels_end_with_the_app(number: signal.Signals, page: Path, tmp_path: Path) -> None:
    place = Place(tmp_path)
    with serving(place, page) as served:
        assert get(served.address).status_code == 200 and len(served.kernels()) == 1
        os.kill(served.process.pid, number)
        served.process.wait(60)
        assert within(30, lambda: not place.alive()), place.alive()
    assert number == signal.SIGKILL or not place.parts()
    with serving(place, page) as served:  # the next one removes what the killed one left
        pass
    assert not place.parts() and not any(place.temporary.iterdir())


def test_what_cannot_be_opened_is_a_sentence(tmp_path: Path) -> None:
    with serving(Place(tmp_path), FRACTURE_DATA="no/such/folder") as served:
        text = get(served.address).text
    where = str(ROOT / "no/such/folder")  # relative to where it was given, not to the notebook
    assert "The explorer cannot open:" in text and where in text and "no such folder" in text
    assert "Traceback" not in text and "InputError" not in text
