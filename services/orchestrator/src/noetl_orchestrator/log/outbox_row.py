"""A row of the outbox, and the contents of the messages about a commit."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from noetl_contract.events import EventMessage
from noetl_contract.hints import OutboxKind
from noetl_contract.json import Json, JsonObject


@dataclass(frozen=True, slots=True)
class CommitContents:
    """Contents of the messages about a commit.

    Attributes:
        first, last: the positions that it wrote to the log of its execution.
        events: those that outside readers get, each as its message.
        trace: the W3C context that goes on to readers, if there is one.
    """

    first: int
    last: int
    events: Sequence[EventMessage] = ()
    trace: Json = None


@dataclass(slots=True)
class OutboxRow:
    """A row of the outbox, which is published right after its commit.

    Attributes:
        owner: the execution whose commit writes the row.
        execution_id: the execution it is about.
        payload: the stored message; None for single events, which are read from the log, and for
            commits that need no row (O6).
        pool: of a command: whose workers read it.
        inlined: the message with the command inside, which goes out in its place if it may.
        contents: of a commit: what its messages are made of.
    """

    outbox_id: int
    owner: int
    execution_id: int
    event_id: int
    kind: OutboxKind
    subject: str
    message_id: str
    payload: str | None
    pool: str | None = None
    inlined: bytes | None = None
    contents: CommitContents | None = None

    @property
    def is_stored(self) -> bool:
        """Whether it is in the outbox."""
        return self.contents is None or self.payload is not None

    def columns(self) -> tuple[Json, ...]:
        """Return the columns that a commit writes."""
        return (
            self.outbox_id,
            self.owner,
            self.execution_id,
            self.event_id,
            self.kind,
            self.subject,
            self.message_id,
            self.payload,
        )

    def repeated_columns(self, *, holds: int) -> JsonObject:
        """Return the row for a repetition, valid while the command has these holds."""
        return {
            "outbox_id": self.outbox_id,
            "execution_id": self.execution_id,
            "event_id": self.event_id,
            "subject": self.subject,
            "message_id": self.message_id,
            "payload": orjson.Fragment(self.payload or "null"),
            "holds": holds,
        }
