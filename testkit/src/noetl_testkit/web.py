"""A real HTTP server that answers as a test says and keeps the requests it got."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from noetl_contract.json import Json

__all__ = ["Request", "Response", "WebServer", "serving"]

_BLOCK = 1 << 16


@dataclass(frozen=True)
class Request:
    """A request as it came in.

    Attributes:
        target: path and query as they were sent; `path` and `query` have the escapes resolved.
        headers: names in lower case.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path without the query."""
        return unquote(urlsplit(self.target).path)

    @cached_property
    def query_lists(self) -> dict[str, list[str]]:
        """All values of each parameter."""
        return parse_qs(urlsplit(self.target).query)

    @property
    def query(self) -> dict[str, str]:
        """The last value of each parameter."""
        return {name: values[-1] for name, values in self.query_lists.items()}

    @property
    def json(self) -> Json:
        """The body read as JSON; None without a body."""
        return json.loads(self.body) if self.body else None


@dataclass(frozen=True)
class Response:
    """An answer.

    Attributes:
        body: bytes are sent as they are, an iterator of bytes piece by piece until it ends,
            everything else as JSON.
    """

    body: Json | bytes | Iterator[bytes] = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class WebServer:
    """The server as tests see it; `answer` may be replaced at any time.

    `answer` runs in a thread of its own for each connection, so it may wait.
    """

    url: str
    answer: Callable[[Request], Response]
    requests: list[Request] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return method and path of each request."""
        return [f"{request.method} {request.path}" for request in self.requests]

    def count(self, path: str) -> int:
        """Count the requests for a path."""
        return sum(request.path == path for request in list(self.requests))


@contextmanager
def serving(answer: Callable[[Request], Response]) -> Iterator[WebServer]:
    """Serve on loopback for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else a body waits until the head is confirmed: 40 ms on a connection that is kept.
        disable_nagle_algorithm = True

        def work(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            request = Request(
                method=self.command,
                target=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(size),
            )
            known.requests.append(request)
            response = known.answer(request)
            with suppress(ConnectionError):  # the client may have given up
                self._send(response)

        # The names are the standard library's.
        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = work  # noqa: N815

        def _send(self, response: Response) -> None:
            body = response.body
            self.send_response(response.status)
            if isinstance(body, Iterator):
                self.close_connection = True
                pieces = body
                headers = {"Connection": "close"}
            else:
                kind = "text/plain" if isinstance(body, bytes) else "application/json"
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                pieces = (data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK))
                headers = {"Content-Type": kind, "Content-Length": str(len(data))}
            for name, value in {**headers, **response.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                for piece in pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Print nothing: failures show in the test."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    known = WebServer(f"http://127.0.0.1:{server.server_port}", answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
