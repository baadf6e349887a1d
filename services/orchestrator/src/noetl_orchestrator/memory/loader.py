"""Restore executions from their snapshot and the rows after it, never the whole log (W11)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import orjson
from noetl_common.crypto.chain import Chain
from noetl_common.logging import get_logger
from noetl_contract.events import EventRow
from noetl_engine.execution import Execution
from noetl_engine.outputs import NeedRows, OriginNeed

from noetl_orchestrator.log.origins import Origins
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import LoadedExecution
from noetl_orchestrator.memory.cache import CachedExecution

_log = get_logger()
_ORIGIN_ROWS = 300


@dataclass(frozen=True, slots=True)
class RowRequest:
    """Rows that one execution's decision asks for.

    Attributes:
        stored_position: last position in the database.
        new_rows: rows of this turn, which the database does not have yet.
    """

    execution_id: int
    execution: Execution
    need: NeedRows
    stored_position: int
    new_rows: Sequence[EventRow]

    def places(self) -> list[tuple[int, int]]:
        """Return (execution id, position) of the single rows to read."""
        return [
            (self.execution_id, position)
            for position in sorted(self.need.positions)
            if position <= self.stored_position
        ]

    def spans(self) -> list[tuple[int, str, int, int]]:
        """Return (execution id, step, first, last position) of the iterations to read."""
        return [
            (self.execution_id, step, first, min(last, self.stored_position))
            for step, first, last in self.need.iterations
            if first <= self.stored_position
        ]

    def provide(self, rows: Iterable[EventRow], iterations: Iterable[EventRow]) -> None:
        """Pass the execution the rows that were read, and those of this turn."""
        known = (*iterations, *_new_iterations(self.new_rows))
        self.execution.provide(
            [*rows, *(row for row in self.new_rows if row.position in self.need.positions)],
            {
                (step, first, last): [
                    row for row in known if row.node_name == step and first <= row.position <= last
                ]
                for step, first, last in self.need.iterations
            },
        )


class Loader:
    """Read executions, and the rows that a decision asks for.

    Args:
        factory: the engine.
    """

    def __init__(self, store: Store, origins: Origins, factory: type[Execution]) -> None:
        self._store = store
        self._origins = origins
        self._factory = factory

    def new(self, execution_id: int, *, catalog_id: int, parent: int | None) -> CachedExecution:
        """Return an execution that is about to begin."""
        execution = self._factory.new(execution_id)
        return CachedExecution(execution, catalog_id, parent, chain=Chain())

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
        """Read rows of other replicas with one query for all; return the ids that need a reload."""
        spans = [
            (execution_id, entry.execution.position, entry.newest)
            for execution_id, entry in entries.items()
        ]
        tails = await self._store.load_tails(spans)
        incomplete = []
        for execution_id, known, newest in spans:
            rows = tails.get(execution_id, [])
            if len(rows) != newest - known:
                incomplete.append(execution_id)
                continue
            entry = entries[execution_id]
            entry.execution.catch_up(rows)
            entry.extend_chain(rows)
            entry.tail_bytes += sum(_size(row) for row in rows)
        return incomplete

    async def provide(self, requests: Sequence[RowRequest]) -> None:
        """Read the rows that decisions ask for, with at most two queries for all."""
        places: list[tuple[int, int]] = []
        spans: list[tuple[int, str, int, int]] = []
        for request in requests:
            if request.need.origin is not None:
                await self._provide_origin(request, request.need.origin)
                continue
            places += request.places()
            spans += request.spans()
        rows = await self._store.load_rows(places) if places else {}
        iterations = await self._store.load_iterations(spans) if spans else {}
        for request in requests:
            if request.need.origin is not None:
                continue
            execution_id = request.execution_id
            request.provide(rows.get(execution_id, ()), iterations.get(execution_id, ()))

    async def _provide_origin(self, request: RowRequest, need: OriginNeed) -> None:
        """Read the rows of a restarted execution's origin, if there is one."""
        if need.after is not None:
            rows = await self._origins.read_runs(
                need.execution_id, after=need.after, up_to=need.up_to, limit=_ORIGIN_ROWS
            )
            is_last = len(rows) < _ORIGIN_ROWS
            request.execution.read_origin(rows, up_to=need.up_to if is_last else rows[-1].position)
            return
        loaded = await self.load([need.execution_id])
        if need.execution_id not in loaded:
            request.execution.provide_origin(None)
            return
        state = loaded[need.execution_id].execution.state
        ends = await self._origins.read_ends(need.execution_id, end=state.end)
        # Before the start is committed: what it refers to must not be dropped meanwhile.
        await self._origins.note_restart(request.execution_id, origin=need.execution_id)
        request.execution.provide_origin(
            state,
            started=ends[0],
            ended=ends[1] if len(ends) > 1 else None,
        )

    async def _restore(self, state: LoadedExecution, tail: list[EventRow]) -> CachedExecution:
        snapshot_position, snapshot = state.snapshot_position, state.snapshot
        try:
            execution = self._factory.restore(state.execution_id, snapshot, tail)
        except ValueError as error:
            # Another format: the log holds the same.
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
            chain=_chain(state, tail),
        )


def _new_iterations(rows: Iterable[EventRow]) -> Iterable[EventRow]:
    """Return those of the rows of this turn that the query for iterations would find."""
    for row in rows:
        is_late = isinstance(row.meta, dict) and row.meta.get("late") is True
        if row.event_type == "call.done" and not is_late:
            yield row


def _chain(state: LoadedExecution, tail: Iterable[EventRow]) -> Chain | None:
    """Return the chain of a log, with rows that were appended without it since."""
    if state.digest is None or state.digest_position is None:
        return None
    chain = Chain(state.digest_position, state.digest)
    is_whole = chain.extend(tail) and chain.position == state.position
    return chain if is_whole else None


def _size(row: EventRow) -> int:
    return len(orjson.dumps((row.context, row.result, row.meta, row.note), default=str))
