"""A start or an outcome on its way."""

from typing import TYPE_CHECKING, Literal

from noetl_worker.commands import Command

if TYPE_CHECKING:
    from noetl_bus.writes.write import Write

type Kind = Literal["start", "outcome"]


class Message:
    """A start or an outcome; ``due`` is when it is sent again, 0 while it is not stored yet.

    Attributes:
        command: the one whose run it reports on.
        reply: name of its answers.
        write: carries it, if it goes over the broker.
        wants_next: its answer may bring another command.
    """

    __slots__ = (
        "body",
        "command",
        "due",
        "kind",
        "pause",
        "reply",
        "tries",
        "wants_next",
        "write",
    )

    def __init__(self, kind: Kind, command: Command, body: bytes) -> None:
        self.kind: Kind = kind
        self.command = command
        self.body = body
        self.reply = ""
        self.write: Write | None = None
        self.tries = 0
        self.pause = 0.0
        self.due = 0.0
        self.wants_next = False

    def settle(self) -> None:
        """Wake who waits for an answer that ends the matter."""
        if self.write is not None:
            self.write.settle()
