"""`python -m noetl_api_gateway`."""

import asyncio
import signal
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
import uvloop
from noetl_common.logging import configure

from noetl_api_gateway.app import create_app
from noetl_api_gateway.settings import Settings


class _Server(uvicorn.Server):
    """Leaves signals to us: the original raises them again after an orderly end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


async def serve(settings: Settings) -> int:
    """Serve until a signal or a failure; returns the exit code.

    SIGTERM fails readiness first and closes the port after the drain delay, because whoever
    sends requests here learns of it late, and a refused connection ends a real worker
    . SIGINT and a second signal close at once.
    """
    shell = create_app(settings)
    service = shell.service
    config = uvicorn.Config(
        shell,
        host=settings.http_host,
        port=settings.http_port,
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, int(settings.shutdown_grace_seconds)),
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
        ssl_ca_certs=settings.tls_client_ca or None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if settings.tls_client_ca else ssl.CERT_NONE,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()
    signals = 0

    def close() -> None:
        server.should_exit = True

    def on_signal(number: signal.Signals) -> None:
        nonlocal signals
        signals += 1
        service.drain()
        if signals == 1 and number == signal.SIGTERM:
            loop.call_later(settings.drain_delay_seconds, close)
        else:
            server.force_exit = server.should_exit
            close()

    async def close_on_failure() -> None:
        await service.failed.wait()
        close()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(close_on_failure())
        await server.serve()
        watching.cancel()
    return 0 if server.started and service.failure is None else 1


def main() -> None:
    """Serve, and exit with what came of it."""
    settings = Settings()
    configure(settings, "api-gateway")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(serve(settings))
    sys.stdout.flush()
    sys.exit(code)


if __name__ == "__main__":
    main()
