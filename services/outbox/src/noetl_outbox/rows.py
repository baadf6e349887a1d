"""Outbox rows and the messages that publish them (O1, O4)."""

from dataclasses import dataclass, fields
from typing import NamedTuple

from noetl_contract import message_ids
from noetl_contract.events import EventMessage, EventRow, event_message
from noetl_contract.hints import OutboxKind
from noetl_contract.ingress import FinalizeMessage
from noetl_contract.json import Json, JsonObject
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import event_subject, ingress_subject
from noetl_pg.database import Row as Record

# The column `note` is private to the engine's fold.
_EVENT_COLUMNS = tuple(field.name for field in fields(EventRow) if field.name != "note")


@dataclass(frozen=True, slots=True)
class Row:
    """One row to publish.

    Attributes:
        payload: the message's body as JSON. For an event, its envelope, or None if the event is
            not in the log. For a commit, its positions and, once loaded, its events.
    """

    outbox_id: int
    kind: OutboxKind
    execution_id: int
    event_id: int
    subject: str | None
    message_id: str
    payload: Json
    attempts: int = 0


def stored_row(record: Record, *, shard: int) -> Row:
    """Convert a claimed record; build an event's envelope from its log columns."""
    payload, subject = record["payload"], record["subject"]
    if record["kind"] == "event":
        subject = subject or event_subject(record["execution_id"], shard=shard)
        if record["event_type"] is not None:
            payload = logged_event(record)
    return Row(
        outbox_id=record["outbox_id"],
        kind=record["kind"],
        execution_id=record["execution_id"],
        event_id=record["event_id"],
        subject=subject,
        message_id=record["message_id"] or _message_id(record),
        payload=payload,
        attempts=record["attempts"],
    )


def logged_event(record: Record) -> EventMessage:
    """Build the envelope of an event from its log columns."""
    return event_message(EventRow(**{name: record[name] for name in _EVENT_COLUMNS}))


def why_unpublishable(row: Row) -> str | None:
    """Return the reason why a row can never be published, or None."""
    if not row.subject:
        return "the row has no subject"
    if row.payload is None:
        return "the row has no payload and its event is not in the log"
    if not _has_needed_fields(row):
        return f"the payload of the {row.kind} lacks fields that its message needs"
    return None


def _has_needed_fields(row: Row) -> bool:
    """Return whether a payload has the fields that the relay reads."""
    match row.kind, row.payload:
        case "commit", payload:
            return _has(payload, first=int, last=int)
        case "event", event:
            return _has(event, position=int, event_type=str)
        case _, payload:
            return isinstance(payload, dict)


def _has(payload: Json, **wanted: type) -> bool:
    return isinstance(payload, dict) and all(
        isinstance(payload.get(name), kind) for name, kind in wanted.items()
    )


class FailureMessage(NamedTuple):
    """The ingress message that fails an execution."""

    subject: str
    message_id: str
    body: JsonObject


def failure_message(row: Row, *, reason: str, shard_count: int) -> FailureMessage | None:
    """Return the message that fails the row's execution, or None if the execution goes on.

    An execution doesn't depend on the publication of its events, which are in its log. The failure
    message itself, whose event id is negative, causes no second one.
    """
    if row.kind in {"event", "commit"} or row.event_id < 0:
        return None
    shard = shard_for(row.execution_id, shard_count=shard_count)
    message = FinalizeMessage(
        execution_id=row.execution_id,
        status="FAILED",
        error=f"A {row.kind} could not be published: {reason}",
    )
    return FailureMessage(
        ingress_subject(shard, execution_id=row.execution_id, kind="finalize"),
        message_ids.failure_id(row.execution_id, event_id=row.event_id),
        message.plain(),
    )


def _message_id(record: Record) -> str:
    """Return the message id of a row that stores none; it is the same for each repetition."""
    execution_id = record["execution_id"]
    if record["kind"] == "commit":
        return message_ids.commit_id(execution_id, position=record["payload"]["last"])
    if record["kind"] == "event":
        return message_ids.event_id(execution_id, position=record["position"])
    return message_ids.row_id(record["kind"], execution_id, event_id=record["event_id"])
