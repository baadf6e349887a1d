"""Edges of one stack, a process for each, forked after the most expensive part of a start.

It is run with the port and the NOETL_LEGACY_ROUTES of each, and serves until SIGTERM, or
until one of them has ended by itself.
"""

import os
import signal
import sys
import traceback

import uvicorn
from noetl_api_gateway.app import create_app
from noetl_api_gateway.settings import Settings

_ENDS = {signal.SIGTERM, signal.SIGCHLD}


def main() -> int:
    """Serve until SIGTERM, then end the requests under way; return 1 if an edge ended before."""
    ports, routes = sys.argv[1::2], sys.argv[2::2]
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    edges = [_started(int(port), listed) for port, listed in zip(ports, routes, strict=True)]
    told = signal.sigwait(_ENDS)
    for edge in edges:
        os.kill(edge, signal.SIGTERM)
    for edge in edges:
        os.waitpid(edge, 0)
    return int(told == signal.SIGCHLD)


def _started(port: int, routes: str) -> int:
    """Return the process of a new edge."""
    edge = os.fork()
    if edge:
        return edge
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)
        _server(port, routes).run()
        status = 0
    except Exception:  # noqa: BLE001 -- the end of the process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _server(port: int, routes: str) -> uvicorn.Server:
    os.environ["NOETL_LEGACY_ROUTES"] = routes
    config = uvicorn.Config(
        create_app(Settings(http_port=port)),
        port=port,
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=10,
    )
    return uvicorn.Server(config)


if __name__ == "__main__":
    sys.exit(main())
