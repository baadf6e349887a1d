"""A web service for the example playbooks: GET /temperature?city=NAME.

Standard library only: ``python3 examples/mock_api.py [PORT]`` (default 8099).
"""

import contextlib
import json
import sys
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

DEFAULT_PORT = 8099


class Handler(BaseHTTPRequestHandler):
    """Answers with a temperature made from the city's name: the same one every time."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one request."""
        address = urlsplit(self.path)
        if address.path != "/temperature":
            self._answer(404, {"error": f"no such page: {address.path}"})
            return
        city = parse_qs(address.query).get("city", ["nowhere"])[0]
        self._answer(200, {"city": city, "celsius": zlib.crc32(city.encode()) % 40})

    def _answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Stay silent: the example's output is the playbook's."""


def main() -> None:
    """Serve until interrupted."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_PORT
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"mock API on http://127.0.0.1:{port}/temperature?city=Lisbon")
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()


if __name__ == "__main__":
    main()
