"""Answers about executions, built from state rows and log rows."""

from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
from noetl_contract.events import ExecutionStatus
from noetl_contract.http.masking import masked
from noetl_contract.http.moments import (
    duration_human,
    duration_seconds,
    rfc3339,
    rfc3339_or_none,
)
from noetl_contract.http.secret_values import without
from noetl_contract.json import Json, JsonObject

from noetl_projector.executions.store import LogRow, State


def status_answer(
    state: State, *, completed_steps: Sequence[str], secrets: Sequence[str]
) -> JsonObject:
    """Build the answer of ``/status``: the baseline's keys, then those the CLI reads.

    The CLI's human view says RUNNING unless ``completed``, whatever ``failed`` says, and a
    cancelled execution would be COMPLETED there if it had not ``failed``.
    """
    is_cancelled = state.status == ExecutionStatus.CANCELLED
    is_running = state.status == ExecutionStatus.RUNNING
    body: JsonObject = {
        "execution_id": state.execution_id,
        "status": state.status,
        "current_step": state.current_step,
        "progress": {
            "total_steps": state.total_steps,
            "completed_steps": state.completed_steps,
            # A step that its execution's end has cut off does not run any more.
            "running_steps": state.running_steps if is_running else 0,
            "failed_steps": state.failed_steps,
        },
        "is_cancelled": is_cancelled,
        "completed": not is_running,
        "failed": state.status in {ExecutionStatus.FAILED, ExecutionStatus.CANCELLED},
        "completed_steps": list(completed_steps),
        **_times(state),
        "soft_errors": state.soft_errors,
    }
    error = _error(state, secrets)
    if error is not None:
        body["error"] = error
    return body | _rare(state, secrets)


def list_entry(state: State, *, secrets: Sequence[str]) -> JsonObject:
    """Build one entry of the list."""
    return {
        "execution_id": state.execution_id,
        "catalog_id": state.catalog_id,
        "path": state.path,
        "status": state.status,
        "started_at": rfc3339(state.started_at),
        "completed_at": rfc3339_or_none(state.ended_at),
        "event_count": state.position,
        "version": state.version,
        **_times(state),
        "progress": _percent(state),
        "parent_execution_id": state.parent_execution_id,
        "error": _error(state, secrets),
        "soft_errors": state.soft_errors,
        **_rare(state, secrets),
    }


def detail_answer(
    state: State,
    *,
    workload: Json,
    result: Json,
    events: Sequence[Json],
    includes_events: bool,
    pagination: JsonObject,
    secrets: Sequence[str],
) -> JsonObject:
    """Build the answer of ``/api/executions/{id}``."""
    return {
        "execution_id": state.execution_id,
        "catalog_id": state.catalog_id,
        "path": state.path,
        "status": state.status,
        "started_at": rfc3339(state.started_at),
        "completed_at": rfc3339_or_none(state.ended_at),
        "parent_execution_id": state.parent_execution_id,
        "workload": masked(workload, secrets),
        "events": list(events),
        "version": state.version,
        **_times(state),
        "progress": _percent(state),
        "result": masked(result, secrets),
        "error": _error(state, secrets),
        "soft_errors": state.soft_errors,
        **_rare(state, secrets),
        "events_included": includes_events,
        "events_endpoint": f"/api/executions/{state.execution_id}/events",
        "pagination": pagination,
    }


def has_error_text(state: State) -> bool:
    """Return whether an answer holds texts that may hold secrets."""
    return not (state.error is None and state.cause is None and state.soft_error is None)


def events_answer(state: State, *, events: Sequence[Json], pagination: JsonObject) -> JsonObject:
    """Build the answer of ``/api/executions/{id}/events``."""
    return {
        "execution_id": state.execution_id,
        "path": state.path,
        "status": state.status,
        "events": list(events),
        "pagination": pagination,
    }


def pagination_of(*, page: int, page_size: int, total: int) -> JsonObject:
    """Return the position of a page; an empty log has one page."""
    pages = max(1, -(-total // page_size))
    return {
        "page": page,
        "page_size": page_size,
        "total_events": total,
        "total_pages": pages,
        "has_next": page < pages,
        "has_prev": page > 1,
    }


def shown_events(
    rows: Sequence[LogRow], *, execution_id: int, secrets: Sequence[str]
) -> list[Json]:
    """Build the events of an answer, encoded, with secrets masked.

    An event whose context and result are left out says ``truncated``.
    """
    return [
        orjson.Fragment(orjson.dumps(_shown_event(row, execution_id=execution_id, secrets=secrets)))
        for row in rows
    ]


def _shown_body(text: str | None, secrets: Sequence[str]) -> Json:
    return None if text is None else masked(orjson.loads(text), secrets)


def _shown_event(row: LogRow, *, execution_id: int, secrets: Sequence[str]) -> JsonObject:
    created = rfc3339(row.created_at)
    body: JsonObject = {
        "event_id": row.event_id,
        "event_type": row.event_type,
        "node_id": row.node_id,
        "node_name": row.node_name,
        "status": row.status or "UNKNOWN",
        "created_at": created,
        "context": _shown_body(row.context, secrets),
        "result": _shown_body(row.result, secrets),
        "error": None if row.error is None else without(row.error, secrets),
        "catalog_id": row.catalog_id,
        "parent_execution_id": row.parent_execution_id,
        "parent_event_id": row.parent_event_id,
        "duration": row.duration,
        "execution_id": execution_id,
        "timestamp": created,
        "position": row.position,
    }
    if row.cause is not None:
        body["cause"] = masked(row.cause, secrets)
    if not row.is_whole:
        body["truncated"] = True
    return body


def _times(state: State) -> JsonObject:
    seconds = duration_seconds(state.started_at, state.ended_at or datetime.now(UTC))
    return {
        "start_time": rfc3339(state.started_at),
        "end_time": rfc3339_or_none(state.ended_at),
        "duration_seconds": seconds,
        "duration_human": duration_human(seconds),
    }


def _percent(state: State) -> int:
    """Return the percentage of begun steps that are done; 100 only after the end."""
    if state.status != ExecutionStatus.RUNNING:
        return 100
    return min(99, 100 * state.completed_steps // max(state.total_steps, 1))


def _rare(state: State, secrets: Sequence[str]) -> JsonObject:
    """Return the optional fields that have a value, secrets masked."""
    found = {"cause": state.cause, "soft_error": state.soft_error}
    told = {name: masked(one, secrets) for name, one in found.items() if one is not None}
    return told | {"paused": True} if state.paused else told


def _error(state: State, secrets: Sequence[str]) -> str | None:
    if state.status == ExecutionStatus.CANCELLED:
        return without(state.error or "cancelled", secrets)
    return None if state.error is None else without(state.error, secrets)
