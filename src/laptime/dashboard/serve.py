"""The site over HTTP on this machine only, and the loop that keeps it up to date while logs grow.

Bound to the loopback address; answers only to its own names, so that no page of the web can reach it under another one;
gives out files of the exported folder and nothing else; never writes on behalf of a page.
"""

import errno
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from laptime.dashboard.export import Exporter
from laptime.dashboard.running import in_progress
from laptime.errors import UserError
from laptime.results.ingest import Ask, Ingested, ingest
from laptime.results.store import writing

LOOPBACK: Final = "127.0.0.1"
_NAMES: Final = (LOOPBACK, "localhost")
_KINDS: Final = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
                 ".js": "text/javascript; charset=utf-8", ".json": "application/json"}
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                               "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-cache"}


class Server(ThreadingHTTPServer):
    """Serves one folder. Raises UserError where the port is taken or may not be used."""

    daemon_threads = True

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder.resolve()
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as problem:
            raise _refused(port, problem) from None

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away in the middle of an answer is no news."""


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD of files below the folder of the server."""

    server: Server
    server_version = "laptime"
    sys_version = ""
    timeout = 30  # seconds for a request to arrive

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """The terminal is for the user."""

    def _answer(self, *, body: bool) -> None:
        if not self._asked_by_name():
            self._give(HTTPStatus.FORBIDDEN, b"this server answers to its own address only\n", ".txt", body=body)
        elif (path := inside(self.server.folder, self.path)) is None:
            self._give(HTTPStatus.NOT_FOUND, b"nothing here\n", ".txt", body=body)
        else:
            self._give(HTTPStatus.OK, path.read_bytes(), path.suffix, body=body)

    def _asked_by_name(self) -> bool:
        host = self.headers.get("Host", "").rpartition(":")
        return (host[0] or host[2]).lower() in _NAMES

    def _give(self, status: HTTPStatus, content: bytes, kind: str, *, body: bool) -> None:
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", _KINDS.get(kind, "text/plain; charset=utf-8"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


def inside(folder: Path, asked: str) -> Path | None:
    """The file of a resolved folder that a request asks for; None: there is none, or it lies elsewhere."""
    try:
        place = unquote(urlsplit(asked).path, errors="strict").lstrip("/") or "index.html"
        path = (folder / place).resolve()
        hidden = any(part.startswith(".") for part in Path(place).parts)
        return path if not hidden and path.is_relative_to(folder) and path.is_file() else None
    except (OSError, ValueError):  # no name that a file can have
        return None


@dataclass
class Refresher:
    """Brings the store and the site up to date, again and again, in a thread of its own.

    `paths`: what to ingest each time; `made`: the store's date in words; `tell`: called with what goes wrong, once for
    each new trouble; `scratch`: a folder of its own, where runs in progress are copied to.
    """

    exporter: Exporter
    paths: Sequence[Path]
    made: Callable[[Path], str]
    tell: Callable[[str], None]
    scratch: Path
    ask: Ask = field(default_factory=Ask)
    seconds: float = 2.0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _trouble: str = ""
    _without: tuple[tuple[str, str], ...] = ()
    _seen: tuple[int, int] | None = None

    def once(self) -> bool:
        """Ingest and export what has changed; whether anything had. Raises UserError."""
        store, before = self.exporter.store, _stamp(self.exporter.store)
        done = Ingested()
        if self.paths:  # of two folders with one name the first counts: runs in progress go before what has ended
            places = in_progress(self.paths, self.scratch)
            done = ingest(places, store, self.ask, processes=1)
            self._left_out(done.left_out if places == list(self.paths) else ())
        others = before is None or before != self._seen  # the store was written by another program, or never seen
        self._seen = _stamp(store)  # an ingest that changes nothing touches the file, too
        if not (others or done.new or done.changed):
            return False
        try:
            self.exporter.write(self.made(store))
        except UserError:
            self._seen = None  # so that the next time tries again
            raise
        return True

    def first(self) -> None:
        """As `once`; where there is nothing at the paths yet, that is told and waited for. Raises UserError."""
        try:
            self.once()
        except UserError as error:
            if not self.paths:
                raise
            self._told(error)
            with writing(self.exporter.store):
                pass
            self.exporter.write(self.made(self.exporter.store))

    def start(self) -> None:
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends after what is being done now."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _loop(self) -> None:
        while not self._stop.wait(self.seconds):
            try:
                self.once()
                self._trouble = ""
            except UserError as error:  # logs may be half written, the disk may be full: the next time it may work
                self._told(error)

    def _left_out(self, results: tuple[tuple[str, str], ...]) -> None:
        """Tell of results that could not be judged, once."""
        for result in results:
            if result not in self._without:
                self.tell(": ".join(result))
        self._without = results

    def _told(self, error: UserError) -> None:
        if str(error) != self._trouble:
            self._trouble = str(error)
            self.tell(self._trouble)


def _stamp(store: Path) -> tuple[int, int] | None:
    """Changes whenever the store is written."""
    try:
        found = store.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _refused(port: int, problem: OSError) -> UserError:
    if problem.errno == errno.EADDRINUSE:
        return UserError(f"port {port} of this machine is in use",
                         hint="Give another one by --port; 0 takes a free one.")
    return UserError(f"cannot listen on port {port}: {problem.strerror or problem}",
                     hint="Give another one by --port; 0 takes a free one.")
