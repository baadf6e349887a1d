"""Sending writes to the orchestrators, and waiting for the commit (W4-W7, W21, W31, W33).

A write is held until its answer has come: the broker's acknowledgement is not acceptance (W6).
So what comes for each step goes to an orchestrator without the ingress stream first, and is
published there only if no answer comes soon.
While no answer comes, the stream is asked from time to time whether it still has the message. If
it has, the message waits its turn. If not, either the store was wiped or the answer was lost on
the way; in both cases the same content goes out again as the next attempt, and keys make the
second time harmless.
"""

import asyncio
import secrets
from dataclasses import dataclass
from itertools import count
from time import monotonic

from noetl_common.bus.broker import Bus
from noetl_common.bus.errors import BusClosed, BusForbidden, BusUnavailable, StreamFull
from noetl_common.bus.publish import PubAck
from noetl_common.clock import unix_ms
from noetl_common.logging import get_logger
from noetl_common.retry import SHORT_WAY_SECONDS, ShortWay
from noetl_common.telemetry.carrier import carried, carried_headers
from noetl_common.telemetry.tracing import inside
from noetl_common.telemetry.work import working_on
from noetl_contract.ingress import (
    AGAIN_HEADER,
    DEADLINE_HEADER,
    REPLY_HEADER,
    STORED_HEADER,
    IngressMessage,
    encode_message,
    kind_of,
)
from noetl_contract.json import Json
from noetl_contract.rpc import RpcReply
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import URGENT_KINDS, direct_subject, ingress_subject

from noetl_api_gateway.http.refusals import Refusal, busy, unavailable
from noetl_api_gateway.metrics import PUBLISHED_AGAIN, SENT_DIRECTLY, WAYS
from noetl_api_gateway.traces import with_trace
from noetl_api_gateway.upstream.answers import Answers
from noetl_api_gateway.upstream.ingress_stream import Backlog, holds_message
from noetl_api_gateway.upstream.large_writes import LargeWrites
from noetl_api_gateway.upstream.services import body_of

_log = get_logger()

_PAUSE_SECONDS = 0.2
_SHORTEST_EXCHANGE_SECONDS = 0.1
_PAUSE_AFTER_503_SECONDS = 1.0
_PUBLISH_SECONDS = 1.0
_DIRECT_SECONDS = 0.5
"""Pause after a write past the stream, in which its answer usually comes."""
_LONGEST_SILENCE_SECONDS = 8.0
_URGENT_PLACES = 256
_FREQUENT = frozenset({"execute", "events", "start", "outcome"})
"""Kinds that take the short way while it works; urgent ones always try it."""
_REPORTS = frozenset({"start", "outcome"})
"""Kinds that the orchestrator answers as the workers at the broker expect: with the body alone."""


class NoAnswerError(Exception):
    """No answer within the timeout; the message may still be waiting in the stream."""


@dataclass(frozen=True, slots=True)
class WriteTimeout:
    """How long a write waits.

    Attributes:
        seconds: until the deadline that the message carries.
        linger_seconds: listening on after the deadline, for a commit just before it.
        early: refuse at once when publishing is not possible now, instead of waiting (W7).
    """

    seconds: float
    linger_seconds: float = 0.0
    early: bool = False


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
    ) -> None:
        self._bus = bus
        self._inbox = bus.inbox()
        self._shard_count = shard_count
        self._max_waiting = max_waiting
        self._places = asyncio.Semaphore(max_waiting)
        self._urgent_places = asyncio.Semaphore(_URGENT_PLACES)
        self._check_seconds = check_seconds
        self._backlog = backlog
        self._large = large
        self._attempt_prefix = secrets.token_hex(8)
        self._attempts = count(1)
        self._short_ways = [ShortWay() for _ in range(shard_count)]
        # When any write was acknowledged, and answered.
        self._acked_at = self._answered_at = 0.0

    def refuse_overload(self) -> None:
        """Refuse an early write before any work is done for it.

        Raises:
            Refusal: 503; the broker is away, or too much is waiting already.
        """
        if not self._bus.is_connected:
            raise unavailable("The message broker is not reachable")
        if self._backlog.is_full:
            raise busy("Too many messages are waiting to be processed")
        if self._places.locked():
            raise busy(f"{self._max_waiting} writes are waiting already")

    async def send(
        self, message: IngressMessage, *, wait: WriteTimeout, is_passed_on: bool = False
    ) -> Json:
        """Send a message, and return the body of the answer to its commit.

        Args:
            message: the execution it is about decides the shard.
            wait: how long to wait.
            is_passed_on: return the body as it came, as bytes of JSON, where that can be.

        Raises:
            NoAnswerError: no answer within the timeout.
            Refusal: the orchestrator's; for an early write also 503, the message was not and will
                not be accepted.
        """
        working_on(message)
        if carried() is None:
            return await self._send(message, wait, is_passed_on=is_passed_on)
        kind = kind_of(message)
        with inside(f"ingress {kind}", kind="producer"):
            return await self._send(with_trace(message), wait, is_passed_on=is_passed_on)

    async def _send(
        self, message: IngressMessage, wait: WriteTimeout, *, is_passed_on: bool
    ) -> Json:
        deadline = asyncio.get_running_loop().time() + wait.seconds
        execution_id = message.execution_id
        body = encode_message(message)
        if wait.early:
            self.refuse_overload()
        kind = kind_of(message)
        is_urgent = kind in URGENT_KINDS
        places = self._urgent_places if is_urgent else self._places
        await _take_place(places, deadline)
        try:
            is_stored = self._large.is_needed(body)
            if is_stored:
                body = await self._keep(body, execution_id, wait, deadline)
            is_report = kind in _REPORTS
            with Answers(self._inbox, is_bare=is_report, is_passed_on=is_passed_on) as answers:
                shard = shard_for(execution_id, shard_count=self._shard_count)
                subject = ingress_subject(shard, execution_id=execution_id, kind=kind)
                write = _write(body, subject, wait, deadline, answers.subject, is_report=is_report)
                if is_stored:
                    write.headers[STORED_HEADER] = "1"
                # A stored one is fetched first, which may take its time.
                is_short = is_urgent or kind in _FREQUENT
                is_short = is_short and not is_stored and self._bus.is_connected
                way = ShortWay() if is_urgent else self._short_ways[shard]
                if is_short and way.take():
                    reply = await self._send_short(write, way, answers, deadline)
                    if reply is not None:
                        WAYS.labels("short").inc()
                        return body_of(reply)
                reply = await self._exchange(write, answers, deadline=deadline, wait=wait)
                WAYS.labels("again" if AGAIN_HEADER in write.headers else "stream").inc()
                return body_of(reply)
        finally:
            places.release()

    async def deliver(
        self, message: IngressMessage, *, seconds: float, is_passed_on: bool = False
    ) -> Json:
        """Hold a worker's message until its commit, as long as the timeout goes (W7).

        The body is returned as bytes of JSON, where that can be, if it ``is_passed_on``.

        Raises:
            Refusal: the orchestrator's, or 503 when no answer came; the message may be accepted
                yet, and the worker's repetition, which carries the same ids, ends in the same
                effect.
        """
        try:
            wait = WriteTimeout(seconds=seconds)
            return await self.send(message, wait=wait, is_passed_on=is_passed_on)
        except NoAnswerError as error:
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
                    raise NoAnswerError from refusal
            await asyncio.sleep(_PAUSE_AFTER_503_SECONDS)

    async def _send_short(
        self, write: "_Write", way: ShortWay, answers: Answers, deadline: float
    ) -> RpcReply | None:
        """Send a write to an orchestrator past the stream; None when the stream is to have it."""
        is_answered = None
        left = deadline - asyncio.get_running_loop().time()
        try:
            await self._bus.send(
                direct_subject(write.subject), write.body, write.headers, reply=answers.subject
            )
            reply = await answers.next(min(SHORT_WAY_SECONDS, left))
            is_answered = reply is not None
        finally:
            way.note(is_answered=is_answered)
        if reply is not None and reply.status != 503:
            self._answered_at = monotonic()
            return reply
        if answers.nobody_listens:
            answers.nobody_listens = False
            return None
        # It may be committed yet, so what follows is a repetition.
        write.is_doubtful = True
        write.headers[AGAIN_HEADER] = "1"
        return None

    async def _exchange(
        self, write: "_Write", answers: Answers, *, deadline: float, wait: WriteTimeout
    ) -> RpcReply:
        loop = asyncio.get_running_loop()
        silence = self._check_seconds
        while (left := deadline - loop.time()) > 0:
            # One may have come in a pause, or while the stream was searched.
            if write.ack is None and not answers.are_there:
                await self._publish(write, seconds=min(_PUBLISH_SECONDS, left))
            pause = silence if write.ack is not None else write.pause
            reply = await answers.next(min(pause, deadline - loop.time()))
            if reply is None:
                if write.ack is not None and not write.was_direct:
                    write.was_direct = await self._send_directly(write, self._answered_at)
                    if write.was_direct:
                        continue
                silence = min(silence * 2, _LONGEST_SILENCE_SECONDS)
                await self._check(write, answers)
            elif reply.status == 503 and not write.is_early:
                # A worker is slowed down, not refused (W7): its message goes out again.
                write.ack = None
                write.is_lost = True
                await asyncio.sleep(min(_PAUSE_AFTER_503_SECONDS, deadline - loop.time()))
            elif reply.status != 503:
                self._answered_at = monotonic()
                return reply
        return await _last_answer(answers, seconds=wait.linger_seconds)

    async def _publish(self, write: "_Write", *, seconds: float) -> None:
        if not self._bus.is_connected:
            write.refuse_if_early("The message broker is not reachable")
            return
        write.pause = _PAUSE_SECONDS
        if write.is_lost:
            # Until the stream has acknowledged it, it is the same attempt: one copy is enough.
            write.message_id = f"{self._attempt_prefix}.{next(self._attempts)}"
            write.is_lost = False
        try:
            write.ack = await self._bus.publish(
                write.subject,
                write.body,
                message_id=write.message_id,
                headers=write.headers,
                seconds=seconds,
            )
            self._acked_at = monotonic()
        except StreamFull:
            write.refuse_if_early("The ingress stream takes no more messages")
        except BusClosed:
            raise
        except BusForbidden as error:
            _log.warning("ingress_publish_failed", reason=error.message)
            if write.is_report:
                # Users of the broker from before there were reports: workers have another way.
                text = "This edge may not put reports into the ingress stream"
                raise Refusal(501, text) from error
        except BusUnavailable as error:
            _log.warning("ingress_publish_failed", reason=error.message)
            write.is_doubtful = True
            await self._send_directly(write, self._acked_at)

    async def _send_directly(self, write: "_Write", heard_at: float) -> bool:
        """Send a write past the stream, if nothing says that somebody leads it or its durable.

        Where other writes were heard of at `heard_at`, the system is slow and would only get more
        to do. Returns whether it was sent.
        """
        if not self._bus.is_connected or monotonic() - heard_at < _PUBLISH_SECONDS:
            return False
        SENT_DIRECTLY.inc()
        write.headers[AGAIN_HEADER] = "1"
        write.pause = _DIRECT_SECONDS
        await self._bus.send(direct_subject(write.subject), write.body, write.headers)
        return True

    async def _check(self, write: "_Write", answers: Answers) -> None:
        """Forget the acknowledgement if the message is lost: neither stored nor answered."""
        if write.ack is None:
            return
        try:
            is_there = await holds_message(self._bus, write.ack.sequence, write.message_id)
        except BusUnavailable:
            return
        if not is_there and not answers.are_there:
            _log.info("ingress_published_again", subject=write.subject)
            PUBLISHED_AGAIN.inc()
            write.headers[AGAIN_HEADER] = "1"
            write.ack = None
            write.is_lost = True
            write.is_doubtful = True


async def _take_place(places: asyncio.Semaphore, deadline: float) -> None:
    if not places.locked():
        await places.acquire()  # at once
        return
    try:
        # A place that gets free at the last moment comes too late.
        async with asyncio.timeout_at(deadline - _SHORTEST_EXCHANGE_SECONDS):
            await places.acquire()
    except TimeoutError as error:
        raise NoAnswerError from error


@dataclass(slots=True)
class _Write:
    subject: str
    body: bytes
    headers: dict[str, str]
    is_early: bool
    is_report: bool
    ack: PubAck | None = None
    message_id: str = ""
    is_doubtful: bool = False
    is_lost: bool = True
    """The stream has no copy, or needs another one: the next attempt has an id of its own."""
    pause: float = _PAUSE_SECONDS
    was_direct: bool = False
    """Sent past the stream after it was acknowledged."""

    def refuse_if_early(self, text: str) -> None:
        # Once it may have been committed the deadline has to be waited for (W5).
        if self.is_early and not self.is_doubtful:
            raise unavailable(text)


def _write(
    body: bytes,
    subject: str,
    wait: WriteTimeout,
    deadline: float,
    reply: str,
    *,
    is_report: bool,
) -> _Write:
    left_ms = int((deadline - asyncio.get_running_loop().time()) * 1000)
    return _Write(
        subject=subject,
        body=body,
        headers={
            REPLY_HEADER: reply,
            DEADLINE_HEADER: str(unix_ms() + left_ms),
            **carried_headers(),
        },
        is_early=wait.early,
        is_report=is_report,
    )


async def _last_answer(answers: Answers, *, seconds: float) -> RpcReply:
    """Listen on after the deadline.

    A 503 says that one copy of the message came too late. Another copy, or another delivery of
    the same one, may have been committed before, so it is no answer (W5).

    Raises:
        NoAnswerError: nothing else came.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (reply := await answers.next(until - loop.time())) is not None:
        if reply.status != 503:
            return reply
    raise NoAnswerError
