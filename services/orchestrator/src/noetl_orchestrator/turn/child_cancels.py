"""Children that ends cancel (R8): found for messages and answers."""

from collections.abc import Sequence

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.ingress import CancelMessage
from noetl_engine.outputs import Answer

from noetl_orchestrator.log.outbox_row import OutboxRow
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.publishing.after_commit import AfterCommit
from noetl_orchestrator.publishing.outbox_rows import ChildToCancel, OutboxRows
from noetl_orchestrator.turn.unit_of_work import UnitOfWork

_log = get_logger()
_MOST_DESCENDANTS = 10_000
_ALREADY_ENDED = 422


class ChildCancels:
    """Cancel children: those known before a commit, and those noted until then.

    A cascading cancel reaches all children; any other end reaches the awaited ones, and so does the
    end of a single command by its time limit or after its last lost run.
    """

    def __init__(self, store: Store, rows: OutboxRows, after_commit: AfterCommit) -> None:
        self._store = store
        self._rows = rows
        self._after_commit = after_commit

    async def add(self, units: Sequence[UnitOfWork]) -> None:
        """Add cancels to the effects of units, and list the cancelled executions in answers.

        What ended executions have left running is cancelled at once.
        """
        children = await self._find(units)
        for unit in units:
            if unit.execution_id in children:
                unit.effects.cancels = children[unit.execution_id]
                await self._list_in_answers(unit)
        below = await self._cancel_below_ended(units)
        if below:
            # Harmless if the turn is repeated: what was cancelled refuses the next cancel.
            await self._after_commit.send_messages(below)

    async def cancel_late(self, units: Sequence[UnitOfWork]) -> None:
        """Cancel the children that were noted between the first look and the commit.

        After the commit no more are noted, because the commands that start them are cancelled.
        """
        ended = [unit for unit in units if unit.effects.cascades or unit.effects.abandoned]
        if not ended:
            return
        try:
            children = await self._find(ended)
            rows = [row for owner, found in children.items() for row in self._cancels(owner, found)]
            if rows:
                await self._after_commit.send_messages(rows)
        except NoetlError as error:
            ids = [unit.execution_id for unit in ended]
            _log.warning("late_children_not_cancelled", error=error.message, execution_ids=ids)

    async def of_failed(self, execution_id: int, event_id: int) -> list[OutboxRow]:
        """Return cancels of the awaited children of a parent that fails without the fold."""
        reason = f"Parent execution {execution_id} ended: FAILED"
        waits = await self._store.find_open_waits(execution_id)
        awaited = await self._store.find_awaited([(execution_id, one) for one in waits])
        return self._cancels(
            execution_id,
            [
                ChildToCancel(child, event_id, reason, cascade=False)
                for child in awaited.get(execution_id, ())
            ],
        )

    async def _find(self, units: Sequence[UnitOfWork]) -> dict[int, list[ChildToCancel]]:
        cascading = [unit.execution_id for unit in units if unit.effects.cascades]
        waiting = [
            (unit.execution_id, event_id)
            for unit in units
            if not unit.effects.cascades
            for event_id in unit.effects.abandoned
        ]
        children = await self._store.find_children(cascading) if cascading else {}
        awaited = await self._store.find_awaited(waiting) if waiting else {}
        return {
            unit.execution_id: _to_cancel(unit, wanted)
            for unit in units
            if (wanted := children.get(unit.execution_id) or awaited.get(unit.execution_id))
        }

    async def _list_in_answers(self, unit: UnitOfWork) -> None:
        reached = {child.execution_id for child in unit.effects.cancels}
        if unit.effects.cascades:
            below = await self._store.find_descendants(unit.execution_id, limit=_MOST_DESCENDANTS)
            reached |= set(below)
        for turn_input, answer in unit.answers:
            if isinstance(turn_input.message, CancelMessage) and isinstance(answer.body, dict):
                listed = answer.body.setdefault("cancelled_executions", [])
                listed += map(str, sorted(reached))

    async def _cancel_below_ended(self, units: Sequence[UnitOfWork]) -> list[OutboxRow]:
        """Return cancels of what ended executions left running, for cancels with ``cascade`` (R8).

        The answer to such a cancel changes with it: the engine has refused it.
        """
        messages: list[OutboxRow] = []
        for unit in units:
            execution_id = unit.execution_id
            for at, (turn_input, answer) in enumerate(unit.answers):
                message = turn_input.message
                if not isinstance(message, CancelMessage) or not message.cascade:
                    continue
                if answer.status != _ALREADY_ENDED:
                    continue
                found = await self._store.find_running_below(execution_id, limit=_MOST_DESCENDANTS)
                if not found:
                    continue
                event_id = self._rows.new_id()
                reason = message.reason or f"Execution {execution_id} was cancelled with its own"
                messages += self._cancels(
                    execution_id,
                    [ChildToCancel(child, event_id, reason, cascade=True) for child in found],
                )
                body = {
                    "execution_id": execution_id,
                    "message": "Cancellation of what runs below the ended execution requested",
                    "status": "cancelled",
                    "cancelled_executions": [str(child) for child in found],
                }
                unit.answers[at] = (turn_input, Answer(body=body))
        return messages

    def _cancels(self, owner: int, children: Sequence[ChildToCancel]) -> list[OutboxRow]:
        return [self._rows.cancel_row(child, owner=owner) for child in children]


def _to_cancel(unit: UnitOfWork, children: Sequence[int]) -> list[ChildToCancel]:
    effects = unit.effects
    event_id = effects.ended_by
    if event_id is None:
        event_id = next(iter(effects.abandoned), 0)
    reason = _reason(unit)
    return [ChildToCancel(child, event_id, reason, cascade=effects.cascades) for child in children]


def _reason(unit: UnitOfWork) -> str | None:
    """Return the reason given by the caller, else the end of the parent."""
    for turn_input, _ in unit.answers:
        if isinstance(turn_input.message, CancelMessage) and turn_input.message.reason is not None:
            return turn_input.message.reason
    status = unit.entry.execution.status
    if unit.end is None and not unit.effects.cascades:
        return f"The step of parent execution {unit.execution_id} that awaited it has ended"
    return f"Parent execution {unit.execution_id} ended: {status}"
