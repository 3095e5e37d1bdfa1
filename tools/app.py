"""The explorer alone, for the browser of this computer: Voila, behind a token, with few kernels that do not stay."""

import argparse
import asyncio
import html
import os
import secrets
import webbrowser
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jupyter_core.utils import ensure_async
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from lab import has_browser, make_data_path_absolute
from tornado.web import HTTPError, RequestHandler
from traitlets import Bool, Integer
from traitlets.config import Config
from voila.app import Voila
from voila.tornado.handler import TornadoVoilaHandler
from voila.voila_identity_provider import VoilaIdentityProvider

from fracturelib._io.files import cache_dir, temporary_folder

NOTEBOOK = Path(__file__).with_name("explorer.ipynb")
OWN_NAMES = r"(localhost|127\.0\.0\.1|\[::1\])"
PATIENCE = 300  # seconds: the longest that a page may take to be made
PAGE = "<!doctype html><html lang=en><meta charset=utf-8><title>{0}</title><h1>{0}</h1><p>{1}</p></html>"


class FewKernels(AsyncMappingKernelManager):
    """At most so many kernels; one that no page is connected to goes soon, one that nobody uses later."""

    most = Integer(4, config=True, help="kernels at a time")
    cull_left = Integer(60, config=True, help="seconds after which a kernel without a page is shut down")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._one_by_one = asyncio.Lock()

    async def _async_start_kernel(self, **kwargs: Any) -> str:  # type: ignore[override]
        async with self._one_by_one:
            if len(self) >= self.most:
                raise HTTPError(
                    503,
                    "The explorer is open %d times already, which is the most that it may be. "
                    "Close one of its pages, wait %d seconds, and load this one again.",
                    self.most,
                    self.cull_left,
                )
            return await super()._async_start_kernel(**kwargs)

    start_kernel = _async_start_kernel  # type: ignore[assignment]

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        kernel = self._kernels[kernel_id]
        used = getattr(kernel, "last_activity", None)
        left = not self._kernel_connections.get(kernel_id) and kernel.execution_state != "busy"
        if used is not None and left and _now() - used > timedelta(seconds=self.cull_left):
            self.log.info("Shutting down kernel %s, which no page is connected to.", kernel_id)
            await ensure_async(self.shutdown_kernel(kernel_id))
        else:
            await super().cull_kernel_if_idle(kernel_id)


class Page(TornadoVoilaHandler):
    """The explorer's page: the only one, and only for who asked for it."""

    async def get(self, path: str | None = None) -> None:
        if path:
            raise HTTPError(404, "There is nothing here but the explorer itself.")
        if not self.token_authenticated and not _is_own(self.request):
            raise HTTPError(403, "Another page asked for the explorer. Open the address that `make app` printed.")
        _ = self.xsrf_token  # sets the cookie by which a page that is closed may shut its kernel down
        try:
            await asyncio.wait_for(super().get(path), PATIENCE)
        except TimeoutError:
            self.finish(f"<p>The explorer was not ready after {PATIENCE} seconds. Load the page again.</p>")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        said = isinstance(error, HTTPError) and error.log_message
        text = error.log_message % error.args if said else "Load the page again; the terminal says what went wrong."
        self.set_header("Content-Type", "text/html")
        self.finish(PAGE.format("The explorer cannot be opened", html.escape(text)))


class Refusal(RequestHandler):
    """For requests that call this computer by a name that is not its own, as a page elsewhere may make a browser do."""

    def prepare(self) -> None:
        self.set_status(403)
        text = "This computer is called by a name that is not its own. Open the address that `make app` printed."
        self.finish(PAGE.format("Refused", text))


class App(Voila):
    """Voila for the explorer."""

    window = Bool(True, config=True, help="whether to open a browser")

    def init_handlers(self) -> list[tuple[Any, ...]]:
        """Voila's own, only for the names of this computer, and the page by `Page`."""
        own = [
            (rule[0], Page, *rule[2:]) if rule[1] is TornadoVoilaHandler else rule for rule in super().init_handlers()
        ]
        self.app.add_handlers(OWN_NAMES + "$", own)
        self.kernel_manager.initialize_culler()
        return [(r".*", Refusal)]

    def launch_browser(self) -> None:
        """Say where it is, and open a browser where there is one."""
        address = f"http://{self.ip}:{self.port}/?token={self.token}"
        print(f"The explorer is at {address}\nCtrl-C here ends it.", flush=True)
        if self.window:
            # By way of a file, since all users of a computer see its command lines.
            path = Path(self.connection_dir) / "open.html"
            path.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={address}">')
            webbrowser.open(path.as_uri())


def _now() -> Any:
    from jupyter_server._tz import utcnow

    return utcnow()


def _is_own(request: Any) -> bool:
    """Whether a request was typed or comes from the page itself: a link elsewhere shall not start a kernel."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("none", "same-origin")
    told = request.headers.get("Origin") or request.headers.get("Referer")
    return not told or urlsplit(told).netloc == request.headers.get("Host")


def configuration(args: argparse.Namespace, folder: Path) -> Config:
    """What Voila is told."""
    config = Config()
    config.Voila.config_file_paths = []  # what is configured for other apps may be wider open
    config.Voila.notebook_path = str(args.notebook.resolve())
    config.Voila.ip = "127.0.0.1"
    config.Voila.port = args.port
    config.App.window = has_browser() and not args.no_browser
    config.Voila.connection_dir_root = str(folder)
    config.Voila.token = secrets.token_urlsafe(24)
    config.Voila.identity_provider_class = VoilaIdentityProvider
    config.Voila.tornado_settings = {
        "allow_remote_access": False,
        "headers": {"Referrer-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin"},
    }
    config.Voila.log_level = "ERROR"
    config.IdentityProvider.cookie_options = {"samesite": "Strict"}
    config.VoilaConfiguration.multi_kernel_manager_class = FewKernels
    config.VoilaConfiguration.file_allowlist = []
    config.VoilaConfiguration.allow_template_override = config.VoilaConfiguration.allow_theme_override = "NO"
    config.FewKernels.most = args.kernels
    config.FewKernels.cull_left = args.left
    config.FewKernels.cull_idle_timeout = args.idle
    config.FewKernels.cull_interval = max(1, min(30, args.left // 2, args.idle // 2))
    config.FewKernels.cull_connected = True
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("notebook", type=Path, nargs="?", default=NOTEBOOK, help="what is shown")
    parser.add_argument("--port", type=int, default=8888, help="or the next one that is free")
    parser.add_argument("--kernels", type=int, default=4, help="the most pages at a time; each needs 0.8 GB")
    parser.add_argument("--left", type=int, default=60, help="seconds until the kernel of a closed page is shut down")
    parser.add_argument(
        "--idle", type=int, default=3600, help="seconds until the kernel of an unused page is shut down"
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    args = parser.parse_args()
    make_data_path_absolute()
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # kernels that are smaller, and a little slower
    with temporary_folder(cache_dir() / "app") as folder:
        app = App(config=configuration(args, folder))
        app.initialize([])
        app.start()


if __name__ == "__main__":
    main()
