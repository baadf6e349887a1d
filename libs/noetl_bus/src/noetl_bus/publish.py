"""Publishing to JetStream: many at once, acknowledged through one inbox."""

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
_REPEAT_BYTES = 4 << 20  # at once: half of what the connection keeps unsent
_TOO_LARGE_FOR_STREAM = 10054
_FAMILIES = sorted({family(subject) for stream in ALL_STREAMS for subject in stream.subjects})
_SILENT_SECONDS = 15.0
_REMEMBER_SECONDS = 600.0
"""Time after its last failure for which a silence counts: a process that publishes nothing more
would not notice its end, and retries are minutes apart at last."""
_CONNECTED_SECONDS = 60.0
"""The longest time between two failures, without a success, that belong to one silence."""
_FULL = frozenset({10047, 10077})
_GONE = frozenset({10009, 10059, 10008})
_IN_PROCESS = 10158
"""Error code: a copy with this id is being stored, with an unknown outcome yet."""


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

    def take(self, incoming: Incoming) -> None:
        if not self.answer.done():
            self.answer.set_result(incoming)


class Connection(Protocol):
    """The part of the bus that a publisher needs."""

    nc: Client
    answers: Inbox

    @property
    def largest_message(self) -> int:
        """Most bytes of one message."""

    async def wait_connected(self) -> None:
        """Wait until there is a connection."""


class Silence:
    """Subjects whose messages are not acknowledged although there is a connection.

    A broker whose disk was full marks a stream as failed until it is started again: it answers
    everything else, and drops messages silently.

    Args:
        families: of subjects, as they are named in metrics.
    """

    def __init__(self, families: Iterable[str], clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._since: dict[str, tuple[float, float]] = {}
        shown = metrics.gauge(
            "noetl_bus_unacknowledged",
            "1 while messages of these subjects are not acknowledged, though we are connected.",
            ("family",),
        )
        for name in families:
            shown.labels(name).set_function(partial(self._is_silent, name))

    def _is_silent(self, name: str) -> bool:
        return name in self.families()

    def note(self, name: str, *, seconds: float) -> None:
        """Note that a message was not acknowledged for so long, until now."""
        now = self._clock()
        since, last = self._since.get(name, (now - seconds, now))
        if now - seconds - last > _CONNECTED_SECONDS:
            since = now - seconds
        self._since[name] = since, now

    def end(self, name: str) -> None:
        """Note that a message was acknowledged."""
        if self._since:
            self._since.pop(name, None)

    def clear(self) -> None:
        """Forget all silences: the connection was lost, which is reported elsewhere."""
        self._since.clear()

    def families(self) -> list[str]:
        """Return the families that are silent now."""
        now = self._clock()
        return [
            name
            for name, (since, last) in self._since.items()
            if last - since >= _SILENT_SECONDS and now - last <= _REMEMBER_SECONDS
        ]

    async def is_over(self) -> bool:
        """Readiness check: messages that are published to streams are acknowledged.

        Raises:
            BusUnavailable: for a while it was not; names the subjects.
        """
        if silent := self.families():
            reason = "nothing is acknowledged: has its disk been full? Start the broker again"
            raise BusUnavailable(what=", ".join(silent), reason=reason)
        return True


class Publisher:
    """Publishes with acknowledgements; messages with an id survive a reconnect by repetition."""

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
            BusUnavailable: no connection, stream or acknowledgement in time; the message may
                be stored all the same.
            StreamFull: the stream refuses more.
            PublishRefused: the broker will never take it.
            TooLarge: it is above the broker's limit.
        """
        started = perf_counter()
        name = family(message.subject)
        try:
            async with asyncio.timeout(seconds):
                ack = await self._until_stored(message)
        except TimeoutError:
            self._published.labels(name, "timeout").inc()
            self._note_silence(name, seconds)
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
        """Publish messages side by side; the result of each is its ack or its error.

        One write and one wait for all of them: this is the fast way.
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
            self._note_silence(name, seconds)
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
        """Write all, then collect; messages that no stream took are left for a second try."""
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
        """Publish until a stream takes it: the stream may be recreated after its store was lost."""
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
        bus.answers.register(reply, entry.take)
        if self._repeating is None:
            self._repeating = asyncio.get_running_loop().call_later(_REPEAT_SECONDS, self._repeat)
        await wire.write(bus.nc, data)
        return entry

    def _note_silence(self, name: str, seconds: float) -> None:
        """Note a message that was not acknowledged, unless there is no connection."""
        if self._bus.nc.is_connected:
            self.silence.note(name, seconds=seconds)

    def _repeat(self) -> None:
        """Send messages again that are unacknowledged for long; their ids make that harmless.

        The leader of a stream may have died with it, and a message that comes while there is no
        leader is dropped silently.
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
            # Retrieved, or asyncio would log an error of a publish that was given up.
            entry.answer.cancelled() or entry.answer.exception()
        else:
            entry.answer.cancel()

    def on_disconnected(self) -> None:
        """Fail messages without an id: whether they were stored is unknown."""
        self.silence.clear()
        for entry in self._in_flight.values():
            if not entry.repeatable and not entry.answer.done():
                entry.answer.set_exception(
                    BusUnavailable(what=entry.subject, reason="the connection was lost")
                )

    def on_forbidden(self, subject: str, error: BusForbidden) -> None:
        """Fail the messages on a forbidden subject; the broker names it in lower case."""
        for entry in self._in_flight.values():
            if entry.subject.lower() == subject and not entry.answer.done():
                entry.answer.set_exception(error)

    async def on_reconnected(self) -> None:
        """Send unacknowledged messages again; their ids make that harmless."""
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
    """Read an acknowledgement; ``None`` when no stream took the message.

    Raises:
        NoetlError: the broker refused it.
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
