"""Lines to servers that die without a word."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

_CHUNK = 65536
_SLOW_BUFFER = 1 << 16


@dataclass(eq=False)
class _Half:
    """One direction of a connection."""

    has_answers: bool
    is_dead: bool = False
    goes: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Line:
    """A TCP proxy to one port.

    Attributes:
        port: that leads to the server.
        made: connections so far.
        is_open: whether new connections pass; else they are accepted and hear nothing.
        bytes_a_second: that each direction passes; 0 for as many as there are.
    """

    port: int = 0
    made: int = 0
    is_open: bool = True
    bytes_a_second: int = 0
    _halves: set[_Half] = field(default_factory=set)

    def cut(self, *, only_answers: bool = False) -> None:
        """Let nothing pass any more over the connections that are there, or nothing back.

        Both ends keep them, and what they write is acknowledged.
        """
        for half in self._halves:
            half.is_dead = half.is_dead or half.has_answers or not only_answers

    def hold(self, *, is_held: bool = True) -> None:
        """Hold up what passes over the connections that are there, or let it go."""
        for half in self._halves:
            if is_held:
                half.goes.clear()
            else:
                half.goes.set()

    async def carry(
        self, half: _Half, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass on one direction until it ends."""
        self._halves.add(half)
        half.is_dead = not self.is_open
        half.goes.set()
        try:
            while data := await reader.read(_CHUNK):
                await half.goes.wait()
                if not half.is_dead:
                    writer.write(data)
                    await writer.drain()
                if self.bytes_a_second:
                    await asyncio.sleep(len(data) / self.bytes_a_second)
            if half.is_dead:
                await asyncio.Event().wait()  # nor does the end of a connection pass
        except OSError:
            pass
        finally:
            self._halves.discard(half)
            writer.close()


@asynccontextmanager
async def line_to(target: int) -> AsyncIterator[Line]:
    """Open a line to a port of this machine."""
    line = Line()
    beside: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line.made += 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            line.carry(_Half(has_answers=False), reader, back),
            line.carry(_Half(has_answers=True), there, writer),
        )

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        beside.add(task)
        task.add_done_callback(beside.discard)

    listening = socket.socket()
    # What is on its way waits with its sender, as it does in a network, and not in the kernel here.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER)
    listening.bind(("127.0.0.1", 0))
    server = await asyncio.start_server(begin, sock=listening, limit=_SLOW_BUFFER)
    line.port = listening.getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
