"""Connections that have died without a word, such as in a NAT or a firewall that forgot them.

Nothing is closed, nothing comes, and new connections pass. A broker that hangs or is overloaded
answers those neither, and a slow network goes on to move bytes: then the connection is left alone.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

from nats.aio.client import Client
from noetl_common.logging import get_logger
from noetl_common.traffic import Traffic, is_moving, traffic_of

from noetl_bus import wire

_log = get_logger()


class _Silence(NamedTuple):
    """A connection over which nothing has come."""

    transport: asyncio.WriteTransport
    received: int
    since: float


@dataclass
class Probe:
    """Cuts a client's connection once it is dead.

    Attributes:
        client: whose connection it is.
        name: of the bus, for the log.
        ping_seconds: time for an answer, twice: nothing has moved in the second half either.
        greeting_seconds: time for a server's answer to a new connection.
        last_seconds: time to answer after all, once a new connection passes: TCP sends what a gap
            of up to three seconds has lost again by then.
        alone_seconds: silence after which servers count as well that the client isn't connected to.
    """

    client: Client
    name: str
    ping_seconds: float = 0.5
    greeting_seconds: float = 1.0
    last_seconds: float = 2.0
    alone_seconds: float = 5.0
    _silence: _Silence | None = None

    async def cut_dead(self) -> None:
        """Cut a connection over which nothing moves, while new ones are answered.

        The client makes it anew.
        """
        if self.client.is_connected and (dead := await self._find_dead()) is not None:
            _log.warning("bus_connection_dead", bus=self.name)
            # Not closed: that would wait until the peer has taken what is still unsent.
            dead.abort()

    async def _find_dead(self) -> asyncio.WriteTransport | None:
        """Return the transport of such a connection, after some three to five seconds."""
        transport = wire.transport(self.client)
        if transport is None:
            return None
        begun = monotonic()
        answer = wire.send_ping(self.client)
        if await _is_done(answer, self.ping_seconds):
            return None
        before = traffic_of(transport)
        if before is None or await _is_done(answer, self.ping_seconds):
            return None
        silent_since = self._note(transport, before, begun)
        if not await self._is_anybody_there(silent_since):
            return None
        # A broker that has just come back to itself greets and answers in the same moment.
        is_answered = await _is_done(answer, self.last_seconds)
        if is_answered or wire.transport(self.client) is not transport:
            return None
        return None if is_moving(transport, since=before) else transport

    def _note(self, transport: asyncio.WriteTransport, traffic: Traffic, begun: float) -> float:
        """Note that nothing has come since a question; return since when that is so."""
        known = self._silence
        is_same = known and (known.transport, known.received) == (transport, traffic.received)
        since = known.since if known and is_same else begun
        self._silence = _Silence(transport, traffic.received, since)
        return since

    async def _is_anybody_there(self, silent_since: float) -> bool:
        """Return whether a server greets a new connection, as each does before any login.

        That of the connection is asked first: another of its cluster may answer while it hangs.
        """
        own = self.client.connected_url
        places = {(server.hostname, server.port) for server in self.client.servers}
        if own is not None:
            if await self._greets(own.hostname, own.port):
                return True
            places.discard((own.hostname, own.port))
        if monotonic() - silent_since < self.alone_seconds:
            return False
        return any(await asyncio.gather(*(self._greets(*place) for place in places)))

    async def _greets(self, host: str | None, port: int | None) -> bool:
        # A ValueError is a line without an end.
        with suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(self.greeting_seconds):
                reader, writer = await asyncio.open_connection(host, port)
                try:
                    return (await reader.readline()).startswith(b"INFO ")
                finally:
                    writer.transport.abort()
        return False


async def _is_done(answer: asyncio.Future[bool], seconds: float) -> bool:
    await asyncio.wait([answer], timeout=seconds)
    return answer.done()
