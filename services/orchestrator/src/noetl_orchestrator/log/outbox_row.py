"""A row of the outbox."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from noetl_contract.events import EventMessage
from noetl_contract.hints import CommittedEvents, OutboxKind
from noetl_contract.json import Json, JsonObject


@dataclass(slots=True)
class OutboxRow:
    """A row of the outbox, which is published right after its commit.

    Attributes:
        owner: the execution whose commit writes the row.
        execution_id: the execution it is about.
        payload: the stored message; None for single events, which are read from the log.
        pool: of a command: whose workers read it.
        inlined: the message with the command inside, which goes out in its place if it may.
        committed: of a commit: the positions that it wrote.
        events: of a commit: those that outside readers get, each as its message.
        is_stored: whether it is in the outbox, where positions alone need not be (O6).
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
    committed: CommittedEvents | None = None
    events: Sequence[EventMessage] = ()
    is_stored: bool = True

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
