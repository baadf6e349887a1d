"""Find the children that ends cancel (R8), for messages and answers."""

from collections.abc import Mapping, Sequence

from noetl_contract.ingress import CancelMessage
from noetl_engine.outputs import Answer

from noetl_orchestrator.log.outbox_rows import ChildToCancel, OutboxRow
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.turn.encode import Encoder
from noetl_orchestrator.turn.unit_of_work import UnitOfWork

_MOST_DESCENDANTS = 10_000
_ALREADY_ENDED = 422


async def children_to_cancel(
    store: Store, units: Sequence[UnitOfWork]
) -> dict[int, list[ChildToCancel]]:
    """Find the children that ends of executions and of their commands cancel (R8).

    A cascading cancel reaches all children; any other end reaches the awaited ones, and so does the
    end of a single command by its time limit or after its last lost run.
    """
    cascading = [unit.execution_id for unit in units if unit.cascades]
    waiting = [
        (unit.execution_id, event_id)
        for unit in units
        if not unit.cascades
        for event_id in unit.abandoned
    ]
    children = await store.find_children(cascading) if cascading else {}
    awaited = await store.find_awaited(waiting) if waiting else {}
    return {
        unit.execution_id: _cancels(unit, wanted)
        for unit in units
        if (wanted := children.get(unit.execution_id) or awaited.get(unit.execution_id))
    }


async def tell_callers(
    store: Store, units: Sequence[UnitOfWork], children: Mapping[int, Sequence[ChildToCancel]]
) -> None:
    """List the cancelled executions in the answers to cancels."""
    for unit in units:
        reached = {child.execution_id for child in children.get(unit.execution_id, ())}
        if not reached:
            continue
        if unit.cascades:
            reached |= set(await store.find_descendants(unit.execution_id, limit=_MOST_DESCENDANTS))
        for turn_input, answer in unit.answers:
            if isinstance(turn_input.message, CancelMessage) and isinstance(answer.body, dict):
                listed = answer.body.setdefault("cancelled_executions", [])
                listed += map(str, sorted(reached))


async def cancel_below_ended(
    store: Store, units: Sequence[UnitOfWork], encoder: Encoder
) -> list[OutboxRow]:
    """Return cancels of what ended executions left running, for cancels with ``cascade`` (R8).

    The answer to such a cancel changes with it: the engine has refused it.
    """
    messages: list[OutboxRow] = []
    for unit in units:
        for at, (turn_input, answer) in enumerate(unit.answers):
            message = turn_input.message
            if not isinstance(message, CancelMessage) or not message.cascade:
                continue
            if answer.status != _ALREADY_ENDED:
                continue
            found = await store.find_running_below(unit.execution_id, limit=_MOST_DESCENDANTS)
            if not found:
                continue
            event_id = encoder.new_id()
            reason = message.reason or f"Execution {unit.execution_id} was cancelled with its own"
            messages += encoder.cancels(
                unit.execution_id,
                [ChildToCancel(child, event_id, reason, cascade=True) for child in found],
            )
            body = {
                "execution_id": unit.execution_id,
                "message": "Cancellation of what runs below the ended execution requested",
                "status": "cancelled",
                "cancelled_executions": [str(child) for child in found],
            }
            unit.answers[at] = (turn_input, Answer(body=body))
    return messages


def _cancels(unit: UnitOfWork, children: Sequence[int]) -> list[ChildToCancel]:
    event_id = unit.end.event_id if unit.end is not None else next(iter(unit.abandoned), 0)
    reason = _reason(unit)
    return [ChildToCancel(child, event_id, reason, cascade=unit.cascades) for child in children]


def _reason(unit: UnitOfWork) -> str | None:
    """Return the reason given by the caller, else the end of the parent."""
    for turn_input, _ in unit.answers:
        if isinstance(turn_input.message, CancelMessage) and turn_input.message.reason is not None:
            return turn_input.message.reason
    status = unit.entry.execution.status
    if unit.end is None and not unit.cascades:
        return f"The step of parent execution {unit.execution_id} that awaited it has ended"
    return f"Parent execution {unit.execution_id} ended: {status}"
