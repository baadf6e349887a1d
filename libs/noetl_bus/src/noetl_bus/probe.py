"""Detection of a half-open connection, such as behind a NAT or firewall that dropped its state.

The connection isn't closed, but nothing arrives, while new connections work. A broker that hangs or
is overloaded doesn't answer a new connection either, and on a slow network bytes still move. In
these cases the connection is kept.
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
    """A connection on which nothing was received since a moment."""

    transport: asyncio.WriteTransport
    received: int
    since: float


@dataclass
class Probe:
    """Aborts a client's connection once it is dead.

    Attributes:
        client: the client.
        name: name of the bus, for the log.
        ping_seconds: time for an answer to a ping, twice; byte counters are compared after the
            first half.
        greeting_seconds: timeout of a server's greeting on a new connection.
        last_seconds: time for the answer after a new connection was greeted. After a network gap of
            up to three seconds, TCP has retransmitted lost bytes by then.
        alone_seconds: silence after which greetings of other servers of the cluster count too.
    """

    client: Client
    name: str
    ping_seconds: float = 0.5
    greeting_seconds: float = 1.0
    last_seconds: float = 2.0
    alone_seconds: float = 5.0
    _silence: _Silence | None = None

    async def cut_dead(self) -> None:
        """Abort the connection if no byte moves while new connections work.

        The client then reconnects.
        """
        if self.client.is_connected and (dead := await self._find_dead()) is not None:
            _log.warning("bus_connection_dead", bus=self.name)
            # Closing it would wait until the peer has received all unsent bytes.
            dead.abort()

    async def _find_dead(self) -> asyncio.WriteTransport | None:
        """Return the transport of a dead connection after three to five seconds, or None."""
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
        silent_since = self._record_silence(transport, before, begun)
        if not await self._is_server_reachable(silent_since):
            return None
        # A broker that no longer hangs greets and answers at the same moment.
        is_answered = await _is_done(answer, self.last_seconds)
        if is_answered or wire.transport(self.client) is not transport:
            return None
        return None if is_moving(transport, since=before) else transport

    def _record_silence(
        self, transport: asyncio.WriteTransport, traffic: Traffic, begun: float
    ) -> float:
        """Record that nothing was received since a ping; return the beginning of the silence."""
        known = self._silence
        is_same = known and (known.transport, known.received) == (transport, traffic.received)
        since = known.since if known and is_same else begun
        self._silence = _Silence(transport, traffic.received, since)
        return since

    async def _is_server_reachable(self, silent_since: float) -> bool:
        """Return whether a server greets a new connection, which it does before any login.

        The server of the connection is tried first, because it may hang while another server of the
        cluster greets.
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
        # `readline` raises ValueError for a line without an end.
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
