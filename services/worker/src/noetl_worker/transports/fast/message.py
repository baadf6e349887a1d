"""A start or an outcome on its way."""

import asyncio
from dataclasses import dataclass
from typing import Literal

from noetl_worker.commands import Command

type Kind = Literal["start", "outcome"]


@dataclass(frozen=True, slots=True)
class Place:
    """The run of a command that a message reports on, and the shard of its execution."""

    shard: int
    event_id: int
    attempts: int


class Message:
    """A start or an outcome; ``due`` is when it is sent again, 0 while it is not stored yet.

    Attributes:
        wants_next: a command that comes with the answer is run here.
        next: the notification of that command.
        answered: done once an answer has ended the matter; there while somebody waits for it.
        is_done: it is not sent again.
    """

    __slots__ = (
        "answered",
        "body",
        "command",
        "due",
        "is_done",
        "kind",
        "next",
        "pause",
        "place",
        "reply",
        "tries",
        "wants_next",
    )

    def __init__(
        self, kind: Kind, command: Command, body: bytes, place: Place, *, reply: str
    ) -> None:
        self.kind: Kind = kind
        self.command = command
        self.body = body
        self.place = place
        self.reply = reply
        self.tries = 0
        self.pause = 0.0
        self.due = 0.0
        self.wants_next = False
        self.next: bytes | None = None
        self.answered: asyncio.Future[None] | None = None
        self.is_done = False

    def expect(self) -> asyncio.Future[None]:
        """Return what is done when `settle` is called."""
        self.answered = asyncio.get_running_loop().create_future()
        return self.answered

    def settle(self) -> None:
        """Wake who waits for the answer, or for the word that nobody is there to give it."""
        if self.answered is not None and not self.answered.done():
            self.answered.set_result(None)
