"""Connections that have died without a word, such as in a NAT or a firewall that forgot them.

Nothing is closed, nothing comes, and new connections pass. A broker that hangs or is overloaded
answers those neither, and a slow network goes on to move bytes: then the connection is left alone.
"""

import asyncio
from contextlib import suppress

from nats.aio.client import Client
from noetl_common.logging import get_logger
from noetl_common.traffic import is_moving, traffic_of

from noetl_bus import wire

_log = get_logger()
_PING_SECONDS = 0.5
"""Time for an answer, twice: nothing has moved in the second half either."""
_GREETING_SECONDS = 1.0
_LAST_SECONDS = 0.25


async def cut_dead(client: Client, *, name: str) -> None:
    """Cut a connection over which nothing moves, while new ones are answered: it is made anew."""
    if client.is_connected and (dead := await _find_dead(client)) is not None:
        _log.warning("bus_connection_dead", bus=name)
        # Not closed: that would wait until the peer has taken what is still unsent.
        dead.abort()


async def _find_dead(client: Client) -> asyncio.WriteTransport | None:
    """Return the transport of such a connection, after up to two and a half seconds."""
    transport = wire.transport(client)
    if transport is None:
        return None
    answer = wire.send_ping(client)
    if await _is_done(answer, _PING_SECONDS):
        return None
    before = traffic_of(transport)
    if await _is_done(answer, _PING_SECONDS) or not await _is_anybody_there(client):
        return None
    # A broker that has just come back to itself greets and answers in the same moment.
    if await _is_done(answer, _LAST_SECONDS) or wire.transport(client) is not transport:
        return None
    return None if is_moving(transport, since=before) else transport


async def _is_done(answer: asyncio.Future[bool], seconds: float) -> bool:
    await asyncio.wait([answer], timeout=seconds)
    return answer.done()


async def _is_anybody_there(client: Client) -> bool:
    """Return whether a server greets a new connection, as each does before any login."""
    tried = (_greets(server.hostname, server.port) for server in client.servers)
    return any(await asyncio.gather(*tried))


async def _greets(host: str | None, port: int | None) -> bool:
    # A ValueError is a line without an end.
    with suppress(OSError, TimeoutError, ValueError):
        async with asyncio.timeout(_GREETING_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return (await reader.readline()).startswith(b"INFO ")
            finally:
                writer.transport.abort()
    return False
