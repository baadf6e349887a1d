"""A service that only says that it lives, for tests of the supervisor."""

import http.server
import os
import signal
import socket
import sys
from urllib.parse import urlsplit


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_request(self, code: object = "-", size: object = "-") -> None:
        pass


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def drain(*_: object) -> None:
    """Print which of the servers are still there when this process is asked to end."""
    servers = {
        "nats": urlsplit(os.environ["NOETL_NATS_URL"]).port,
        "postgres": int(os.environ.get("POSTGRES_PORT", "0")),
    }
    for name, port in servers.items():
        if port:
            with socket.socket() as probe:
                answer = "there" if probe.connect_ex(("127.0.0.1", port)) == 0 else "gone"
            say(f"drain: {name} is {answer}")
    sys.exit(0)


def main() -> None:
    signal.signal(signal.SIGTERM, drain)
    say(f"knows the database: {'POSTGRES_PASSWORD' in os.environ}")
    address = (os.environ["NOETL_HTTP_HOST"], int(os.environ["NOETL_HTTP_PORT"]))
    http.server.ThreadingHTTPServer(address, Handler).serve_forever()


if __name__ == "__main__":
    main()
