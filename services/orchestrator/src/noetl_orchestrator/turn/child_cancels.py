"""Children that the end of an execution reaches."""

from collections.abc import Mapping, Sequence
from typing import Any

from noetl_engine.inputs import Cancelled

from noetl_orchestrator.log.outbox_rows import ChildToCancel
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.turn.unit_of_work import Staged

_MOST_DESCENDANTS = 10_000


class ChildCancels:
    """Finds the children to cancel, and names them in answers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def children_to_cancel(self, staged: Sequence[Staged]) -> dict[int, list[ChildToCancel]]:
        """Find whom ends go on to (R8).

        A cascading cancel reaches all children; any end reaches those still waited for.
        """
        cascading = [one.execution_id for one in staged if one.cancelled_with_children]
        waiting = [
            (one.execution_id, event_id)
            for one in staged
            for event_id in one.abandoned
            if not one.cancelled_with_children
        ]
        children = await self._store.find_children(cascading) if cascading else {}
        awaited = await self._store.find_awaited(waiting) if waiting else {}
        return {
            one.execution_id: [
                ChildToCancel(
                    child, one.end_event_id, _reason(one), cascade=bool(one.cancelled_with_children)
                )
                for child in wanted
            ]
            for one in staged
            if (wanted := children.get(one.execution_id) or awaited.get(one.execution_id))
        }

    async def tell_callers(
        self, staged: Sequence[Staged], children: Mapping[int, Sequence[ChildToCancel]]
    ) -> None:
        """Name in the answers to cancels everybody whom they reach."""
        for one in staged:
            reached = children.get(one.execution_id)
            if reached:
                await self._tell_callers(
                    one,
                    {child.execution_id for child in reached},
                    cascade=bool(one.cancelled_with_children),
                )

    async def _tell_callers(self, staged: Staged, wanted: set[int], *, cascade: bool) -> None:
        if cascade:
            below = await self._store.find_descendants(staged.execution_id, limit=_MOST_DESCENDANTS)
            wanted = wanted | set(below)
        for work, answer in staged.answers:
            if not isinstance(work.input, Cancelled) or not isinstance(answer.body, dict):
                continue
            listed: list[Any] = answer.body.setdefault("cancelled_executions", [])
            listed += [str(execution_id) for execution_id in sorted(wanted)]


def _reason(staged: Staged) -> str | None:
    """Why the children are cancelled: what the caller said, else that their parent has ended."""
    for work, _ in staged.answers:
        if isinstance(work.input, Cancelled) and work.input.reason is not None:
            return work.input.reason
    status = staged.entry.execution.status
    return f"Parent execution {staged.execution_id} ended: {status}"
