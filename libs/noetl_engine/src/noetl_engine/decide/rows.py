"""Turn posted worker events into log rows; recognise recent repetitions."""

from dataclasses import dataclass

from noetl_contract.events import EventRow, status_from_type
from noetl_contract.ingress import WireEvent
from noetl_contract.json import Json

from noetl_engine.decide.draft import Draft
from noetl_engine.outputs import Answer
from noetl_engine.state.identity import command_id_in, fingerprint, micros
from noetl_engine.state.model import CommandState


@dataclass(frozen=True, slots=True)
class Known:
    """An event that is in the log: the id it has there, and whether it came late."""

    event_id: int
    late: bool


def refused(text: str, code: str) -> Answer:
    """Return the answer to a claim that is not granted."""
    return Answer(status=409, error=text, detail={"code": code, "message": text})


def command_id_of_event(event: WireEvent) -> str | None:
    """Return the command an event names, in its payload or its meta."""
    return command_id_in(event.context, event.meta)


def worker_id_of(event: WireEvent) -> str | None:
    """Return the sender's worker id."""
    if event.worker_id:
        return event.worker_id
    worker = event.meta.get("worker_id") if isinstance(event.meta, dict) else None
    return worker if isinstance(worker, str) and worker else None


def attempts_of(event: WireEvent) -> int | None:
    """Return the fence that a worker copies from the claim's answer into its events (L1)."""
    attempts = event.meta.get("attempts") if isinstance(event.meta, dict) else None
    if isinstance(attempts, bool) or not isinstance(attempts, int):
        return None
    return attempts


def mark_of(event: WireEvent) -> int:
    """Return the fingerprint of an event."""
    return fingerprint(event.event_type, command_id_of_event(event), worker_id_of(event))


def recall(draft: Draft, event: WireEvent) -> Known | None:
    """Find a repetition among the newest events: same id, type, command and worker (R15, W3).

    What lies further back is found by the store's key, whose owner then answers for it.
    """
    sent = event.event_id
    if sent is None:
        return None
    state = draft.memory.state
    recent = state.recent
    kept = recent.get(sent)
    if kept is None and not state.renamed:
        return None
    mark = mark_of(event)
    if kept is not None and kept >> 1 == mark:
        return Known(sent, bool(kept & 1))
    renamed = state.renamed.get(f"{sent}:{mark}")
    if renamed is not None:
        return Known(renamed, bool(recent.get(renamed, 0) & 1))
    return None


def worker_row(
    draft: Draft,
    event: WireEvent,
    *,
    command: CommandState | None,
    batch: bool = False,
    late: bool = False,
) -> EventRow:
    """Build the row of a worker event; ``command`` is given only where it takes effect."""
    state, facts = draft.memory.state, draft.facts
    event_id = event.event_id
    note: dict[str, Json] = {}
    if event_id is None:
        event_id = facts.new_id()
    elif event_id in state.recent:
        note["sent"] = event_id
        event_id = facts.new_id()
    if command is None:
        note["inert"] = True
    else:
        note["command"] = command.event_id
        note["at"] = micros(facts.now)
    status = event.status if event.status is not None else status_from_type(event.event_type)
    return EventRow(
        execution_id=state.execution_id,
        position=0,
        event_id=event_id,
        event_type=event.event_type,
        created_at=event.created_at or facts.now,
        catalog_id=state.catalog_id,
        node_id=event.step,
        node_name=event.step,
        status=status,
        parent_execution_id=state.parent_execution_id,
        result=result_of(event, status),
        meta=meta_of(event, late=late),
        worker_id=event.worker_id or None if batch else None,
        note=note,
    )


def result_of(event: WireEvent, status: str) -> Json:
    """Return the ``result`` column of a posted event."""
    result: dict[str, Json] = {"status": status}
    if event.result_kind == "ref" and event.result_uri:
        uri = event.result_uri
        tier = {"gs://": "gcs", "s3://": "s3"}.get(uri[:5], "artifact")
        result["reference"] = {"store_tier": tier, "logical_uri": uri}
    elif event.result_kind == "refs" and event.event_ids is not None:
        ids = event.event_ids
        result["reference"] = {"event_ids": ids, "total_parts": len(ids)}
    elif isinstance(event.context, dict):
        result["context"] = event.context
    return result


def meta_of(event: WireEvent, *, late: bool) -> Json:
    """Return the ``meta`` column of a posted event: as sent, with the flags of its envelope."""
    if event.meta is not None and not isinstance(event.meta, dict):
        return event.meta
    meta: dict[str, Json] = dict(event.meta or {})
    meta["actionable"] = event.actionable
    meta["informative"] = event.informative
    if event.worker_id is not None:
        meta["worker_id"] = event.worker_id
    if late:
        meta["late"] = True
    return meta
