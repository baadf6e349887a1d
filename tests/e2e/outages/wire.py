"""TCP proxy whose wire breaks: holes, one way, cuts in a message, resets, refusals, delays."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

_CHUNK = 1 << 16


class Break(StrEnum):
    """Kinds of broken wires.

    `HOLE` passes nothing and `ONE_WAY` nothing from the server, and nobody is told; `CUT` ends each
    connection in the middle of what comes next, `RESET` at once; `REFUSE` takes no new ones either;
    `DELAY` passes everything late; `HALF_OPEN` passes nothing on connections that are there, and
    everything on new ones. What a hole has kept passes once it is mended, as TCP sends it again.
    """

    HOLE = "hole"
    ONE_WAY = "one way"
    CUT = "cut"
    RESET = "reset"
    REFUSE = "refuse"
    DELAY = "delay"
    HALF_OPEN = "half open"


@dataclass(eq=False)
class _Connection:
    """The two sockets of a connection."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    is_dead: bool = False
    is_cut: bool = False

    def abort(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


@dataclass
class Wire:
    """A proxy in front of a port of this machine, open during its block; `port` is its own."""

    target: int
    delay_seconds: float = 0.3
    port: int = 0
    broken: Break | None = None
    connections: set[_Connection] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _mended: asyncio.Event = field(default_factory=asyncio.Event)
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.shut()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def open(self) -> None:
        """Listen, on the same port again after `shut`."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def shut(self) -> None:
        """Refuse new connections, and end those that are there."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for one in set(self.connections):
            one.abort()

    async def break_for(self, kind: Break, seconds: float) -> None:
        """Break the wire, and mend it after a while; half-open connections stay so."""
        self._mended.clear()
        self.broken = kind
        if kind is Break.RESET:
            for one in set(self.connections):
                one.abort()
        elif kind is Break.REFUSE:
            self.shut()
        elif kind is Break.HALF_OPEN:
            for one in self.connections:
                one.is_dead = True
        elif kind is Break.CUT:
            for one in self.connections:
                one.is_cut = True
        try:
            await asyncio.sleep(seconds)
        finally:
            self.broken = None
            self._mended.set()
            if kind is Break.REFUSE:
                await self.open()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, front = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(writer, front)
        self.connections.add(connection)
        try:
            await asyncio.gather(
                self._pump(reader, front, connection, is_back=False),
                self._pump(back, writer, connection, is_back=True),
            )
        finally:
            self.connections.discard(connection)
            connection.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        connection: _Connection,
        *,
        is_back: bool,
    ) -> None:
        with suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                if connection.is_dead:
                    await asyncio.Event().wait()
                if connection.is_cut:
                    writer.write(chunk[: len(chunk) // 2])
                    await writer.drain()
                    break
                if self.broken is Break.HOLE or (self.broken is Break.ONE_WAY and is_back):
                    await self._mended.wait()
                elif self.broken is Break.DELAY:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(chunk)
                await writer.drain()
        if connection.is_cut:
            connection.abort()
        with suppress(OSError):
            writer.close()


__all__ = ["Break", "Wire"]
