"""Stand-ins of the clouds for providers of secrets: one HTTP server that records requests."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
from noetl_contract.json import Json


@dataclass(frozen=True)
class Call:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


type Answer = Callable[[Call], tuple[int, Json]]


@dataclass
class Clouds:
    """Answers by path, and the requests received."""

    url: str = ""
    answers: dict[str, tuple[int, Json] | Answer] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def answer(self, path: str, body: Json, *, status: int = 200) -> None:
        """Answer a path, query apart, from now on."""
        self.answers[path] = (status, body)

    def count(self, path: str) -> int:
        """Return the number of requests for a path."""
        return sum(call.path.partition("?")[0] == path for call in self.calls)


@contextmanager
def running_clouds() -> Iterator[Clouds]:
    """Serve until the block ends."""
    clouds = Clouds()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("content-length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Call(self.command, self.path, headers, self.rfile.read(size))
            clouds.calls.append(call)
            missing = (404, {"error": "no such path"})
            answer = clouds.answers.get(self.path.partition("?")[0], missing)
            status, body = answer(call) if callable(answer) else answer
            data = body if isinstance(body, bytes) else orjson.dumps(body)
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815 -- the library's names

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    clouds.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield clouds
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
