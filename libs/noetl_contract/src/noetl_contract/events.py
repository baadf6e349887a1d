"""The event log's rows and type words (contract: engine 3, data 2.3 and 4)."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from noetl_contract.http.moments import rfc3339

__all__ = [
    "CANCELLED_TYPES",
    "COMPLETED_TYPES",
    "FAILED_TYPES",
    "TERMINAL_TYPES",
    "EventRow",
    "EventType",
    "ExecutionStatus",
    "envelope",
    "format_time",
    "status_from_type",
    "status_of_terminal",
]

type Json = Any
"""Free JSON: what the contract leaves to playbooks and workers."""


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
    CALL_DONE = "call.done"
    CALL_ERROR = "call.error"
    COMMAND_COMPLETED = "command.completed"
    COMMAND_FAILED = "command.failed"
    PLAYBOOK_COMPLETED = "playbook.completed"
    PLAYBOOK_FAILED = "playbook.failed"
    PLAYBOOK_CANCELLED = "playbook_cancelled"
    FINALIZED_COMPLETED = "playbook_completed"
    FINALIZED_FAILED = "playbook_failed"


class ExecutionStatus(StrEnum):
    """What an execution is, by its log (http-b, section 1, "ours")."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


COMPLETED_TYPES = frozenset({"playbook.completed", "playbook_completed", "workflow.completed"})
FAILED_TYPES = frozenset({"playbook.failed", "playbook_failed", "workflow.failed"})
CANCELLED_TYPES = frozenset({"playbook_cancelled", "playbook.cancelled", "execution.cancelled"})
TERMINAL_TYPES = COMPLETED_TYPES | FAILED_TYPES | CANCELLED_TYPES


@dataclass(slots=True)
class EventRow:
    """One row of ``noetl.event``, as it is stored and folded.

    ``position`` is gapless per execution and orders the log; ``event_id`` does not.
    ``note`` is our own column: what a completion decided and the other columns do not show
    (arrivals, resets of a cycle, handled failures, a loop's collection; engine R2, R10).
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
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def status_from_type(event_type: str) -> str:
    """Derive a status word from an event type when none was sent (http-b, 3.1)."""
    if any(word in event_type for word in ("done", "exit", "completed")):
        return "COMPLETED"
    if any(word in event_type for word in ("error", "failed")):
        return "FAILED"
    return "RUNNING"


def status_of_terminal(event_type: str) -> ExecutionStatus | None:
    """Return what an execution is after an event of this type; None when it goes on."""
    if event_type in COMPLETED_TYPES:
        return ExecutionStatus.COMPLETED
    if event_type in FAILED_TYPES:
        return ExecutionStatus.FAILED
    if event_type in CANCELLED_TYPES:
        return ExecutionStatus.CANCELLED
    return None


def envelope(row: EventRow) -> dict[str, Json]:
    """Build the body published on ``noetl.events.…`` for a row (messaging, 4.2).

    ``execution_id`` is a string, as the gateway reads only strings; the other ids are
    integers. ``position`` is ours.
    """
    created = rfc3339(row.created_at)
    body: dict[str, Json] = {
        "event_id": row.event_id,
        "execution_id": str(row.execution_id),
        "catalog_id": row.catalog_id,
        "event_type": row.event_type,
        "node_id": row.node_id,
        "node_name": row.node_name,
        "status": row.status,
        "result": row.result,
        "meta": row.meta,
        "error": row.error,
        "parent_event_id": row.parent_event_id,
        "parent_execution_id": row.parent_execution_id,
        "created_at": created,
        "position": row.position,
    }
    if row.event_type == EventType.COMMAND_ISSUED:
        body["node_type"] = row.node_type
        body["context"] = row.context
    return body
