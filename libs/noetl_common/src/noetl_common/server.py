"""The HTTP server of a process: its signals, its drain, its exit code."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import uvicorn


class Drainable(Protocol):
    """The service behind the server."""

    @property
    def failed(self) -> asyncio.Event:
        """Set when the process has to end."""

    @property
    def failure(self) -> BaseException | None:
        """The reason, if there is one."""

    def drain(self) -> None:
        """Fail readiness from now on."""


async def serve(
    config: uvicorn.Config, service: Drainable | None, *, drain_delay_seconds: float = 0.0
) -> int:
    """Serve until a signal comes or the service fails; return the exit code.

    SIGTERM fails readiness first and closes the port after the delay, because load balancers
    hear of it late. SIGINT closes at once, a second signal also drops open requests.
    """
    server = _Server(config)
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
    try:
        await server.serve()
    finally:
        watching.cancel()
    failed = not server.started or (service is not None and service.failure is not None)
    return 1 if failed else 0


class _Server(uvicorn.Server):
    """Leaves signals to us: the original raises them again after an orderly end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
