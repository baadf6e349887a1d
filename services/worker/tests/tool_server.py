"""A real HTTP server that answers as a test says, and remembers its requests."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import orjson


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.data)


@dataclass(frozen=True)
class Said:
    """One answer; a body that is no bytes is sent as JSON."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class ToolServer:
    """The server as tests see it."""

    url: str
    answer: Callable[[Asked], Said]
    asked: list[Asked] = field(default_factory=list)

    def paths(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.asked]


@contextmanager
def tool_server(answer: Callable[[Asked], Said]) -> Iterator[ToolServer]:
    """Serve on loopback until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else a body waits until the head is confirmed: 40 ms on a connection that is kept.
        disable_nagle_algorithm = True

        def work(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            asked = Asked(
                method=self.command,
                path=unquote(parts.path),
                query={name: found[-1] for name, found in parse_qs(parts.query).items()},
                headers={name.lower(): value for name, value in self.headers.items()},
                data=self.rfile.read(length),
            )
            known.asked.append(asked)
            said = known.answer(asked)
            data = said.body if isinstance(said.body, bytes) else orjson.dumps(said.body)
            kind = "text/plain" if isinstance(said.body, bytes) else "application/json"
            with suppress(ConnectionError):
                self.send_response(said.status)
                for name, value in {"Content-Type": kind, **said.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        # The names are the standard library's.
        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = work  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    known = ToolServer(f"http://127.0.0.1:{server.server_port}", answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield known
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
