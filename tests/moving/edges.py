"""Edges of one stack in one process, a thread for each: most of a start is the same for all.

It is run with the port and the NOETL_LEGACY_ROUTES of each, and serves until it is told to end.
"""

import signal
import sys
import threading

import uvicorn
from noetl_api_gateway.app import create_app
from noetl_api_gateway.settings import Settings


def main() -> None:
    """Serve until SIGTERM, then end what is under way."""
    ports, routes = sys.argv[1::2], sys.argv[2::2]
    servers = [_server(int(port), listed) for port, listed in zip(ports, routes, strict=True)]
    threads = [threading.Thread(target=server.run) for server in servers]
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    for thread in threads:
        thread.start()
    signal.sigwait({signal.SIGTERM})
    for server in servers:
        server.should_exit = True
    for thread in threads:
        thread.join()


def _server(port: int, routes: str) -> uvicorn.Server:
    config = uvicorn.Config(
        create_app(Settings(http_port=port, legacy_routes=routes)),
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
    main()
