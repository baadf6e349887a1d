"""A web service that steps of kind http ask: a fixed answer, from a thread of its own."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import cast

_ANSWER = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n{"n": 1}'


@contextlib.contextmanager
def target() -> Iterator[str]:
    """Serve for the length of the block, and give the address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(_listen(), loop).result(timeout=10)
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/"
        loop.call_soon_threadsafe(server.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)


class _Answering(asyncio.Protocol):
    """Answers every request in the same way."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(_ANSWER * data.count(b"\r\n\r\n"))


async def _listen() -> asyncio.Server:
    return await asyncio.get_running_loop().create_server(_Answering, "127.0.0.1", 0)
