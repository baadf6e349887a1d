"""Request keys, and traces that starts take over from their parents."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from noetl_engine.inputs import Started
from noetl_engine.outputs import Answer

from noetl_orchestrator.log.keys import RequestKey
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import KeyHolder
from noetl_orchestrator.turn.inputs import Group, Work


class RequestKeys:
    """Answers repeated requests from their keys (W5), and gives starts their parent's trace."""

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

    async def _copy_traces(self, works: Sequence[Work]) -> None:
        parents = {work.parent_trace_of for work in works if work.parent_trace_of is not None}
        traces = await self._store.find_traces(sorted(parents))
        for work in works:
            parent, work.parent_trace_of = work.parent_trace_of, None
            if parent in traces and isinstance(work.input, Started):
                work.input = replace(work.input, trace=traces[parent])


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
