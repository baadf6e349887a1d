"""What a turn asks before it decides: request keys, traces of parents, children to cancel."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from noetl_engine.inputs import Cancelled, Started
from noetl_engine.outputs import Answer

from noetl_orchestrator.log.keys import RequestKey
from noetl_orchestrator.log.outbox_rows import ChildToCancel
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import KeyHolder
from noetl_orchestrator.turn.inputs import Group, Work
from noetl_orchestrator.turn.unit_of_work import Staged

_MOST_DESCENDANTS = 10_000


class RequestBook:
    """Answers repeated requests from their keys (W5), and completes what a start leaves open."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def without_repetitions(
        self, groups: list[Group], settled: list[tuple[Work, Answer]]
    ) -> list[Group]:
        """Settle works whose keys others hold; returns the groups that are left to decide.

        Two works of one turn with the same key are told apart by the commit: it refuses the
        batch, and one at a time the second finds the first.
        """
        keyed = [work for group in groups for work in group.works if work.keys]
        traced = [
            work for group in groups for work in group.works if work.parent_trace_of is not None
        ]
        if traced:
            await self._copy_traces(traced)
        if not keyed:
            return groups
        holders = await self._store.find_request_keys(key for work in keyed for key in work.keys)
        left = []
        for group in groups:
            works = []
            for work in group.works:
                answer = _held_answer(work, holders)
                if answer is not None:
                    settled.append((work, answer))
                    continue
                works.append(work)
            if works:
                left.append(Group(group.execution_id, works))
        return left

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

    async def _copy_traces(self, works: Sequence[Work]) -> None:
        parents = {work.parent_trace_of for work in works if work.parent_trace_of is not None}
        traces = await self._store.find_traces(sorted(parents))
        for work in works:
            parent, work.parent_trace_of = work.parent_trace_of, None
            if parent in traces and isinstance(work.input, Started):
                work.input = replace(work.input, trace=traces[parent])


def _reason(staged: Staged) -> str | None:
    """Why the children are cancelled: what the caller said, else that their parent has ended."""
    for work, _ in staged.answers:
        if isinstance(work.input, Cancelled) and work.input.reason is not None:
            return work.input.reason
    status = staged.entry.execution.status
    return f"Parent execution {staged.execution_id} ended: {status}"


def _held_answer(work: Work, holders: Mapping[tuple[str, str], KeyHolder]) -> Answer | None:
    """Answer a request that was seen before; None if it wasn't, or if it is that very request."""
    for key in work.keys:
        holder = holders.get(_place(key))
        if holder is None:
            continue
        if not isinstance(work.input, Started):
            return Answer(body=holder.answer)
        if holder.execution_id != work.execution_id:
            return Answer(
                body={
                    "execution_id": str(holder.execution_id),
                    "status": "duplicate",
                    "commands_generated": 0,
                }
            )
    return None


def _place(key: RequestKey) -> tuple[str, str]:
    return key.scope, key.key
