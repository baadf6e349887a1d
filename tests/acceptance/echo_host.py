"""A host that answers with what it was asked, so that a test sees what a tool has sent."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ECHO = "http://echo.test-server.svc.cluster.local:5556"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        text = self.rfile.read(length).decode()
        url = urlsplit(self.path)
        # Header names are told as "X-Number": the scrubber would hide one called "authorization".
        answer = {
            "method": self.command,
            "query": parse_qs(url.query),
            "body": text,
            "kind": self.headers.get("content-type"),
            "number": self.headers.get("x-number"),
            "text": self.headers.get("x-text"),
            "right_header": self.headers.get("authorization") == "Bearer b-1234",
        }
        data = json.dumps(answer).encode()
        self.send_response(200 if url.path in {"/echo", "/health"} else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = handle_any  # noqa: N815  names of the base

    def log_message(self, *_arguments: object) -> None:
        pass


@contextlib.contextmanager
def echo_host() -> Iterator[str]:
    """Serve for the length of the block and give the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
