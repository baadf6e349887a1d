"""A TCP proxy that can swallow what it gets, as a network does that fails without a word."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_PIECE_BYTES = 1 << 16


class Hole:
    """Passes bytes on to a server, until it has to swallow them.

    Attributes:
        port: where it listens on this machine.
        swallows: bytes of connections that are there are lost; they stay open.
        refuses: new connections are closed at once.
    """

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.swallows = self.refuses = False
        self._target = host, port
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what one client and the server send each other."""
        if self.refuses:
            writer.close()
            return
        theirs, ours = await asyncio.open_connection(*self._target)
        for source, sink in ((reader, ours), (theirs, writer)):
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                while piece := await source.read(_PIECE_BYTES):
                    if not self.swallows:
                        sink.write(piece)
                        await sink.drain()
            if self.swallows:
                await asyncio.Event().wait()  # nobody hears of the end
        finally:
            sink.close()

    def end(self) -> None:
        """End all connections."""
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def hole_to(host: str, port: int) -> AsyncIterator[Hole]:
    """Run a proxy in front of a server for the length of the block."""
    hole = Hole(host, port)
    server = await asyncio.start_server(hole.serve, "127.0.0.1", 0)
    hole.port = server.sockets[0].getsockname()[1]
    try:
        yield hole
    finally:
        server.close()
        hole.end()
