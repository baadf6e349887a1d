"""A scripted edge: the routes the worker calls, over real HTTP."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import orjson
from noetl_common.crypto.sealed import SealingKey
from noetl_worker.control_plane.edge import Edge
from noetl_worker.credentials.cache import CredentialCache
from noetl_worker.credentials.source import EdgeCredentials

type Answer = tuple[int, Any]


@dataclass
class ScriptedEdge:
    """Answers as the test wants; remembers every call in order."""

    url: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    claim: Callable[[int, int], Answer] = lambda _event_id, _count: (
        409,
        {"error": "Command already claimed by x", "status": 409},
    )
    event: Callable[[dict[str, Any], int], Answer] = lambda event, _count: (
        200,
        {"status": "ok", "event_id": event["event_id"], "commands_generated": 0},
    )
    pool: Callable[[str, int], Answer] = lambda _operation, _count: (200, {"status": "ok"})
    result: Callable[[dict[str, Any]], Answer] = lambda body: (
        200,
        {"ref": f"noetl://execution/7/result/{body['name']}/1", "store": "db",
         "scope": body["scope"], "bytes": 1, "sha256": "00", "expires_at": None},
    )  # fmt: skip

    credential: Callable[[str, int], Answer] = lambda alias, _count: (
        404,
        {"error": f"Credential '{alias}' not found", "status": 404},
    )

    def bodies(self, prefix: str) -> list[Any]:
        return [body for _, path, body in list(self.calls) if path.startswith(prefix)]

    @property
    def events(self) -> list[Any]:
        return self.bodies("/api/events")

    def answer(self, method: str, path: str, body: Any) -> Answer:
        count = len([one for one in list(self.calls) if one[1] == path])
        self.calls.append((method, path, body))
        parts = path.split("/")
        if path.startswith("/api/commands/"):
            return self.claim(int(parts[3]), count)
        if path == "/api/events":
            return self.event(body, count)
        if path.startswith("/api/credentials/"):
            return self.credential(unquote(path.partition("?")[0].split("/")[3]), count)
        if path.startswith("/api/worker/pool/"):
            return self.pool(parts[4], count)
        return self.result(body)


def make_credentials(
    edge: Edge, *, sealing: SealingKey | None = None, seconds: float = 60.0, most: int = 100
) -> EdgeCredentials:
    return EdgeCredentials(
        edge,
        worker_id="w-1",
        sealing=sealing,
        cache=CredentialCache(seconds=seconds, most=most),
        tries=3,
        first_pause_seconds=0.01,
    )


@contextmanager
def scripted_edge() -> Iterator[ScriptedEdge]:
    edge = ScriptedEdge()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else a body waits until the head is confirmed: 40 ms on a connection that is kept.
        disable_nagle_algorithm = True

        def answer(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            edge.headers.append({name.lower(): value for name, value in self.headers.items()})
            given = orjson.loads(data) if data else None
            status, body = edge.answer(self.command, self.path, given)
            encoded = body if isinstance(body, bytes) else orjson.dumps(body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  the standard library's names

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    edge.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield edge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
