"""A start or an outcome on its way."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from noetl_worker.commands import Command

if TYPE_CHECKING:
    from noetl_common.writes.write import Write

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
        reply: name of its answers.
        write: carries it, if it goes over the broker.
        is_done: it is not sent again.
    """

    __slots__ = (
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
        "write",
    )

    def __init__(self, kind: Kind, command: Command, body: bytes, place: Place) -> None:
        self.kind: Kind = kind
        self.command = command
        self.body = body
        self.place = place
        self.reply = ""
        self.write: Write | None = None
        self.tries = 0
        self.pause = 0.0
        self.due = 0.0
        self.wants_next = False
        self.next: bytes | None = None
        self.is_done = False

    def settle(self) -> None:
        """Wake who waits for an answer that ends the matter."""
        if self.write is not None:
            self.write.settle()
