"""A start or an outcome on its way."""

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
    """A start or an outcome; ``due`` is when it is sent again, 0 while it is not stored yet."""

    __slots__ = ("body", "command", "due", "kind", "pause", "place", "reply", "tries")

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
