"""The inbox: one wildcard subscription for all answers for which the process waits.

A body that exceeds the broker's limit is sent in numbered parts, which are joined here.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from nats.aio.msg import Msg
from noetl_common.errors import TooLarge

from noetl_bus.errors import BusUnavailable

PART_HEADER = "Noetl-Part"
LARGEST_JOINED = 256 << 20
"""Maximum size of a joined answer, so that a faulty sender can't fill the memory."""


@dataclass(slots=True, frozen=True)
class Incoming:
    """A received message: subject, body, headers, and the reply subject."""

    subject: str
    data: bytes
    headers: dict[str, str]
    reply: str = ""

    @property
    def is_no_responders(self) -> bool:
        """Whether the broker reports that the subject has no subscriber."""
        return not self.data and self.headers.get("Status") == "503"


class Sink:
    """Receives messages directly from the client's read loop, without a queue and a task.

    The client supports ``future=`` for a single answer, and calls ``set_result`` for each message
    of the subscription. This object passes the message to a function.
    """

    def __init__(self, take: Callable[[Msg], None], on_error: Callable[[Exception], None]) -> None:
        self._take = take
        self._on_error = on_error

    def cancelled(self) -> bool:
        """Return False, because the subscription is open."""
        return False

    def set_result(self, message: Msg) -> None:
        """Pass on a message; an exception here would end the client's read loop."""
        try:
            self._take(message)
        except Exception as error:  # noqa: BLE001 -- see the docstring
            self._on_error(error)


class Waiter:
    """One expected answer: send ``subject`` as the reply subject of a request, then wait."""

    def __init__(self, inbox: "Inbox", subject: str) -> None:
        self.subject = subject
        self._inbox = inbox
        self.answer: asyncio.Future[Incoming] = asyncio.get_running_loop().create_future()
        self._parts: PartCollector | None = None
        self._repetitions: tuple[Waiter, ...] = ()

    async def wait(self, seconds: float) -> bytes:
        """Return the body of the answer.

        Raises:
            BusUnavailable: there is no answer in time, or no service listens.
        """
        incoming = await self.wait_message(seconds)
        if incoming.is_no_responders:
            raise BusUnavailable(what=self.subject, reason="no service listens")
        return incoming.data

    async def wait_message(self, seconds: float) -> Incoming:
        """Return the answer; the parts of a large answer are joined.

        Raises:
            BusUnavailable: there is no answer in time.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self.answer
        except TimeoutError:
            raise BusUnavailable(what=self.subject, reason=f"no answer in {seconds:g} s") from None

    def on_message(self, incoming: Incoming) -> None:
        """Accept a message for this waiter; the first complete answer counts."""
        if self.answer.done():
            return
        if PartCollector.is_part(incoming.headers):
            if self._parts is None:
                self._parts = PartCollector()
            body = self._parts.add(incoming.headers, incoming.data)
            if body is None:
                return
            incoming = Incoming(incoming.subject, body, incoming.headers)
        self.answer.set_result(incoming)

    def repeat(self) -> str:
        """Return the reply subject for one more request; the first complete answer counts.

        Each request has its own subject, because the parts of two answers may differ. If no service
        listens to the repetition, the first request may still be answered.
        """
        repetition = Waiter(self._inbox, self._inbox.fresh_subject())
        repetition.answer = self.answer
        self._repetitions = (*self._repetitions, repetition)

        def on_message(incoming: Incoming) -> None:
            if not incoming.is_no_responders:
                repetition.on_message(incoming)

        self._inbox.register(repetition.subject, on_message)
        return repetition.subject

    @contextmanager
    def repeating(self, send: Callable[[str], None], seconds: float) -> Iterator[None]:
        """Call ``send`` with the reply subject of a repetition after each pause; pauses double."""
        loop = asyncio.get_running_loop()

        def repeat(pause: float) -> None:
            send(self.repeat())
            timers[0] = loop.call_later(pause, repeat, 2 * pause)

        timers = [loop.call_later(seconds, repeat, 2 * seconds)]
        try:
            yield
        finally:
            timers[0].cancel()

    def close(self) -> None:
        """Stop waiting."""
        self._inbox.forget(self.subject)
        for repetition in self._repetitions:
            self._inbox.forget(repetition.subject)
        if not self.answer.done():
            self.answer.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(slots=True)
class Inbox:
    """Subjects with one prefix, each with at most one waiter."""

    prefix: str
    _waiting: dict[str, Callable[[Incoming], None]] = field(default_factory=dict)
    _count: int = 0

    def expect(self) -> Waiter:
        """Return a waiter with a fresh subject; use it as a context manager."""
        waiter = Waiter(self, self.fresh_subject())
        self._waiting[waiter.subject] = waiter.on_message
        return waiter

    def fresh_subject(self) -> str:
        """Return an unused subject of this inbox."""
        self._count += 1
        return f"{self.prefix}{self._count:x}"

    def register(self, subject: str, take: Callable[[Incoming], None]) -> None:
        """Call ``take`` for every message on ``subject`` until `forget`."""
        self._waiting[subject] = take

    def forget(self, subject: str) -> None:
        """Remove the waiter of ``subject``; later messages are dropped."""
        self._waiting.pop(subject, None)

    def deliver(self, message: Msg) -> None:
        """Pass a message to its waiter, if there is one."""
        take = self._waiting.get(message.subject)
        if take is not None:
            take(Incoming(message.subject, message.data, message.headers or {}, message.reply))


def split(body: bytes, *, limit: int) -> Iterator[tuple[dict[str, str], memoryview]]:
    """Split a body into parts of at most ``limit`` bytes, each with its header."""
    count = -(-len(body) // limit)
    view = memoryview(body)
    for number in range(count):
        part = view[number * limit : (number + 1) * limit]
        yield {PART_HEADER: f"{number + 1}/{count}/{len(body)}"}, part


class PartCollector:
    """Joins parts that arrive in any order or repeatedly; a part of another body restarts it."""

    def __init__(self) -> None:
        self._parts: dict[int, bytes] = {}
        self._body = (0, 0)

    @staticmethod
    def is_part(headers: Mapping[str, str]) -> bool:
        """Return whether a message is a part of a larger one."""
        return PART_HEADER in headers

    def add(self, headers: Mapping[str, str], data: bytes) -> bytes | None:
        """Add a part; return the whole body once it is complete.

        Raises:
            TooLarge: the announced body exceeds `LARGEST_JOINED`.
        """
        number, count, size = (int(word) for word in headers[PART_HEADER].split("/"))
        if size > LARGEST_JOINED:
            raise TooLarge(what="an answer in parts", size=size, limit=LARGEST_JOINED)
        if self._body != (count, size):
            self._body = (count, size)
            self._parts.clear()
        self._parts[number] = data
        if len(self._parts) < count:
            return None
        whole = b"".join(self._parts[index] for index in range(1, count + 1))
        self._parts.clear()
        return whole
