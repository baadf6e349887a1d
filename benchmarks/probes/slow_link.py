"""A TCP proxy that hands everything on late, as a database some milliseconds away.

A process of its own: ``python -m benchmarks.probes.slow_link LISTEN TARGET MILLISECONDS``. Both
ports are of this machine; the milliseconds are those of a round trip.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import cast

import uvloop
from noetl.stack.process import free_port
from noetl_testkit.waiting import wait_until


class _Late(asyncio.Protocol):
    """One direction of a connection."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.other: asyncio.Transport | None = None
        self.transport: asyncio.Transport | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        # Calls of one moment and delay keep their order.
        asyncio.get_running_loop().call_later(self._seconds, self._hand_on, data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        asyncio.get_running_loop().call_later(self._seconds, self._close)

    def joined(self, other: asyncio.Transport) -> None:
        """Send to this end from now on, first the bytes that came before it was there."""
        self.other = other
        for data in self._early:
            other.write(data)
        self._early.clear()

    def _hand_on(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        else:
            self.other.write(data)

    def _close(self) -> None:
        if self.other is not None:
            self.other.close()


async def serve(listen: int, target: int, seconds: float) -> None:
    """Serve until it is cancelled."""
    loop = asyncio.get_running_loop()
    joins: set[asyncio.Task[None]] = set()

    def accept() -> _Late:
        front = _Late(seconds / 2)
        task = loop.create_task(join(front))
        joins.add(task)
        task.add_done_callback(joins.discard)
        return front

    async def join(front: _Late) -> None:
        try:
            transport, back = await loop.create_connection(
                lambda: _Late(seconds / 2), "127.0.0.1", target
            )
        except OSError:
            if front.transport is not None:
                front.transport.close()
            return
        assert front.transport is not None
        back.joined(front.transport)
        front.joined(transport)

    server = await loop.create_server(accept, "127.0.0.1", listen)
    await server.serve_forever()


@contextlib.contextmanager
def slow_link(target: int, milliseconds: float) -> Iterator[int]:
    """Run the proxy for the length of the block, and give its port."""
    port = free_port()
    command = [sys.executable, "-m", __name__, str(port), str(target), str(milliseconds)]
    process = subprocess.Popen(command)
    try:
        wait_until(lambda: _listens(port), what="the slow link listens", timeout_seconds=20)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    _listen, _target, _milliseconds = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(int(_listen), int(_target), float(_milliseconds) / 1000))
