"""Statements of turns, leases and timers on the database of a shard."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from noetl_common.errors import Conflict
from noetl_common.logging import get_logger
from noetl_contract.events import EventRow
from noetl_contract.ingress import Lineage
from noetl_contract.json import Json
from noetl_pg.database import Database, Row
from noetl_pg.pool import Pool

from noetl_orchestrator.log.commit_parameters import CommitParameters, columns
from noetl_orchestrator.log.connections import TurnConnections
from noetl_orchestrator.log.keys import EventIdentity, RequestKey
from noetl_orchestrator.log.outbox_row import OutboxRow
from noetl_orchestrator.log.stored_rows import (
    Committed,
    DueTimer,
    HeldCommand,
    LoadedExecution,
    NextLooks,
    Origin,
    Publication,
    RequestKeyHolder,
    UnfoldedEnd,
)
from noetl_orchestrator.settings import Settings

_log = get_logger()


class Store:
    """One public method per statement; errors as those of `Database`.

    Args:
        turns: connections of the turns.
        background: connections of everything else; neither pool can starve the other (F12).
        settings: the timeout of a commit, and the fast paths.
    """

    def __init__(self, turns: Pool, background: Database, settings: Settings) -> None:
        self._connections = TurnConnections(turns, keeps=settings.takes("turn-connections"))
        self._shortens = settings.takes("shorter-commits")
        self._turns = Database(turns, borrow=self._connections.borrow).with_statements(__package__)
        self._background = background.with_statements(__package__)
        self._commit_timeout_seconds = settings.commit_timeout_seconds

    def count_kept_connections(self) -> int:
        """Count the unused connections that turns keep."""
        return self._connections.count_kept()

    async def close(self) -> None:
        """Give the turns' connections back to their pool."""
        await self._connections.close()

    async def commit_turn(self, parameters: CommitParameters) -> Committed:
        """Commit many executions' decisions, each whole or not at all.

        Raises:
            DataRejected: a value can't be stored; nothing was stored.
            Conflict: a key was taken at the same moment; nothing was stored.
            Transient: the database is away; whether it was stored is unknown.
        """
        form = parameters.shorter_form if self._shortens else None
        if form is not None:
            try:
                row = await self._commit(form, parameters.arguments(form))
            except Conflict:
                # A posted event may be there already: the whole statement tells which.
                _log.info("posted_events_looked_up", executions=len(parameters.moves))
            else:
                return Committed(frozenset(row["kept"]), frozenset(), {}, row["now"])
        row = await self._commit("commit_turn", parameters.arguments())
        return Committed(
            kept=frozenset(row["kept"]),
            checked=frozenset(row["checked"]),
            clashes={
                (clash["execution_id"], clash["event_id"]): EventIdentity(
                    clash["event_type"], clash["command_id"], clash["worker_id"], clash["late"]
                )
                for clash in row["clashes"] or ()
            },
            now=row["now"],
        )

    async def _commit(self, form: str, arguments: Sequence[object]) -> Row:
        seconds = self._commit_timeout_seconds
        return await self._turns.fetchone(form, *arguments, timeout_seconds=seconds)

    async def check_positions(
        self, expected: Mapping[int, int], timers_done: Sequence[int]
    ) -> Committed:
        """Return the executions that are still at their expected position."""
        row = await self._turns.fetchone(
            "check_positions",
            list(expected),
            list(expected.values()),
            timers_done,
        )
        return Committed(frozenset(), frozenset(row["checked"]), {}, row["now"])

    async def load_executions(self, execution_ids: Sequence[int]) -> dict[int, LoadedExecution]:
        """Read state rows with their snapshots; unknown ids are missing from the answer."""
        rows = await self._turns.fetch("load_executions", execution_ids)
        return {row["execution_id"]: LoadedExecution(**row) for row in rows}

    async def load_tails(self, spans: Sequence[tuple[int, int, int]]) -> dict[int, list[EventRow]]:
        """Read the events of (execution id, position known, position wanted) spans."""
        rows = await self._turns.fetch("load_tails", *columns(spans, 3))
        return _by_execution(rows)

    async def load_rows(self, places: Sequence[tuple[int, int]]) -> dict[int, list[EventRow]]:
        """Read single rows by (execution id, position)."""
        rows = await self._turns.fetch("load_rows", *columns(places, 2))
        return _by_execution(rows)

    async def load_iterations(
        self, spans: Sequence[tuple[int, str, int, int]]
    ) -> dict[int, list[EventRow]]:
        """Read the ``call.done`` rows of (execution id, step, first, last position) spans."""
        rows = await self._turns.fetch("load_iterations", *columns(spans, 4))
        return _by_execution(rows)

    async def find_request_keys(
        self, keys: Iterable[RequestKey]
    ) -> dict[tuple[str, str], RequestKeyHolder]:
        """Find the holders of keys; delete keys past their window."""
        asked = [(key.scope, key.key, key.window_seconds) for key in keys]
        rows = await self._turns.fetch("find_request_keys", *columns(asked, 3))
        return {
            (row["scope"], row["key"]): RequestKeyHolder(row["execution_id"], row["answer"])
            for row in rows
        }

    async def count_unended(self, watch: str, *, execution_id: int) -> int:
        """Count a turn of a watched input that begins; return the count (W14)."""
        row = await self._turns.fetchone("count_unended", watch, execution_id)
        return int(row["count"])

    async def forget_unended(self, watch: str) -> None:
        """Forget the count of an input whose turn has ended."""
        await self._turns.execute("forget_unended", watch)

    async def join_families(
        self, starts: Sequence[tuple[int, int, int | None, bool]]
    ) -> dict[int, Origin]:
        """Find the origin of starts and count them in their families.

        Args:
            starts: child, parent, root as another shard has told, and whether the start counts.
        """
        rows = await self._turns.fetch("join_families", *columns(starts, 4))
        return {row["execution_id"]: _origin(row) for row in rows}

    async def find_running_below(self, execution_id: int, *, limit: int) -> list[int]:
        """Find what runs below an ended execution, with all that other shards may know."""
        rows = await self._turns.fetch("find_running_below", execution_id, limit)
        return [row["execution_id"] for row in rows]

    async def find_children(self, execution_ids: Sequence[int]) -> dict[int, list[int]]:
        """Find the unfinished children of executions, and those on other shards."""
        rows = await self._turns.fetch("find_children", execution_ids)
        return _children_by_parent(rows)

    async def find_awaited(self, commands: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
        """Find the unfinished children of commands, given as (execution id, event id)."""
        rows = await self._turns.fetch("find_awaited", *columns(commands, 2))
        return _children_by_parent(rows)

    async def add_messages(self, messages: Sequence[OutboxRow]) -> set[int]:
        """Insert messages into the outbox; return the outbox ids of new ones."""
        rows = await self._turns.fetch("add_messages", *_message_columns(messages))
        return {row["outbox_id"] for row in rows}

    async def find_handed(self, outcomes: Sequence[tuple[int, int]]) -> list[HeldCommand]:
        """Find commands that workers got with the answers to outcomes and have not reported since.

        Args:
            outcomes: execution and command that each was about.
        """
        rows = await self._turns.fetch("find_handed", *columns(outcomes, 2))
        return [HeldCommand(**row) for row in rows]

    async def find_handed_to(
        self, workers: Sequence[tuple[str, str | None, datetime]], *, recent_seconds: float
    ) -> list[HeldCommand]:
        """Find commands dispatched lately to processes that are gone, and not reported since.

        Args:
            workers: names, with the process that has each now, None when it has left, and since
                when that is so.
            recent_seconds: for how long a worker may start a command; what is older is taken by
                `take_unclaimed`.
        """
        rows = await self._background.fetch("find_handed_to", *columns(workers, 3), recent_seconds)
        return [HeldCommand(**row) for row in rows]

    async def find_open_waits(self, execution_id: int) -> list[int]:
        """Find an execution's commands that wait for children and have not ended."""
        rows = await self._turns.fetch("find_open_waits", execution_id)
        return [row["event_id"] for row in rows]

    async def find_descendants(self, execution_id: int, *, limit: int) -> list[int]:
        """Find the unfinished descendants of an execution on this shard."""
        rows = await self._turns.fetch("find_descendants", execution_id, limit)
        return [row["execution_id"] for row in rows]

    async def find_command_execution(self, event_id: int) -> int | None:
        """Find the execution of a command."""
        found: int | None = await self._background.fetchval("find_command_execution", event_id)
        return found

    async def fail_execution(
        self,
        execution_id: int,
        *,
        expected: int,
        event_id: int,
        error: str,
        reason: str,
        outbox_id: int,
        subject: str,
        messages: Sequence[OutboxRow] = (),
    ) -> UnfoldedEnd | None:
        """End a running execution without folding; return what is over with it.

        Return None if it isn't at the expected position, or has ended. ``messages`` are inserted
        into the outbox with the end.
        """
        rows = await self._turns.fetch(
            "fail_execution",
            execution_id,
            event_id,
            error,
            reason,
            outbox_id,
            subject,
            *_message_columns(messages),
            expected,
        )
        return UnfoldedEnd(rows[0]["pool"], rows[0]["held"]) if rows else None

    async def take_timers(self, *, lease_seconds: float, limit: int) -> list[DueTimer]:
        """Lease timers that are due."""
        rows = await self._background.fetch("take_timers", lease_seconds, limit)
        return [DueTimer(**row) for row in rows]

    async def find_next_looks(self) -> NextLooks:
        """Find when the next timers and leases come due."""
        return NextLooks(**await self._background.fetchone("find_next_looks"))

    async def delete_timers(self, timer_ids: Sequence[int]) -> None:
        """Delete timers."""
        await self._background.execute("delete_timers", timer_ids)

    async def take_expired_leases(
        self, *, next_look_seconds: float, workers: Sequence[str] | None, limit: int
    ) -> list[HeldCommand]:
        """Lease held commands whose lease has expired, or that one of these workers holds.

        With ``workers`` None only those whose result is in the log.
        """
        rows = await self._background.fetch(
            "take_expired_leases", next_look_seconds, workers or (), limit, workers is not None
        )
        return [HeldCommand(**row) for row in rows]

    async def take_unclaimed(
        self,
        *,
        pause_seconds: float,
        longest_pause_seconds: float,
        limit: int,
        handed_seconds: float,
    ) -> list[HeldCommand]:
        """Lease commands that were not claimed for too long, or not started by who was given them.

        The latter are no longer taken for handed over then.
        """
        rows = await self._background.fetch(
            "take_unclaimed", pause_seconds, longest_pause_seconds, limit, handed_seconds
        )
        return [HeldCommand(**row) for row in rows]

    async def take_withheld(
        self, paths: Sequence[str], pools: Sequence[str], *, until: datetime, limit: int
    ) -> list[HeldCommand]:
        """Take unclaimed commands of paths and pools, of which nothing was said since a moment."""
        rows = await self._background.fetch("take_withheld", paths, pools, until, limit)
        return [HeldCommand(**row) for row in rows]

    async def find_published(
        self, commands: Sequence[tuple[int, int]]
    ) -> dict[tuple[int, int], Publication]:
        """Find where notifications of (execution id, event id) were published."""
        rows = await self._background.fetch("find_published", *columns(commands, 2))
        return {
            (row["execution_id"], row["event_id"]): Publication(
                row["status"], row["stream_created_at"], row["stream_sequence"]
            )
            for row in rows
        }

    async def notify_again(
        self,
        rows: Sequence[Mapping[str, Json]],
        *,
        next_look_seconds: float,
        longest_look_seconds: float,
    ) -> dict[tuple[int, int], int]:
        """Put notifications back into the outbox, unless their commands have changed.

        Return the outbox id by (execution id, event id).
        """
        found = await self._background.fetch(
            "notify_again", rows, next_look_seconds, longest_look_seconds
        )
        return {(row["execution_id"], row["event_id"]): row["outbox_id"] for row in found}

    async def purge_request_keys(self, *, older_than_seconds: float, limit: int) -> None:
        """Delete old request keys."""
        await self._background.execute("purge_request_keys", older_than_seconds, limit)

    async def is_reachable(self) -> bool:
        """Readiness check."""
        return await self._background.is_reachable()

    async def read_clock(self) -> datetime:
        """Return the database's time."""
        now: datetime = await self._background.fetchval("read_clock")
        return now


def _origin(row: Row) -> Origin:
    lineage = Lineage(
        trace=row["trace"],
        owner=row["owner"],
        namespace=row["namespace"],
        root_execution_id=row["root_execution_id"],
        depth=row["parent_depth"] + 1,
    )
    return Origin(lineage, row["executions"])


def _message_columns(messages: Sequence[OutboxRow]) -> list[tuple[object, ...]]:
    """Return the columns of outbox rows without the owner."""
    rows = [row.columns() for row in messages]
    return columns([(first, *rest) for first, _owner, *rest in rows], 7)


def _children_by_parent(rows: Iterable[Row]) -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for row in rows:
        children.setdefault(row["parent_execution_id"], []).append(row["execution_id"])
    return children


def _by_execution(rows: Iterable[Row]) -> dict[int, list[EventRow]]:
    found: dict[int, list[EventRow]] = {}
    for row in rows:
        found.setdefault(row["execution_id"], []).append(EventRow(**row))
    return found
