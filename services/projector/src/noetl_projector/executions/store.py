"""Rows of executions: their states, logs and commands, which the orchestrator writes."""

from dataclasses import dataclass
from datetime import UTC, datetime

from noetl_common.ids import time_of_id_ms
from noetl_contract.commands import named_position, whole_context
from noetl_contract.events import ExecutionStatus, status_of_terminal
from noetl_contract.http.executions.events import EventResult
from noetl_contract.http.workers.commands import CommandAnswer
from noetl_contract.json import Json
from noetl_contract.rpc.projector import CommandStanding
from noetl_pg.database import Store
from noetl_pg.sql.text import patterns_below


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
    error: str | None = None
    total_steps: int = 0
    completed_steps: int = 0
    running_steps: int = 0
    failed_steps: int = 0
    soft_errors: int = 0
    current_step: str | None = None
    cause: Json = None
    soft_error: Json = None
    paused: bool = False


@dataclass(slots=True, kw_only=True)
class LogRow:
    """One row of a log, as readers see it; its time is UTC without a zone."""

    position: int
    event_id: int
    event_type: str
    node_id: str | None
    node_name: str | None
    status: str | None
    created_at: datetime
    context: str | None
    """JSON text."""
    result: str | None
    """JSON text."""
    error: str | None
    catalog_id: int
    parent_event_id: int | None
    parent_execution_id: int | None
    duration: float | None
    cause: Json = None
    weight: int
    """Stored bytes of context and result."""
    is_whole: bool
    """Whether context and result are loaded; otherwise they are left out."""

    @property
    def size(self) -> int:
        """Characters of context and result."""
        return len(self.context or "") + len(self.result or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bodies:
    """Selection of the contexts and results of rows.

    Attributes:
        most: Characters of all of them; those of older rows are left out.
        has_commands: Whether commands have their context.
    """

    most: int
    has_commands: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Filters and page of a list of executions.

    Attributes:
        catalog_id: Of this version of a playbook.
        path_part: A part of the path, in any case.
        status: Exactly this one.
        parent_id: Children of this execution.
        stems: Paths, and all below them; None for all paths.
        after: The execution before the page; only older ones are on it.
        after_started_at: When that one began, where it is known.
        since: Begun then or later; None for any time.
        until: Begun before then; None for any time.
        has_soft_errors: Completed, but with a step that ended with an error. They are looked for
            among as many completed ones as a page may cost, see ``_SOFT_NEAR``.
        limit: How many at most.
        offset: How many are passed over.
    """

    catalog_id: int | None = None
    path_part: str | None = None
    status: str | None = None
    parent_id: int | None = None
    stems: list[str] | None = None
    after: int | None = None
    after_started_at: datetime | None = None
    since: datetime | None = None
    until: datetime | None = None
    has_soft_errors: bool = False
    limit: int
    offset: int = 0


# Executions among which most pages are found, whatever the paths.
_NEAR = 500
_SOFT_NEAR = 10_000
"""Most completed executions that a page is searched in for soft errors, which have no index."""
_STATUSES = [status.value for status in ExecutionStatus]


def _patterns(stems: list[str] | None) -> list[str] | None:
    return None if stems is None else patterns_below(stems)


def _chosen(wanted: Wanted) -> tuple[str, tuple[object, ...]]:
    """Return the name of the statement for the filters, and its arguments after the page's."""
    statuses = _STATUSES if wanted.status is None else [wanted.status]
    paths = (wanted.path_part, _patterns(wanted.stems))
    if wanted.has_soft_errors:
        return "list_soft", (*paths, wanted.catalog_id, wanted.parent_id, _SOFT_NEAR)
    if wanted.parent_id is not None:
        return "list_of_parent", (wanted.parent_id, statuses, wanted.catalog_id, *paths)
    if wanted.catalog_id is not None:
        return "list_of_catalog", (wanted.catalog_id, statuses, *paths)
    if wanted.path_part is not None or wanted.stems is not None:
        return "list_of_paths", (statuses, *paths)
    if wanted.status is not None:
        return "list_of_status", (wanted.status,)
    return "list_newest", ()


# Stored bytes that are read at once: several times as much text.
_CHUNK = 1 << 20


class ExecutionStore(Store):
    """One method per statement or transaction."""

    async def find_state(self, execution_id: int) -> State | None:
        """Return the state row of an execution."""
        row = await self._db.fetchrow("find_state", execution_id)
        return None if row is None else State(**row)

    async def find_status(
        self, execution_id: int, *, limit: int
    ) -> tuple[State | None, list[str], int]:
        """Return the state row, the names of ended steps, and the lag of the read model.

        Names are in the order in which the steps ended; the last number counts rows of the log.
        """
        values = dict(await self._db.fetchone("find_status", execution_id, limit))
        names: list[str] = values.pop("names")
        behind: int = values.pop("behind") or 0
        return (None if values["execution_id"] is None else State(**values)), names, behind

    async def list_statuses(self, execution_ids: list[int]) -> dict[int, str]:
        """Return the statuses of executions that have a state row."""
        rows = await self._db.fetch("list_statuses", execution_ids)
        return {row["execution_id"]: row["status"] for row in rows}

    async def find_log(self, execution_id: int) -> State | None:
        """Return a state made of the ends of a log without a state row; None without a log.

        Its last row decides whether it has ended: no playbook folds it, and it may go on.
        """
        row = await self._db.fetchrow("find_log", execution_id)
        if row is None:
            return None
        values = dict(row)
        ended = status_of_terminal(values.pop("event_type") or "")
        if ended is None:
            values["ended_at"] = None
        return State(version=0, status=ended or ExecutionStatus.RUNNING, **values)

    async def list_states(self, wanted: Wanted) -> list[State]:
        """Return a page of executions, newest first."""
        if wanted.has_soft_errors and wanted.status not in {None, ExecutionStatus.COMPLETED}:
            return []
        found = await self._list_before(await self._place(wanted), wanted)
        if wanted.since is None:
            return found
        return [one for one in found if one.started_at >= wanted.since]

    async def _place(self, wanted: Wanted) -> tuple[datetime | None, int | None]:
        """Return the start time and id that bound the page from above; Nones for all."""
        begin, after = wanted.after_started_at, wanted.after
        if after is not None and begin is None:
            begin = await self._db.fetchval("find_place", after)
            begin = begin or datetime.fromtimestamp(time_of_id_ms(after) / 1000, UTC)
        if wanted.until is not None and (begin is None or wanted.until <= begin):
            return wanted.until, 0
        return begin, after

    async def _list_before(
        self, place: tuple[datetime | None, int | None], wanted: Wanted
    ) -> list[State]:
        page = (*place, wanted.limit, wanted.offset)
        statement, filters = _chosen(wanted)
        if statement == "list_of_paths" and wanted.limit + wanted.offset < _NEAR:
            found = await self._list_near(page, wanted)
            if found is not None:
                return found
        return [State(**row) for row in await self._db.fetch(statement, *page, *filters)]

    async def _list_near(self, page: tuple[object, ...], wanted: Wanted) -> list[State] | None:
        """Return a page from the next executions; None when these are too few to fill it."""
        is_of_status = wanted.status is not None
        rows = await self._db.fetch(
            "list_near_of_status" if is_of_status else "list_near",
            *page,
            *(wanted.path_part, _patterns(wanted.stems), _NEAR),
            *((wanted.status,) if is_of_status else ()),
        )
        looked_at = rows[0]["looked_at"]
        values = [dict(row) for row in rows if row["execution_id"] is not None]
        if len(values) < wanted.limit and looked_at == _NEAR:
            return None
        for one in values:
            del one["looked_at"]
        return [State(**one) for one in values]

    async def read_after(
        self, execution_id: int, *, position: int, limit: int, bodies: Bodies
    ) -> list[LogRow]:
        """Return rows after a position, ascending."""
        found = await self._db.fetch(
            "read_after", execution_id, position, limit, _CHUNK, bodies.has_commands
        )
        rows = [LogRow(**row) for row in found]
        await self._fill(execution_id, rows[::-1], bodies.most)
        return rows

    async def find_position(self, execution_id: int, *, event_id: int, rounding: int) -> int:
        """Return the position after an event that a reader has seen (P4)."""
        return int(await self._db.fetchval("find_position", execution_id, event_id, rounding))

    async def read_origin(self, execution_id: int) -> tuple[Json, str | None]:
        """Return workload and pool of an execution's start."""
        row = await self._db.fetchrow("read_origin", execution_id)
        return (None, None) if row is None else (row["workload"], row["execution_pool"])

    async def read_origins(self, execution_id: int) -> list[int]:
        """Return the origins of a restarted execution."""
        rows = await self._db.fetch("read_origins", execution_id)
        return [row["origin_execution_id"] for row in rows]

    async def read_page(
        self,
        execution_id: int,
        *,
        above_event_id: int | None,
        event_type: str | None,
        step: str | None,
        limit: int,
        offset: int,
        bodies: Bodies,
    ) -> list[LogRow]:
        """Return a page of rows, descending."""
        found = await self._db.fetch(
            "read_page",
            *(execution_id, above_event_id, event_type, limit, offset),
            *(_CHUNK, bodies.has_commands, step),
        )
        rows = [LogRow(**row) for row in found]
        await self._fill(execution_id, rows, bodies.most)
        return rows

    async def count_page(
        self,
        execution_id: int,
        *,
        above_event_id: int | None,
        event_type: str | None,
        step: str | None,
    ) -> int:
        """Return the number of rows over all pages."""
        return int(
            await self._db.fetchval("count_page", execution_id, above_event_id, event_type, step)
        )

    async def read_start(self, execution_id: int) -> Json:
        """Return the workload of an execution."""
        return await self._db.fetchval("read_start", execution_id)

    async def read_last_result(self, execution_id: int, *, position: int) -> Json:
        """Return the data of the last call, None when the end of the log holds none."""
        return await self._db.fetchval("read_last_result", execution_id, position)

    async def read_expected_iterations(self, execution_id: int) -> int | None:
        """Return the size of a looped start's collection, None without a loop."""
        value = await self._db.fetchval("read_expected_iterations", execution_id)
        return None if value is None else int(value)

    async def find_command(
        self, event_id: int, *, execution_id: int | None
    ) -> CommandAnswer | None:
        """Return a command by the id of its event."""
        row = await self._db.fetchrow("find_command", event_id, execution_id)
        if row is None:
            row = await self._db.fetchrow("find_issued", event_id, execution_id)
        if row is None:
            return None
        named = named_position(row["context"])
        if named is None:
            return CommandAnswer(**row)
        workload = await self._db.fetchval("read_workload", row["execution_id"], named)
        return CommandAnswer(**{**row, "context": whole_context(row["context"], workload)})

    async def find_standing(
        self, event_id: int, *, execution_id: int | None
    ) -> CommandStanding | None:
        """Return whether a command is still open; None for a command without a row."""
        row = await self._db.fetchrow("find_standing", event_id, execution_id)
        return None if row is None else CommandStanding(**row)

    async def find_event(self, event_id: int) -> EventResult | None:
        """Return the newest event of an id, unmasked; ids repeat between executions."""
        row = await self._db.fetchrow("find_event", event_id)
        return None if row is None else EventResult(**row)

    async def find_batch_key(self, execution_id: int, *, event_id: int) -> str | None:
        """Return the key under which the batch of an event was sent; None without a key."""
        key: str | None = await self._db.fetchval("find_batch_key", execution_id, event_id)
        return key

    async def find_stuck(self, *, older_than_minutes: int, limit: int) -> list[int]:
        """Return executions that run for longer than a time, oldest first."""
        rows = await self._db.fetch("find_stuck", older_than_minutes, limit)
        return [row["execution_id"] for row in rows]

    async def _fill(self, execution_id: int, rows: list[LogRow], most: int) -> None:
        """Read bodies that did not come with their rows, newest first, up to a limit of size."""
        left, fitting = most, 0
        for number, row in enumerate(rows):
            if not row.is_whole:
                await self._read_bodies(execution_id, rows[number:])
            left -= row.size
            if left < 0:
                break
            fitting = number + 1
        for row in rows[fitting:]:
            row.context = row.result = None
            row.is_whole = False

    async def _read_bodies(self, execution_id: int, rows: list[LogRow]) -> None:
        """Read the next bodies, at least those of one row."""
        weight = 0
        asked: dict[int, LogRow] = {}
        for row in rows:
            weight += row.weight
            if asked and weight > _CHUNK:
                break
            asked[row.position] = row
            row.is_whole = True
        for found in await self._db.fetch("read_bodies", execution_id, list(asked)):
            row = asked[found["position"]]
            row.context, row.result = found["context"], found["result"]
