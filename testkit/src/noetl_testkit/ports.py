"""Ports of servers that are away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def turning_away(port: int) -> AsyncIterator[asyncio.Event]:
    """Close every connection to a port at once; the event is set by the first one.

    It shows that a client tries, while the server that it wants is stopped.
    """
    tried = asyncio.Event()

    def turn_away(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        tried.set()

    async with await asyncio.start_server(turn_away, "127.0.0.1", port):
        yield tried
