"""The inbox: one wildcard subscription for all answers that the process waits for."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from nats.aio.msg import Msg

from noetl_common.bus.errors import BusUnavailable
from noetl_common.bus.parts import PartCollector

__all__ = ["Inbox", "Incoming", "Sink", "Waiter"]


@dataclass(slots=True, frozen=True)
class Incoming:
    """A message as it came: subject, body, headers, and where an answer is expected."""

    subject: str
    data: bytes
    headers: dict[str, str]
    reply: str = ""

    @property
    def is_no_responders(self) -> bool:
        """Whether this is the broker's word that no service listens."""
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
        """Tell the client that the subscription goes on."""
        return False

    def set_result(self, message: Msg) -> None:
        """Hand a message on; an exception here would end the client's read loop."""
        try:
            self._take(message)
        except Exception as error:  # noqa: BLE001 -- see above
            self._on_error(error)


class Waiter:
    """One expected answer: publish ``subject`` as the place to answer to, then wait."""

    def __init__(self, inbox: "Inbox", subject: str) -> None:
        self.subject = subject
        self._inbox = inbox
        self.answer: asyncio.Future[Incoming] = asyncio.get_running_loop().create_future()
        self._parts: PartCollector | None = None

    async def wait(self, timeout: float) -> bytes:  # noqa: ASYNC109 -- the agreed signature
        """Return the body of the answer.

        Raises:
            BusUnavailable: no answer in time, or no service listens.
        """
        incoming = await self.wait_message(timeout)
        if incoming.is_no_responders:
            raise BusUnavailable(what=self.subject, reason="nobody listens")
        return incoming.data

    async def wait_message(self, timeout: float) -> Incoming:  # noqa: ASYNC109
        """Return the answer as it came, joined if it came in parts.

        Raises:
            BusUnavailable: no answer in time.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self.answer
        except TimeoutError:
            raise BusUnavailable(what=self.subject, reason=f"no answer in {timeout:g} s") from None

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

    def close(self) -> None:
        """Stop waiting."""
        self._inbox.forget(self.subject)
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
        """Hand a message to its waiter, if there is one."""
        take = self._waiting.get(message.subject)
        if take is not None:
            take(Incoming(message.subject, message.data, message.headers or {}, message.reply))
