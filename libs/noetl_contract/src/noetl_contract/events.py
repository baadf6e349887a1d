"""The rows of the event log, their type words, and the messages made of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import NotRequired, TypedDict

import orjson

from noetl_contract.http.moments import rfc3339
from noetl_contract.json import Json
from noetl_contract.model import Struct

_ERROR_CHARS = 4096
_NO_TEXTS: Mapping[str, str | None] = {}


class EventType(StrEnum):
    """The type words this control plane writes; logs may hold others."""

    PLAYBOOK_STARTED = "playbook_started"
    STEP_ENTER = "step.enter"
    STEP_SKIPPED = "step.skipped"
    STEP_EXIT = "step.exit"
    CTX_UPDATED = "ctx.updated"
    COMMAND_ISSUED = "command.issued"
    COMMAND_CLAIMED = "command.claimed"
    COMMAND_STARTED = "command.started"
    WAIT_STARTED = "wait.started"
    WAIT_REMINDER = "wait.reminder"
    SIGNAL_RECEIVED = "signal.received"
    CALL_DONE = "call.done"
    CALL_ERROR = "call.error"
    COMMAND_COMPLETED = "command.completed"
    COMMAND_FAILED = "command.failed"
    EXECUTION_RESTORED = "execution.restored"
    EXECUTION_PAUSED = "execution.paused"
    EXECUTION_RESUMED = "execution.resumed"
    PLAYBOOK_COMPLETED = "playbook.completed"
    PLAYBOOK_FAILED = "playbook.failed"
    PLAYBOOK_CANCELLED = "playbook_cancelled"
    FINALIZED_COMPLETED = "playbook_completed"
    FINALIZED_FAILED = "playbook_failed"


class ExecutionStatus(StrEnum):
    """The status of an execution, by its log."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


COMPLETED_TYPES = frozenset({"playbook.completed", "playbook_completed", "workflow.completed"})
FAILED_TYPES = frozenset({"playbook.failed", "playbook_failed", "workflow.failed"})
CANCELLED_TYPES = frozenset({"playbook_cancelled", "playbook.cancelled", "execution.cancelled"})
TERMINAL_TYPES = COMPLETED_TYPES | FAILED_TYPES | CANCELLED_TYPES


RELAYED_TYPES = TERMINAL_TYPES | {
    EventType.STEP_EXIT,
    EventType.CALL_ERROR,
    EventType.COMMAND_FAILED,
}
"""Event types that known readers of ``noetl.events.>`` look at."""


@dataclass(slots=True)
class EventRow:
    """One row of ``noetl.event``, as it is stored and folded.

    ``position`` is gapless per execution and orders the log; ``event_id`` does not.
    ``note`` is our own column, for the fold alone: decisions of a completion that the other
    columns do not show (arrivals, resets of a cycle, handled failures, a loop's collection;
    R2, R10).
    """

    execution_id: int
    position: int
    event_id: int
    event_type: str
    created_at: datetime
    catalog_id: int
    node_id: str | None = None
    node_name: str | None = None
    node_type: str | None = None
    status: str | None = None
    parent_event_id: int | None = None
    parent_execution_id: int | None = None
    context: Json = None
    result: Json = None
    meta: Json = None
    error: str | None = None
    worker_id: str | None = None
    note: Json = None


def format_time(moment: datetime) -> str:
    """Format a UTC moment as RFC 3339 with ``Z`` and microseconds."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def status_from_type(event_type: str) -> str:
    """Derive a status word from an event type when none was sent."""
    if any(word in event_type for word in ("done", "exit", "completed")):
        return "COMPLETED"
    if any(word in event_type for word in ("error", "failed")):
        return "FAILED"
    return "RUNNING"


def status_of_terminal(event_type: str) -> ExecutionStatus | None:
    """Return the status of an execution after an event of this type; None when it goes on."""
    if event_type in COMPLETED_TYPES:
        return ExecutionStatus.COMPLETED
    if event_type in FAILED_TYPES:
        return ExecutionStatus.FAILED
    if event_type in CANCELLED_TYPES:
        return ExecutionStatus.CANCELLED
    return None


class EventMessage(TypedDict):
    """The message on ``noetl.events.…`` for one row of the log.

    A typed dictionary, not a model: one is built for every event, with JSON columns that are
    encoded already. ``execution_id`` is text, because outside readers take only text there; the
    other ids are integers. ``position`` is ours.
    """

    event_id: int
    execution_id: str
    catalog_id: int
    event_type: str
    node_id: str | None
    node_name: str | None
    status: str | None
    result: Json
    meta: Json
    error: str | None
    parent_event_id: int | None
    parent_execution_id: int | None
    created_at: str
    position: int
    node_type: NotRequired[str | None]
    """Of ``command.issued`` only, as `context`."""
    context: NotRequired[Json]
    payload_omitted: NotRequired[bool]
    """True when result, meta and context are left out because they are too large (O4)."""


class CommitMessage(Struct):
    """The message on ``noetl_commits.…``: what one commit wrote to the log of one execution.

    It says where to read, not what: whoever needs the events reads the log.
    """

    execution_id: str
    first: int
    last: int


def event_message(row: EventRow, *, texts: Mapping[str, str | None] = _NO_TEXTS) -> EventMessage:
    """Build the message of a row; ``texts`` holds JSON columns that are encoded already."""
    body: EventMessage = {
        "event_id": row.event_id,
        "execution_id": str(row.execution_id),
        "catalog_id": row.catalog_id,
        "event_type": row.event_type,
        "node_id": row.node_id,
        "node_name": row.node_name,
        "status": row.status,
        "result": _column(row.result, texts.get("result")),
        "meta": _column(row.meta, texts.get("meta")),
        "error": row.error,
        "parent_event_id": row.parent_event_id,
        "parent_execution_id": row.parent_execution_id,
        "created_at": rfc3339(row.created_at),
        "position": row.position,
    }
    if row.event_type == EventType.COMMAND_ISSUED:
        body["node_type"] = row.node_type
        body["context"] = _column(row.context, texts.get("context"))
    return body


def event_body(event: EventMessage, *, largest: int) -> bytes:
    """Encode an event's message; one with more than ``largest`` bytes goes without its payload."""
    body = orjson.dumps(event)
    if len(body) <= largest:
        return body
    bare: EventMessage = {
        **event,
        "result": None,
        "meta": None,
        "context": None,
        "payload_omitted": True,
    }
    error = event.get("error")
    if isinstance(error, str):
        bare["error"] = error[:_ERROR_CHARS]
    return orjson.dumps(bare)


def _column(value: Json, text: str | None) -> Json:
    return value if text is None else orjson.Fragment(text)
