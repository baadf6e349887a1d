"""The HTTP server of a process: limits, signals, drain and exit code."""

import asyncio
import gc
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import uvicorn
from noetl_common.logging import get_logger
from uvicorn.config import STARTUP_FAILURE

from noetl_service.intake.limits import Connections, IntakeLimits
from noetl_service.intake.protocol import guarded

_OTHER_FILES = 512
"""Open files of a process, not counting the connections of its port."""
_NEW_OBJECTS = 10_000
"""Number of new container objects after which the garbage collector runs.

Most of these objects belong to work in progress and are not garbage. The default runs the collector
five times as often, which took a tenth of the processor time of an orchestrator and of a worker.
"""

_log = get_logger()


class Drainable(Protocol):
    """The service behind the server."""

    @property
    def failed(self) -> asyncio.Event:
        """Is set when the process has to end."""

    @property
    def failure(self) -> BaseException | None:
        """The error that ends the process, if there is one."""

    def drain(self) -> None:
        """Fail readiness from now on."""


def server_config(
    app: Any, limits: IntakeLimits, *, host: str, port: int, grace_seconds: float, **more: Any
) -> uvicorn.Config:
    """Return the server's configuration for an app behind the limits.

    Args:
        app: the ASGI app.
        limits: limits of the port.
        host: address to bind.
        port: port to bind.
        grace_seconds: time for requests in progress when the server stops.
        more: other parameters of the server.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        http=guarded(Connections(limits)),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        # Otherwise a header could claim any address for the client.
        proxy_headers=False,
        timeout_keep_alive=int(limits.idle_seconds),
        timeout_graceful_shutdown=max(1, int(grace_seconds)),
        **more,
    )


def allow_connections(wanted: int) -> int:
    """Raise the limit of open files for a number of connections; return the number allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _OTHER_FILES
    if soft < needed:
        soft = min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < needed:
        _log.warning("few_open_files_allowed", allowed=soft, wanted=needed)
    return min(wanted, max(soft - _OTHER_FILES, soft // 2))


async def serve(
    config: uvicorn.Config,
    service: Drainable | None,
    *,
    drain_delay_seconds: float = 0.0,
    handshake_seconds: float = 10.0,
) -> int:
    """Serve until a signal arrives or the service fails; return the exit code.

    After SIGTERM, readiness fails immediately and the port is closed after the delay, because load
    balancers react late. After SIGINT, the port is closed immediately. A second signal also drops
    open requests.
    """
    server = _Server(config, handshake_seconds)
    loop = asyncio.get_running_loop()
    signals: list[signal.Signals] = []

    def close() -> None:
        server.should_exit = True

    def on_signal(number: signal.Signals) -> None:
        signals.append(number)
        if service is not None:
            service.drain()
        if drain_delay_seconds > 0 and signals == [signal.SIGTERM]:
            loop.call_later(drain_delay_seconds, close)
            return
        server.force_exit = server.should_exit
        close()

    async def close_on_failure() -> None:
        if service is not None:
            await service.failed.wait()
            close()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)
    watching = asyncio.create_task(close_on_failure(), name="failure watch")
    # Objects of imported modules live until the end. Without the freeze, the collector would scan
    # them regularly, and no request is answered during the tenth of a second that this takes.
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
    try:
        await server.serve()
    finally:
        watching.cancel()
    failed = not server.started or (service is not None and service.failure is not None)
    return 1 if failed else 0


class _Server(uvicorn.Server):
    """A server without signal handlers; those of uvicorn raise a signal again after the end."""

    def __init__(self, config: uvicorn.Config, handshake_seconds: float) -> None:
        super().__init__(config)
        self._handshake_seconds = handshake_seconds

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port; the base class would wait a minute for a handshake of TLS."""
        if sockets is not None or self.config.ssl is None:
            await super().startup(sockets)
            return
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        try:
            server = await asyncio.get_running_loop().create_server(
                self._connection,
                host=self.config.host,
                port=self.config.port,
                ssl=self.config.ssl,
                ssl_handshake_timeout=self._handshake_seconds,
                backlog=self.config.backlog,
            )
        except OSError as error:
            _log.error("port_not_opened", error=str(error))
            await self.lifespan.shutdown()
            sys.exit(STARTUP_FAILURE)
        self.servers = [server]
        self.started = True

    def _connection(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol
