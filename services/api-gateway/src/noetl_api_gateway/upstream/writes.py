"""Writes of the edge: held until they are answered, within bounds, large ones as references."""

import asyncio

from noetl_bus.broker import Bus
from noetl_bus.errors import BusForbidden
from noetl_bus.writes.exchange import Exchange, NoAnswer, NotSent, WriteTimeout
from noetl_bus.writes.sender import Sender
from noetl_bus.writes.write import Write
from noetl_common.telemetry.carrier import carried, carried_headers
from noetl_common.telemetry.tracing import inside
from noetl_common.telemetry.work import working_on
from noetl_contract.ingress import (
    STORED_HEADER,
    WriteMessage,
    encode_message,
    kind_of,
    place_of,
)
from noetl_contract.rpc import decode_reply
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import UNSTORED_KINDS, URGENT_KINDS, WriteKind

from noetl_api_gateway.http.refusals import Refusal, body_too_large, busy, unavailable
from noetl_api_gateway.traces import with_trace
from noetl_api_gateway.upstream.answers import read_bare
from noetl_api_gateway.upstream.ingress_stream import Backlog
from noetl_api_gateway.upstream.large_writes import LargeWrites
from noetl_api_gateway.upstream.services import body_of

_SHORTEST_EXCHANGE_SECONDS = 0.1
_PAUSE_AFTER_503_SECONDS = 1.0
_URGENT_PLACES = 256
_CLAIM_PLACES = 1024
"""Claims don't wait behind writes that a database is away for, nor these behind claims."""
_REPORTS = frozenset({"start", "outcome"})
"""Kinds that the orchestrator answers as the workers at the broker expect: with the body alone."""


class IngressWriter:
    """Send writes and return the orchestrator's answers.

    Args:
        bus: the connection.
        shard_count: shards of the cluster.
        max_waiting: writes held at once; one more waits for its turn, or is refused if early.
            Urgent ones have places of their own.
        check_seconds: silence after which the stream is searched for the message.
        backlog: refuses new starts while it is full.
        large: stores messages that are too large for the broker.
        is_direct: see `Sender`.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        shard_count: int,
        max_waiting: int,
        check_seconds: float,
        backlog: Backlog,
        large: LargeWrites,
        is_direct: bool = True,
    ) -> None:
        self._sender = Sender(bus, is_direct=is_direct)
        self._inbox = bus.inbox()
        self._shard_count = shard_count
        self._max_waiting = max_waiting
        self._places = asyncio.Semaphore(max_waiting)
        self._urgent_places = asyncio.Semaphore(_URGENT_PLACES)
        self._claim_places = asyncio.Semaphore(_CLAIM_PLACES)
        self._check_seconds = check_seconds
        self._backlog = backlog
        self._large = large

    def refuse_overload(self) -> None:
        """Refuse an early write before any work is done for it.

        Raises:
            Refusal: 503; the broker is away, or too much is waiting already.
        """
        if not self._sender.bus.is_connected:
            raise unavailable("The message broker is not reachable")
        if self._backlog.is_full:
            raise busy("Too many messages are waiting to be processed")
        if self._places.locked():
            raise busy(f"{self._max_waiting} writes are waiting already")

    async def send(self, message: WriteMessage, *, wait: WriteTimeout) -> bytes:
        """Send a message, and return the body of the answer to its commit, JSON.

        Args:
            message: the execution it is about decides the shard.
            wait: how long to wait.

        Raises:
            NoAnswer: no answer within the timeout.
            Refusal: the orchestrator's; for an early write also 503, the message was not and will
                not be accepted.
        """
        working_on(message)
        if carried() is None:
            return await self._send(message, wait)
        kind = kind_of(message)
        with inside(f"ingress {kind}", kind="producer"):
            return await self._send(with_trace(message), wait)

    async def _send(self, message: WriteMessage, wait: WriteTimeout) -> bytes:
        deadline = asyncio.get_running_loop().time() + wait.seconds
        body, execution_id = encode_message(message), place_of(message)
        if wait.early:
            self.refuse_overload()
        kind = kind_of(message)
        is_large = self._large.is_needed(body)
        if is_large and kind in UNSTORED_KINDS:
            raise body_too_large()
        places = self._places_of(kind)
        await _take_place(places, deadline, wait)
        try:
            headers = carried_headers()
            if is_large:
                body = await self._keep(body, execution_id, wait, deadline)
                headers = {**headers, STORED_HEADER: "1"}
            with Write(
                self._inbox,
                shard=shard_for(execution_id, shard_count=self._shard_count),
                execution_id=execution_id,
                kind=kind,
                body=body,
                headers=headers,
            ) as write:
                # A stored one is fetched first, which may take its time.
                exchange = Exchange(
                    self._sender,
                    write,
                    wait,
                    deadline=deadline,
                    check_seconds=self._check_seconds,
                    asks_first=not is_large,
                )
                answer = await _answer_of(exchange)
        finally:
            places.release()
        return body_of(read_bare(answer) if kind in _REPORTS else decode_reply(answer))

    def _places_of(self, kind: WriteKind) -> asyncio.Semaphore:
        if kind in UNSTORED_KINDS:
            return self._claim_places
        return self._urgent_places if kind in URGENT_KINDS else self._places

    async def deliver(self, message: WriteMessage, *, seconds: float) -> bytes:
        """Hold a worker's message until its commit, as long as the timeout goes (W7).

        Raises:
            Refusal: the orchestrator's, or 503 when no answer came; the message may be accepted
                yet, and the worker's repetition, which carries the same ids, ends in the same
                effect.
        """
        try:
            wait = WriteTimeout(seconds=seconds)
            return await self.send(message, wait=wait)
        except NoAnswer as error:
            raise unavailable("The event was not committed in time") from error

    async def _keep(
        self, body: bytes, execution_id: int, wait: WriteTimeout, deadline: float
    ) -> bytes:
        """Keep a large message; nothing has been accepted while that fails."""
        while True:
            left = deadline - asyncio.get_running_loop().time()
            try:
                return await self._large.keep(body, execution_id=execution_id, seconds=left)
            except Refusal as refusal:
                if refusal.status != 503 or wait.early:
                    raise
                # A worker is slowed down, not refused (W7).
                if left <= _PAUSE_AFTER_503_SECONDS:
                    raise NoAnswer(subject="the result store", seconds=wait.seconds) from refusal
            await asyncio.sleep(_PAUSE_AFTER_503_SECONDS)


async def _answer_of(exchange: Exchange) -> bytes:
    try:
        return await exchange.answer()
    except NotSent as error:
        raise unavailable(error.message) from error
    except BusForbidden as error:
        text = "This edge may not put reports into the ingress stream"
        raise Refusal(501, text) from error


async def _take_place(places: asyncio.Semaphore, deadline: float, wait: WriteTimeout) -> None:
    if not places.locked():
        await places.acquire()  # at once
        return
    try:
        # A place that gets free at the last moment comes too late.
        async with asyncio.timeout_at(deadline - _SHORTEST_EXCHANGE_SECONDS):
            await places.acquire()
    except TimeoutError as error:
        raise NoAnswer(subject="a place among the writes", seconds=wait.seconds) from error
