"""Downloads against a real server on this computer that misbehaves in known ways."""

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

import fracturelib.curate.download
from fracturelib._io.files import InputError
from fracturelib.curate.download import FRACATLAS, Release, fetch_fracatlas


def archive(names: tuple[str, ...] = ("FracAtlas/dataset.csv", "FracAtlas/images/Fractured/IMG0000001.jpg")) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for name in names:
            zipped.writestr(name, name.encode() * 20_000)
    return buffer.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `body`; `plan` says, request by request, what goes wrong: a status, "cut", "endless" ..., or None."""

    daemon_threads = True

    def __init__(self, body: bytes, plan: list[int | str | None], ranges: bool = True) -> None:
        self.body, self.plan, self.ranges = body, list(plan), ranges
        self.requests: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers.get("Range")
        server.requests.append(wanted)
        step = server.plan.pop(0) if server.plan else None
        if isinstance(step, int):
            self.send_error(step)
            return
        start = start_of(wanted) if server.ranges else 0
        body = server.body[start:]
        if step == "circles":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return
        if step == "later":
            self.send_response(503)
            self.send_header("Retry-After", "1000000")
            self.end_headers()
            return
        if step == "endless":
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(bytes(1 << 20))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if step == "cut" else body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(body: bytes, plan: list[int | str | None], *, ranges: bool = True) -> Iterator[tuple[Server, Release]]:
    server = Server(body, plan, ranges)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/files/1"
    try:
        yield server, Release("FracAtlas", url, len(body), hashlib.md5(body).hexdigest(), "CC BY 4.0", "a citation")
    finally:
        server.shutdown()
        server.server_close()


def fetch(out: Path, release: Release, attempts: int = 3) -> Path:
    return fetch_fracatlas(out, release=release, progress=False, attempts=attempts, backoff=0.01)


def start_of(wanted: str | None) -> int:
    return int((wanted or "bytes=0-").removeprefix("bytes=").rstrip("-"))


def left_over(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_the_archive_is_unpacked_and_its_licence_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(archive(), []) as (_, release):
        out = fetch(tmp_path / "data", release)
    assert (out / "FracAtlas" / "dataset.csv").is_file()
    assert left_over(tmp_path) == ["data"]
    assert "CC BY 4.0" in capsys.readouterr().out


def test_a_second_fetch_asks_for_nothing(tmp_path: Path) -> None:
    with serving(archive(), []) as (server, release):
        fetch(tmp_path / "data", release)
        fetch(tmp_path / "data", release)
        assert len(server.requests) == 1


@pytest.mark.parametrize("ranges", [True, False], ids=["server resumes", "server begins anew"])
def test_cut_off_half_way_goes_on(tmp_path: Path, ranges: bool) -> None:
    body = archive()
    with serving(body, ["cut"], ranges=ranges) as (server, release):
        out = fetch(tmp_path / "data", release)
        assert server.requests[0] is None and 0 < start_of(server.requests[1]) <= len(body) // 2
    assert (out / "FracAtlas" / "dataset.csv").is_file()


def test_what_arrived_is_kept_for_the_next_command(tmp_path: Path) -> None:
    body = archive()
    with serving(body, ["cut"]) as (server, release):
        with pytest.raises(InputError, match="run the same command to go on"):
            fetch(tmp_path / "data", release, attempts=1)
        assert left_over(tmp_path) == ["data.zip.part"]
        fetch(tmp_path / "data", release)
        assert 0 < start_of(server.requests[-1]) <= len(body) // 2
    assert left_over(tmp_path) == ["data"]


def test_wrong_bytes_are_thrown_away(tmp_path: Path) -> None:
    body = archive()
    with serving(bytes(len(body)), []) as (_, release):
        wrong = Release("FracAtlas", release.url, len(body), hashlib.md5(body).hexdigest(), "", "")
        with pytest.raises(InputError, match=r"MD5 .*; expected .* MD5"):
            fetch(tmp_path / "data", wrong)
    assert left_over(tmp_path) == []


def test_a_404_is_one_line(tmp_path: Path) -> None:
    with serving(archive(), [404]) as (server, release), pytest.raises(InputError, match="404 Not Found") as caught:
        fetch(tmp_path / "data", release)
    assert "\n" not in str(caught.value) and len(server.requests) == 1
    assert left_over(tmp_path) == []


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    with serving(archive(), [503, 503]) as (server, release):
        fetch(tmp_path / "data", release)
        assert len(server.requests) == 3


def test_a_server_that_stays_busy_is_one_line(tmp_path: Path) -> None:
    with serving(archive(), [503] * 9) as (server, release):
        with pytest.raises(InputError, match=r"3 times \(the server says 503 Service Unavailable\)") as caught:
            fetch(tmp_path / "data", release)
        assert "\n" not in str(caught.value) and len(server.requests) == 3


def test_an_answer_without_end_is_thrown_away(tmp_path: Path) -> None:
    with serving(archive(), ["endless"]) as (server, release):
        with pytest.raises(InputError, match=r"sent [\d,]+ bytes with MD5 .*; expected .* MD5"):
            fetch(tmp_path / "data", release)
        assert len(server.requests) == 1
    assert left_over(tmp_path) == []


def test_a_server_that_says_next_week_is_not_waited_for(tmp_path: Path) -> None:
    with serving(archive(), ["later"]) as (server, release):
        fetch(tmp_path / "data", release)
        assert len(server.requests) == 2


def test_an_address_that_leads_to_itself_is_one_line(tmp_path: Path) -> None:
    with serving(archive(), ["circles"] * 40) as (_, release):
        with pytest.raises(InputError, match="redirects") as caught:
            fetch(tmp_path / "data", release)
        assert "\n" not in str(caught.value)


def test_no_more_is_fetched_than_the_disk_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fracturelib.curate.download.shutil, "disk_usage", lambda folder: SimpleNamespace(free=4999))
    with serving(archive(), []) as (_, release), pytest.raises(InputError, match=r"and 4,999 are free on its disk"):
        fetch(tmp_path / "data", release)


def test_no_network_is_one_line(tmp_path: Path) -> None:
    with serving(archive(), []) as (_, release):
        pass
    with pytest.raises(InputError, match="Connection refused") as caught:
        fetch(tmp_path / "data", release, attempts=2)
    assert "\n" not in str(caught.value)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "a/../../outside.txt", "..\\outside.txt"])
def test_an_entry_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    with serving(archive((name,)), []) as (_, release), pytest.raises(InputError, match="leaves the folder"):
        fetch(tmp_path / "in" / "data", release)
    assert not list(tmp_path.rglob("outside.txt")) and not (tmp_path / "in" / "data").exists()


def test_the_pinned_release() -> None:
    assert FRACATLAS.url.endswith("/65518038") and FRACATLAS.size == 338436460
    assert FRACATLAS.md5 == "fe9da2c7c285915ebee69dfdab8fd396"
