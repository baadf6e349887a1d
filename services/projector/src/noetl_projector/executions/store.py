"""The projector's statements: the read model, reads of the log, stored results."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import asyncpg
from noetl_common.errors import NoetlError
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries
from noetl_contract.events import ExecutionStatus, status_of_terminal


type Pool = asyncpg.Pool[asyncpg.Record]


@dataclass(frozen=True, slots=True)
class State:
    """The state row of an execution."""

    execution_id: int
    catalog_id: int
    path: str
    version: int
    parent_execution_id: int | None
    status: str
    position: int
    started_at: datetime
    ended_at: datetime | None
    error: str | None
    total_steps: int
    completed_steps: int
    running_steps: int
    failed_steps: int
    soft_errors: int
    current_step: str | None

    @classmethod
    def of(cls, row: asyncpg.Record) -> Self:
        """Read a row whose columns have these names."""
        return cls(**dict(row))


@dataclass(frozen=True, slots=True)
class LogRow:
    """One row of a log, as readers see it."""

    position: int
    event_id: int
    event_type: str
    node_id: str | None
    node_name: str | None
    status: str | None
    created_at: datetime
    context: Json
    result: Json
    error: str | None
    catalog_id: int
    parent_event_id: int | None
    parent_execution_id: int | None
    duration: float | None

    @classmethod
    def of(cls, row: asyncpg.Record) -> Self:
        """Read a row whose columns have these names; its time is UTC without a zone."""
        values = dict(row)
        values["created_at"] = values["created_at"].replace(tzinfo=UTC)
        return cls(**values)


@dataclass(frozen=True, slots=True)
class StoredCommand:
    """A command as it was issued."""

    execution_id: int
    step: str
    tool_kind: str
    context: Json
    meta: Json


@dataclass(frozen=True, slots=True)
class NewResult:
    """A result to keep; ``text`` is its compact JSON with sorted keys, None if elsewhere."""

    result_id: int
    execution_id: int
    name: str
    scope: str
    source_step: str | None
    text: str | None
    size: int
    sha256: str
    store: str = "db"
    location: str | None = None
    expires_seconds: float | None = None


class Store:
    """One method a statement; errors are translated to ours."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._queries = Queries.load("noetl_projector")

    async def is_reachable(self) -> bool:
        """Say whether the database answers."""
        try:
            await self._value("probe")
        except NoetlError:
            return False
        return True

    async def move_executions(self, execution_ids: Sequence[int]) -> int:
        """Bring rows of the read model to where the logs are.

        Repeating it changes nothing. Returns how many rows moved.
        """
        ids = list(execution_ids)
        with translate():
            async with self._pool.acquire() as connection, connection.transaction():
                await connection.execute(self._queries["add_missing_executions"], ids)
                moved = await connection.fetchval(self._queries["move_executions"], ids, False)
        return int(moved)

    async def read_clock(self) -> datetime:
        """Return the database's time."""
        moment: datetime = await self._value("read_clock")
        return moment

    async def find_lagging(self, *, ended_after: datetime, limit: int) -> list[int]:
        """Return executions whose row is behind their log."""
        rows = await self._rows("find_lagging", ended_after, limit)
        return [row["execution_id"] for row in rows]

    async def find_state(self, execution_id: int) -> State | None:
        """Return the state row of an execution."""
        row = await self._row("find_state", execution_id)
        return None if row is None else State.of(row)

    async def find_status(self, execution_id: int, *, limit: int) -> tuple[State | None, list[str]]:
        """Return the state row and the names of ended steps in the order in which they ended."""
        rows = await self._rows("find_status", execution_id, limit)
        values = dict(rows[0])
        names: list[str] = values.pop("names")
        return (None if values["execution_id"] is None else State(**values)), names

    async def find_log(self, execution_id: int) -> State | None:
        """Return what a log without a state row says of itself; None without a log.

        Its last row decides about its end: nobody folds it, and it may go on.
        """
        row = await self._row("find_log", execution_id)
        if row is None:
            return None
        ended = status_of_terminal(row["event_type"] or "")
        return State(
            execution_id=row["execution_id"],
            catalog_id=row["catalog_id"],
            path=row["path"],
            version=0,
            parent_execution_id=row["parent_execution_id"],
            status=ExecutionStatus.RUNNING if ended is None else ended,
            position=row["position"],
            started_at=row["started_at"],
            ended_at=None if ended is None else row["ended_at"],
            error=None,
            total_steps=0,
            completed_steps=0,
            running_steps=0,
            failed_steps=0,
            soft_errors=0,
            current_step=None,
        )

    async def list_states(
        self,
        *,
        catalog_id: int | None,
        path_part: str | None,
        status: str | None,
        limit: int,
        offset: int,
    ) -> list[State]:
        """Return executions, newest first."""
        rows = await self._rows("list_states", catalog_id, path_part, status, limit, offset)
        return [State.of(row) for row in rows]

    async def read_after(self, execution_id: int, *, position: int, limit: int) -> list[LogRow]:
        """Return rows after a position, ascending."""
        rows = await self._rows("read_after", execution_id, position, limit)
        return [LogRow.of(row) for row in rows]

    async def find_position(self, execution_id: int, *, event_id: int, rounding: int) -> int:
        """Return the position after which a reader goes on who has seen an event (P4)."""
        return int(await self._value("find_position", execution_id, event_id, rounding))

    async def read_page(
        self,
        execution_id: int,
        *,
        above_event_id: int | None,
        event_type: str | None,
        limit: int,
        offset: int,
    ) -> list[LogRow]:
        """Return a page of rows, descending."""
        rows = await self._rows(
            "read_page", execution_id, above_event_id, event_type, limit, offset
        )
        return [LogRow.of(row) for row in rows]

    async def count_page(
        self, execution_id: int, *, above_event_id: int | None, event_type: str | None
    ) -> int:
        """Return how many rows a page is cut from."""
        return int(await self._value("count_page", execution_id, above_event_id, event_type))

    async def read_start(self, execution_id: int) -> Json:
        """Return the workload of an execution."""
        return await self._value("read_start", execution_id)

    async def read_last_result(self, execution_id: int, *, position: int) -> Json:
        """Return the data of the last call, None when the end of the log holds none."""
        return await self._value("read_last_result", execution_id, position)

    async def read_expected_iterations(self, execution_id: int) -> int | None:
        """Return the size of a looped start's collection, None without a loop."""
        value = await self._value("read_expected_iterations", execution_id)
        return None if value is None else int(value)

    async def find_command(
        self, event_id: int, *, execution_id: int | None
    ) -> StoredCommand | None:
        """Return a command by the id of its event."""
        row = await self._row("find_command", event_id, execution_id)
        if row is None:
            row = await self._row("find_issued", event_id, execution_id)
        if row is None:
            return None
        return StoredCommand(
            execution_id=row["execution_id"],
            step=row["node_name"],
            tool_kind=row["node_type"],
            context=row["context"],
            meta=row["meta"],
        )

    async def insert_result(self, result: NewResult) -> None:
        """Keep a result; repeating it changes nothing."""
        with translate():
            await self._pool.execute(
                self._queries["insert_result"],
                result.result_id,
                result.execution_id,
                result.name,
                result.scope,
                result.source_step,
                result.text,
                result.size,
                result.sha256,
                result.store,
                result.location,
                result.expires_seconds,
            )

    async def delete_expired_results(self, *, limit: int) -> int:
        """Delete results whose time is over; return how many."""
        return int(await self._value("delete_expired_results", limit))

    async def find_result(
        self, execution_id: int, *, name: str, result_id: int
    ) -> JsonObject | None:
        """Return a result's JSON text in ``data``, or where it lies, with size and checksum."""
        row = await self._row("find_result", execution_id, name, result_id)
        return None if row is None else dict(row)

    async def announce_body(self, store: str, *, location: str, seconds: float) -> None:
        """Have a body removed after a time unless a result names it then."""
        with translate():
            await self._pool.execute(self._queries["announce_body"], store, location, seconds)

    async def forget_removal(self, store: str, *, location: str) -> None:
        """Remove a body no more."""
        with translate():
            await self._pool.execute(self._queries["forget_removal"], store, location)

    async def take_removals(self, *, limit: int) -> list[tuple[str, str]]:
        """Return stores and locations of bodies that are due for removal."""
        with translate():
            await self._pool.execute(self._queries["keep_named_bodies"])
        rows = await self._rows("take_removals", limit)
        return [(row["store"], row["location"]) for row in rows]

    async def find_newest_result(self, execution_id: int, *, name: str) -> JsonObject | None:
        """Return the newest result of a name with what is known of it; ``data`` is JSON text."""
        row = await self._row("find_newest_result", execution_id, name)
        return None if row is None else dict(row)

    async def _row(self, name: str, *values: object) -> asyncpg.Record | None:
        with translate():
            return await self._pool.fetchrow(self._queries[name], *values)

    async def _rows(self, name: str, *values: object) -> list[asyncpg.Record]:
        with translate():
            return await self._pool.fetch(self._queries[name], *values)

    async def _value(self, name: str, *values: object) -> Any:
        with translate():
            return await self._pool.fetchval(self._queries[name], *values)
