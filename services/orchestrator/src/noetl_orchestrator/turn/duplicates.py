"""When are two events of one id the same event? (design W3, R15)."""

from collections.abc import Callable
from typing import Any

from noetl_contract.events import EventRow
from noetl_contract.ingress import WireEvent
from noetl_engine.inputs import CommandOutcome, CommandStarted, EventsPosted

from noetl_orchestrator.log.keys import StoredEvent

type _Posted = EventsPosted | CommandStarted | CommandOutcome


def event_identity(event: WireEvent, message: _Posted) -> StoredEvent:
    """Return what must agree with a stored row for the event to be a repetition."""
    worker_id = event.worker_id
    if worker_id is None and not isinstance(message, EventsPosted):
        worker_id = message.hold.worker_id
    if worker_id is None:
        worker_id = _text(event.meta, "worker_id")
    command_id = _text(event.context, "command_id") or _text(event.meta, "command_id")
    return StoredEvent(event.event_type, command_id, worker_id)


def row_identity(row: EventRow) -> StoredEvent:
    """Return the same of a row."""
    context = row.result.get("context") if isinstance(row.result, dict) else None
    return StoredEvent(
        row.event_type,
        _text(context, "command_id") or _text(row.meta, "command_id"),
        row.worker_id or _text(row.meta, "worker_id"),
        late=isinstance(row.meta, dict) and row.meta.get("late") is True,
    )


def fresh_ids[T: _Posted](message: T, taken: set[int], new_id: Callable[[], int]) -> T:
    """Return the message with new ids for events whose ids belong to others."""
    if not taken:
        return message
    events = tuple(
        event.model_copy(update={"event_id": new_id()}) if event.event_id in taken else event
        for event in message.events
    )
    if isinstance(message, EventsPosted):
        return type(message)(events, message.batch)
    return type(message)(message.hold, events)


def _text(owner: Any, name: str) -> str | None:
    value = owner.get(name) if isinstance(owner, dict) else None
    return value if isinstance(value, str) else None
