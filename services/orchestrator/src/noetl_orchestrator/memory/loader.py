"""From stored rows to executions in memory: snapshot and tail, never the whole log (W11)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import orjson
from noetl_common.logging import get_logger
from noetl_contract.events import EventRow
from noetl_engine.outputs import NeedRows

from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import LoadedExecution
from noetl_orchestrator.memory.cache import CachedExecution, ExecutionLike
from noetl_orchestrator.turn.unit_of_work import Staged

_log = get_logger()


class ExecutionFactory(Protocol):
    """What the service needs of the class ``noetl_engine.execution.Execution``."""

    def new(self, execution_id: int) -> ExecutionLike:
        """Return an execution that has not begun."""

    def restore(
        self, execution_id: int, snapshot: bytes | None, tail: Iterable[EventRow]
    ) -> ExecutionLike:
        """Return an execution as of the last event of the tail."""


class Loader:
    """Reads executions, and the rows that a decision asks for.

    Args:
        factory: the engine.
    """

    def __init__(self, store: Store, factory: ExecutionFactory) -> None:
        self._store = store
        self._factory = factory

    def new(self, execution_id: int, *, catalog_id: int, parent: int | None) -> CachedExecution:
        """Return an execution that is about to begin."""
        return CachedExecution(self._factory.new(execution_id), catalog_id, parent)

    async def load(self, execution_ids: Sequence[int]) -> dict[int, CachedExecution]:
        """Read executions with two queries for all; unknown ones are missing."""
        states = await self._store.load_executions(execution_ids)
        tails = await self._store.load_tails(
            [
                (state.execution_id, state.snapshot_position, state.position)
                for state in states.values()
                if state.position > state.snapshot_position
            ]
        )
        return {
            execution_id: await self._restore(state, tails.get(execution_id, []))
            for execution_id, state in states.items()
        }

    async def catch_up(self, entries: Mapping[int, CachedExecution]) -> list[int]:
        """Read what others have appended, one query for all; returns those that can't be helped."""
        spans = [
            (execution_id, entry.execution.position, entry.newest)
            for execution_id, entry in entries.items()
        ]
        tails = await self._store.load_tails(spans)
        helpless = []
        for execution_id, known, newest in spans:
            rows = tails.get(execution_id, [])
            if len(rows) != newest - known:
                helpless.append(execution_id)
                continue
            entry = entries[execution_id]
            entry.execution.catch_up(rows)
            entry.tail_bytes += sum(_size(row) for row in rows)
        return helpless

    async def provide(self, needs: Sequence[tuple[Staged, NeedRows]]) -> None:
        """Read the rows that decisions ask for, with at most two queries for all."""
        places: list[tuple[int, int]] = []
        spans: list[tuple[int, str, int, int]] = []
        for staged, need in needs:
            stored = staged.expected
            places += [
                (staged.execution_id, position)
                for position in sorted(need.positions)
                if position <= stored
            ]
            spans += [
                (staged.execution_id, step, first, min(last, stored))
                for step, first, last in need.iterations
                if first <= stored
            ]
        rows = await self._store.load_rows(places) if places else {}
        iterations = await self._store.load_iterations(spans) if spans else {}
        for staged, need in needs:
            known = (*iterations.get(staged.execution_id, ()), *_new_iterations(staged.events))
            staged.entry.execution.provide(
                [
                    *rows.get(staged.execution_id, ()),
                    *(row for row in staged.events if row.position in need.positions),
                ],
                {
                    (step, first, last): [
                        row
                        for row in known
                        if row.node_name == step and first <= row.position <= last
                    ]
                    for step, first, last in need.iterations
                },
            )

    async def _restore(self, state: LoadedExecution, tail: list[EventRow]) -> CachedExecution:
        snapshot_position, snapshot = state.snapshot_position, state.snapshot
        try:
            execution = self._factory.restore(state.execution_id, snapshot, tail)
        except ValueError as error:
            # Another release's format: the log alone tells the same.
            _log.warning("snapshot_not_used", execution_id=state.execution_id, error=str(error))
            everything = await self._store.load_tails([(state.execution_id, 0, state.position)])
            tail = everything.get(state.execution_id, [])
            snapshot_position, snapshot = 0, None
            execution = self._factory.restore(state.execution_id, None, tail)
        return CachedExecution(
            execution,
            state.catalog_id,
            state.parent_execution_id,
            snapshot_position=snapshot_position,
            snapshot_bytes=len(snapshot or b""),
            tail_bytes=sum(_size(row) for row in tail),
        )


def _new_iterations(rows: Iterable[EventRow]) -> Iterable[EventRow]:
    """Return those of the rows of this turn that the query for iterations would find."""
    for row in rows:
        is_late = isinstance(row.meta, dict) and row.meta.get("late") is True
        if row.event_type == "call.done" and not is_late:
            yield row


def _size(row: EventRow) -> int:
    return len(orjson.dumps((row.context, row.result, row.meta, row.note), default=str))
