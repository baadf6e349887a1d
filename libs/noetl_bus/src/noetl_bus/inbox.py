"""The inbox: one wildcard subscription for all answers that the process waits for.

A body above the broker's limit travels as numbered parts, which are joined here.
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
"""Largest answer that is joined: a runaway sender must not fill the memory."""


@dataclass(slots=True, frozen=True)
class Incoming:
    """A received message: subject, body, headers, and the reply subject."""

    subject: str
    data: bytes
    headers: dict[str, str]
    reply: str = ""

    @property
    def is_no_responders(self) -> bool:
        """Whether this is the broker's answer that a subject has no subscriber."""
        return not self.data and self.headers.get("Status") == "503"


class Sink:
    """Takes messages from the client's read loop without a queue and a task in between.

    The client offers ``future=`` for a single answer; it calls ``set_result`` for each message
    of the subscription, so an object that calls a function there is a direct line.
    """

    def __init__(self, take: Callable[[Msg], None], on_error: Callable[[Exception], None]) -> None:
        self._take = take
        self._on_error = on_error

    def cancelled(self) -> bool:
        """Return False: the subscription is open."""
        return False

    def set_result(self, message: Msg) -> None:
        """Pass a message on; an exception here would end the client's read loop."""
        try:
            self._take(message)
        except Exception as error:  # noqa: BLE001 -- see above
            self._on_error(error)


class Waiter:
    """One expected answer: send ``subject`` as the reply subject, then wait."""

    def __init__(self, inbox: "Inbox", subject: str) -> None:
        self.subject = subject
        self._inbox = inbox
        self.answer: asyncio.Future[Incoming] = asyncio.get_running_loop().create_future()
        self._parts: PartCollector | None = None
        self._twins: tuple[Waiter, ...] = ()

    async def wait(self, seconds: float) -> bytes:
        """Return the body of the answer.

        Raises:
            BusUnavailable: no answer in time, or no service listens.
        """
        incoming = await self.wait_message(seconds)
        if incoming.is_no_responders:
            raise BusUnavailable(what=self.subject, reason="nobody listens")
        return incoming.data

    async def wait_message(self, seconds: float) -> Incoming:
        """Return the answer as it came, joined if it came in parts.

        Raises:
            BusUnavailable: no answer in time.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self.answer
        except TimeoutError:
            raise BusUnavailable(what=self.subject, reason=f"no answer in {seconds:g} s") from None

    def take(self, incoming: Incoming) -> None:
        """Accept a message addressed to this waiter; the first whole answer counts."""
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
        """Return a subject for one more request: the first whole answer to either counts.

        The answers are kept apart, since the parts of two may differ. That nobody listened to the
        repetition says nothing about the request before it.
        """
        twin = Waiter(self._inbox, self._inbox.fresh_subject())
        twin.answer, self._twins = self.answer, (*self._twins, twin)

        def take(incoming: Incoming) -> None:
            if not incoming.is_no_responders:
                twin.take(incoming)

        self._inbox.register(twin.subject, take)
        return twin.subject

    @contextmanager
    def repeating(self, send: Callable[[str], None], seconds: float) -> Iterator[None]:
        """Call ``send`` with the subject of a repetition, after pauses that double."""
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
        for twin in self._twins:
            self._inbox.forget(twin.subject)
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
    """Subjects under one prefix, each waited for by at most one waiter."""

    prefix: str
    _waiting: dict[str, Callable[[Incoming], None]] = field(default_factory=dict)
    _count: int = 0

    def expect(self) -> Waiter:
        """Return a waiter with a fresh subject; use it as a context manager."""
        waiter = Waiter(self, self.fresh_subject())
        self._waiting[waiter.subject] = waiter.take
        return waiter

    def fresh_subject(self) -> str:
        """Return a subject of this inbox that was never used."""
        self._count += 1
        return f"{self.prefix}{self._count:x}"

    def register(self, subject: str, take: Callable[[Incoming], None]) -> None:
        """Call ``take`` for every message on ``subject`` until it is forgotten."""
        self._waiting[subject] = take

    def forget(self, subject: str) -> None:
        """Stop waiting on ``subject``; messages that still come are dropped."""
        self._waiting.pop(subject, None)

    def deliver(self, message: Msg) -> None:
        """Pass a message to its waiter, if there is one."""
        take = self._waiting.get(message.subject)
        if take is not None:
            take(Incoming(message.subject, message.data, message.headers or {}, message.reply))


def split(body: bytes, *, limit: int) -> Iterator[tuple[dict[str, str], memoryview]]:
    """Cut a body into parts of at most ``limit`` bytes, each with its header."""
    count = -(-len(body) // limit)
    view = memoryview(body)
    for number in range(count):
        part = view[number * limit : (number + 1) * limit]
        yield {PART_HEADER: f"{number + 1}/{count}/{len(body)}"}, part


class PartCollector:
    """Joins parts in any order, with repetitions; a part of another body starts again."""

    def __init__(self) -> None:
        self._parts: dict[int, bytes] = {}
        self._body = (0, 0)

    @staticmethod
    def is_part(headers: Mapping[str, str]) -> bool:
        """Return whether a message is a part of a larger one."""
        return PART_HEADER in headers

    def add(self, headers: Mapping[str, str], data: bytes) -> bytes | None:
        """Take a part; return the whole body once it is complete.

        Raises:
            TooLarge: the announced body is larger than we put together.
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
