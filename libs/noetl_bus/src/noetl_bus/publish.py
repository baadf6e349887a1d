"""Publishing to JetStream: many messages concurrently, acknowledged through one inbox."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from time import monotonic, perf_counter
from typing import Protocol

from nats.aio.client import Client
from noetl_common import metrics
from noetl_common.errors import NoetlError, TooLarge
from noetl_contract.hints import PubAck
from noetl_contract.streams import ALL_STREAMS
from noetl_contract.subjects import family

from noetl_bus import wire
from noetl_bus.errors import BusForbidden, BusUnavailable, PublishRefused, StreamFull
from noetl_bus.inbox import Inbox, Incoming

MESSAGE_ID_HEADER = "Nats-Msg-Id"
_NO_STREAM_PAUSE_SECONDS = 0.05
_REPEAT_SECONDS = 1.0
_REPEAT_BYTES = 4 << 20  # of one repetition: half of the connection's buffer
_TOO_LARGE_FOR_STREAM = 10054
_FAMILIES = sorted({family(subject) for stream in ALL_STREAMS for subject in stream.subjects})
_SILENT_SECONDS = 15.0
_REMEMBER_SECONDS = 600.0
"""Time after the last failure for which a silence counts. A process that publishes nothing more
can't detect the end of the silence, and retries may be minutes apart."""
_CONNECTED_SECONDS = 60.0
"""Longest time between two failures, without a success, that belong to one silence."""
_FULL = frozenset({10047, 10077})
_GONE = frozenset({10009, 10059, 10008})
_IN_PROCESS = 10158
"""Error code: another copy with this id is being stored, and its outcome is still unknown."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish."""

    subject: str
    body: bytes
    message_id: str | None = None
    headers: Mapping[str, str] | None = None


class _InFlight:
    """A published message whose acknowledgement is awaited."""

    __slots__ = ("answer", "data", "repeatable", "reply", "sent_at", "subject")

    def __init__(
        self,
        subject: str,
        reply: str,
        data: bytes,
        *,
        repeatable: bool,
        answer: asyncio.Future[Incoming],
    ) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self.repeatable = repeatable
        self.answer = answer
        self.sent_at = monotonic()

    def on_ack(self, incoming: Incoming) -> None:
        if not self.answer.done():
            self.answer.set_result(incoming)


class Connection(Protocol):
    """The part of the bus that a publisher needs."""

    nc: Client
    answers: Inbox

    @property
    def largest_message(self) -> int:
        """Maximum size of one message in bytes."""

    async def wait_connected(self) -> None:
        """Wait until there is a connection."""


class Silence:
    """Families of subjects whose messages are not acknowledged despite a connection.

    After its disk was full, a broker marks a stream as failed until the broker is restarted. It
    drops messages to this stream silently and answers everything else.

    Args:
        families: families of subjects, as metrics name them.
    """

    def __init__(self, families: Iterable[str], clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._since: dict[str, tuple[float, float]] = {}
        shown = metrics.gauge(
            "noetl_bus_unacknowledged",
            "1 while messages of these subjects are not acknowledged despite a connection.",
            ("family",),
        )
        for name in families:
            shown.labels(name).set_function(partial(self._is_silent, name))

    def _is_silent(self, name: str) -> bool:
        return name in self.families()

    def record(self, name: str, *, seconds: float) -> None:
        """Record that a message was not acknowledged for some seconds until now."""
        now = self._clock()
        since, last = self._since.get(name, (now - seconds, now))
        if now - seconds - last > _CONNECTED_SECONDS:
            since = now - seconds
        self._since[name] = since, now

    def end(self, name: str) -> None:
        """Record that a message was acknowledged."""
        if self._since:
            self._since.pop(name, None)

    def clear(self) -> None:
        """Forget all silences, because the connection was lost, which is reported elsewhere."""
        self._since.clear()

    def families(self) -> list[str]:
        """Return the families whose messages are not acknowledged now."""
        now = self._clock()
        return [
            name
            for name, (since, last) in self._since.items()
            if last - since >= _SILENT_SECONDS and now - last <= _REMEMBER_SECONDS
        ]

    async def is_over(self) -> bool:
        """Return True if messages to streams are acknowledged.

        Raises:
            BusUnavailable: messages were not acknowledged for a while; names the subjects.
        """
        if silent := self.families():
            reason = "nothing is acknowledged: was its disk full? Restart the broker"
            raise BusUnavailable(what=", ".join(silent), reason=reason)
        return True


class Publisher:
    """Publishes with acknowledgements; after a reconnect, messages with an id are sent again."""

    def __init__(self, bus: Connection) -> None:
        self._bus = bus
        self._in_flight: dict[str, _InFlight] = {}
        self.silence = Silence(_FAMILIES)
        self._repeating: asyncio.TimerHandle | None = None
        self._published = metrics.counter(
            "noetl_bus_published_total",
            "Messages published to streams.",
            ("family", "outcome"),
            zeros=product(_FAMILIES, ("ok", "timeout", "error")),
        )
        self._duration = metrics.histogram(
            "noetl_bus_publish_duration_seconds", "Time until the acknowledgement.", ("family",)
        )

    async def publish(self, message: Outgoing, *, seconds: float) -> PubAck:
        """Publish one message and wait until it is stored.

        Raises:
            BusUnavailable: there is no connection, stream or acknowledgement in time; the message
                may be stored nevertheless.
            StreamFull: the stream rejects the message because it is full.
            PublishRefused: the broker will never accept the message.
            TooLarge: the message exceeds the broker's limit.
        """
        started = perf_counter()
        name = family(message.subject)
        try:
            async with asyncio.timeout(seconds):
                ack = await self._until_stored(message)
        except TimeoutError:
            self._published.labels(name, "timeout").inc()
            self._record_silence(name, seconds)
            raise BusUnavailable(
                what=message.subject, reason=f"no acknowledgement in {seconds:g} s"
            ) from None
        except NoetlError:
            self._published.labels(name, "error").inc()
            raise
        self.silence.end(name)
        self._published.labels(name, "ok").inc()
        self._duration.labels(name).observe(perf_counter() - started)
        return ack

    async def publish_many(
        self, messages: Sequence[Outgoing], *, seconds: float
    ) -> list[PubAck | NoetlError]:
        """Publish messages concurrently; the result of each is its ack or its error.

        All messages are written together and awaited together, which is the fastest way.
        """
        results: list[PubAck | NoetlError | None] = [None] * len(messages)
        again: list[int] = []
        try:
            async with asyncio.timeout(seconds):
                await self._first_round(messages, results, again)
                for index in again:
                    results[index] = await self._settled(messages[index])
        except TimeoutError:
            pass
        late = f"no acknowledgement in {seconds:g} s"
        for name in {
            family(message.subject)
            for message, result in zip(messages, results, strict=True)
            if result is None
        }:
            self._record_silence(name, seconds)
        outcome = [
            BusUnavailable(what=message.subject, reason=late) if result is None else result
            for message, result in zip(messages, results, strict=True)
        ]
        self._count(messages, outcome)
        return outcome

    async def _first_round(
        self,
        messages: Sequence[Outgoing],
        results: list[PubAck | NoetlError | None],
        again: list[int],
    ) -> None:
        """Write all messages and collect the results; ``again`` gets messages without a stream."""
        sent: list[tuple[int, _InFlight]] = []
        try:
            await self._bus.wait_connected()
            for index, message in enumerate(messages):
                try:
                    sent.append((index, await self._send(message)))
                except NoetlError as error:
                    results[index] = error
            for index, entry in sent:
                try:
                    ack = read_ack(await entry.answer, entry.subject)
                except NoetlError as error:
                    results[index] = error
                    continue
                if ack is None:
                    again.append(index)
                else:
                    results[index] = ack
        finally:
            for _, entry in sent:
                self._forget(entry)

    async def _settled(self, message: Outgoing) -> PubAck | NoetlError:
        try:
            return await self._until_stored(message)
        except NoetlError as error:
            return error

    async def _until_stored(self, message: Outgoing) -> PubAck:
        """Publish until a stream accepts the message; a lost stream may soon be recreated."""
        while True:
            await self._bus.wait_connected()
            entry = await self._send(message)
            try:
                ack = read_ack(await entry.answer, message.subject)
            finally:
                self._forget(entry)
            if ack is not None:
                return ack
            await asyncio.sleep(_NO_STREAM_PAUSE_SECONDS)

    async def _send(self, message: Outgoing) -> _InFlight:
        bus = self._bus
        reply = bus.answers.fresh_subject()
        headers = dict(message.headers) if message.headers else {}
        if message.message_id is not None:
            headers[MESSAGE_ID_HEADER] = message.message_id
        data = wire.command(message.subject, message.body, reply=reply, headers=headers)
        if len(data) > bus.largest_message:
            raise TooLarge(what=message.subject, size=len(message.body), limit=bus.largest_message)
        entry = _InFlight(
            message.subject,
            reply,
            data,
            repeatable=message.message_id is not None,
            answer=asyncio.get_running_loop().create_future(),
        )
        self._in_flight[reply] = entry
        bus.answers.register(reply, entry.on_ack)
        if self._repeating is None:
            self._repeating = asyncio.get_running_loop().call_later(_REPEAT_SECONDS, self._repeat)
        await wire.write(bus.nc, data)
        return entry

    def _record_silence(self, name: str, seconds: float) -> None:
        """Record a message that was not acknowledged, unless there is no connection."""
        if self._bus.nc.is_connected:
            self.silence.record(name, seconds=seconds)

    def _repeat(self) -> None:
        """Send unacknowledged messages again; the stream discards repetitions by their ids.

        The leader of a stream may have died with a message, and while there is no leader, messages
        are dropped silently.
        """
        self._repeating = None
        if not self._in_flight:
            return
        room, late = _REPEAT_BYTES, monotonic() - _REPEAT_SECONDS
        for entry in self._in_flight.values():
            if entry.sent_at > late or not entry.repeatable or entry.answer.done():
                continue
            if self._bus.nc.is_connected and len(entry.data) <= room:
                room -= len(entry.data)
                entry.sent_at = monotonic()
                wire.write_nowait(self._bus.nc, entry.data)
        loop = asyncio.get_running_loop()
        self._repeating = loop.call_later(_REPEAT_SECONDS / 2, self._repeat)

    def _forget(self, entry: _InFlight) -> None:
        self._in_flight.pop(entry.reply, None)
        self._bus.answers.forget(entry.reply)
        if entry.answer.done():
            # The error is retrieved, or asyncio would log it for a publish that was given up.
            entry.answer.cancelled() or entry.answer.exception()
        else:
            entry.answer.cancel()

    def on_disconnected(self) -> None:
        """Fail messages without an id, because it is unknown whether they are stored."""
        self.silence.clear()
        for entry in self._in_flight.values():
            if not entry.repeatable and not entry.answer.done():
                entry.answer.set_exception(
                    BusUnavailable(what=entry.subject, reason="the connection was lost")
                )

    def on_forbidden(self, subject: str, error: BusForbidden) -> None:
        """Fail the messages on a forbidden subject, given in lower case by the broker."""
        for entry in self._in_flight.values():
            if entry.subject.lower() == subject and not entry.answer.done():
                entry.answer.set_exception(error)

    async def on_reconnected(self) -> None:
        """Send unacknowledged messages again; the stream discards repetitions by their ids."""
        for entry in list(self._in_flight.values()):
            if not entry.answer.done():
                await wire.write(self._bus.nc, entry.data)

    def _count(self, messages: Sequence[Outgoing], outcome: Sequence[PubAck | NoetlError]) -> None:
        counts: dict[tuple[str, str], int] = {}
        for message, result in zip(messages, outcome, strict=True):
            key = (family(message.subject), "ok" if isinstance(result, PubAck) else "error")
            counts[key] = counts.get(key, 0) + 1
        for (name, word), count in counts.items():
            if word == "ok":
                self.silence.end(name)
            self._published.labels(name, word).inc(count)


def read_ack(incoming: Incoming, subject: str) -> PubAck | None:
    """Parse an acknowledgement; return ``None`` if no stream accepted the message.

    Raises:
        NoetlError: the broker rejected the message.
    """
    if incoming.is_no_responders:
        return None
    ack = PubAck.from_json(incoming.data)
    if ack.error is None:
        if ack.stream:
            return ack
        raise BusUnavailable(what=subject, reason="an acknowledgement without a stream")
    number, text = ack.error.err_code, ack.error.description
    if number in _GONE:
        return None
    if number in _FULL:
        raise StreamFull(what=subject)
    if number == _IN_PROCESS:
        raise BusUnavailable(what=subject, reason=text)
    if number == _TOO_LARGE_FOR_STREAM or 400 <= ack.error.code < 500:
        raise PublishRefused(what=subject, reason=text)
    raise BusUnavailable(what=subject, reason=text)
