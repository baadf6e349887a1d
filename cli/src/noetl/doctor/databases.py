"""Checks of the tables of a shard and of the cluster."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta

from noetl_common.shards import DatabaseAddress
from noetl_contract.subjects import pool_of_workers
from noetl_pg.database import Row, Statements
from noetl_pg.errors import DatabaseUnavailable
from noetl_pg.single import DatabaseSlow, DatabaseUnreadable, SchemaLacking, open_single
from noetl_pg.sql.queries import Queries

from noetl.doctor.finding import Finding
from noetl.doctor.words import ages, counted

_NAME = "noetl-server doctor"
_SECONDS = 10.0
_MOST_SHOWN = 10
_LATE = timedelta(seconds=60)
_LATELY = timedelta(days=1)
_SILENT_SECONDS = 60.0
_WAITING_SECONDS = 30.0
_OVERLOADED_SECONDS = 600.0
_MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """A database, and the shard that it holds.

    Attributes:
        shard: its shard; None for one that holds no shard.
        count: number of shards.
    """

    address: DatabaseAddress
    shard: int | None
    count: int

    @property
    def name(self) -> str:
        """Name of the database in findings, without a password."""
        host, port, database = self.address.place
        held = "the cluster" if self.shard is None else f"shard {self.shard}"
        return f"database {database} of {held} at {host}:{port}"


@dataclass(slots=True)
class Demand:
    """Commands of a pool that wait, over all shards.

    Attributes:
        withheld: those of them whose pool or path is paused.
        oldest_seconds: how long the oldest of the others waits.
    """

    waiting: int = 0
    withheld: int = 0
    oldest_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Roll:
    """Workers and pauses, as the cluster's tables have them.

    Attributes:
        workers: name, pool and silence of each.
        pauses: the reason of each pause, if it has one, by kind (pool, path) and name.
    """

    workers: Sequence[Row] = ()
    pauses: Mapping[tuple[str, str], str | None] = field(default_factory=dict)

    def paused(self, kind: str) -> list[str]:
        """Return the names of the paused paths or pools."""
        return [name for one, name in self.pauses if one == kind]


async def look_at_database(
    place: Place,
    *,
    newest_migration: str,
    stuck_after: timedelta,
    roll: Roll,
    demand: dict[str, Demand],
) -> list[Finding]:
    """Look at one database; add its waiting commands to the demand of pools.

    What was found before a statement fails counts.
    """
    findings: list[Finding] = []
    try:
        async with _open(place.address) as database:
            if (reason := await database.fetchval("read_closed")) is not None:
                text = f"{place.name} is closed: {reason}"
                return [Finding("database_closed", place.name, text)]
            findings += _schema(place, await database.fetchval("read_schema"), newest_migration)
            findings += _identity(place, await database.fetchrow("read_identity"))
            if place.shard is not None:
                await _shard(place, database, stuck_after=stuck_after, findings=findings)
                paused = roll.paused("pool"), roll.paused("path")
                for row in await database.fetch("list_waiting_pools", *paused):
                    one = demand.setdefault(row["pool"], Demand())
                    one.waiting += row["waiting"]
                    one.withheld += row["withheld"]
                    one.oldest_seconds = max(one.oldest_seconds, row["oldest_seconds"])
    except (DatabaseUnavailable, DatabaseUnreadable) as error:
        code = _code(error)
        if code not in {one.code for one in findings}:
            findings.append(Finding(code, place.name, f"{place.name}: {error.message}"))
    return findings


def _code(error: DatabaseUnavailable | DatabaseUnreadable) -> str:
    if isinstance(error, DatabaseSlow):
        return "database_slow"
    if isinstance(error, DatabaseUnavailable):
        return "database_unreachable"
    return "schema_behind" if isinstance(error, SchemaLacking) else "database_unreadable"


async def read_roll(cluster: DatabaseAddress) -> Roll:
    """Read the registered workers, and the pauses.

    Raises:
        DatabaseUnavailable, DatabaseUnreadable: it can't be read.
    """
    async with _open(cluster) as database:
        workers = await database.fetch("list_workers")
        pauses = await database.fetch("list_pauses")
    return Roll(workers, {(row["kind"], row["name"]): row["reason"] for row in pauses})


def look_at_pools(roll: Roll, demand: Mapping[str, Demand]) -> list[Finding]:
    """Compare waiting commands with the workers that are alive."""
    return list(_pools(demand, roll.workers))


def notes_on_pauses(roll: Roll, demand: Mapping[str, Demand]) -> list[str]:
    """Return notes about the pauses of pools and paths, which are no trouble."""
    notes = []
    for (kind, name), reason in roll.pauses.items():
        text = f"{kind} {name} is paused" + (f": {reason}" if reason else "")
        if kind == "pool" and (one := demand.get(name)) is not None:
            text += f" ({counted(one.withheld, 'command')} withheld)"
        notes.append(text)
    return notes


def _open(address: DatabaseAddress) -> AbstractAsyncContextManager[Statements]:
    return open_single(address.dsn, Queries.load(__package__), name=_NAME, seconds=_SECONDS)


def _schema(place: Place, found: str | None, newest: str) -> Iterator[Finding]:
    if found is None or found < newest:
        text = f"{place.name} has the schema {found or 'of nothing'}, this release needs {newest}"
        yield Finding("schema_behind", place.name, text)
    elif found > newest:
        text = f"{place.name} has the schema {found}, this release knows {newest}"
        yield Finding("schema_ahead", place.name, text)


def _identity(place: Place, row: Row | None) -> Iterator[Finding]:
    if row is None or place.shard is None:
        return
    found, wanted = (row["shard_index"], row["shard_count"]), (place.shard, place.count)
    if found != wanted:
        text = (
            f"{place.name} was filled as shard {found[0]} of {found[1]}, not as {wanted[0]} of "
            f"{wanted[1]}"
        )
        yield Finding("wrong_shard", place.name, text)


async def _shard(
    place: Place, database: Statements, *, stuck_after: timedelta, findings: list[Finding]
) -> None:
    findings += _stuck(await database.fetch("find_stuck", stuck_after, _MOST_SHOWN), place)
    overdue = await database.fetchone("count_overdue", _LATE)
    for code, name in (("leases_over", "leases"), ("timers_overdue", "timers")):
        if overdue[name]:
            text = f"{place.name}: {counted(overdue[name], name[:-1])} over for more than a minute"
            findings.append(Finding(code, place.name, text))
    findings += _outbox(await database.fetch("measure_outbox", _LATE), place)
    findings += _parked(await database.fetch("list_parked", _LATELY, _MOST_SHOWN), place)
    behind = await database.fetchval("count_behind", _LATE, _MOST_COUNTED)
    if behind:
        text = f"{place.name}: {counted(behind, 'execution')} behind for more than a minute"
        findings.append(Finding("projection_lagging", place.name, text))
    outside = await database.fetchval("count_outside_partitions", _MOST_COUNTED)
    if outside:
        text = f"{place.name}: {counted(outside, 'row')} of the log in the default partition"
        findings.append(Finding("log_outside_partitions", place.name, text))


def _stuck(rows: list[Row], place: Place) -> Iterator[Finding]:
    if not rows:
        return
    more = " at least" if len(rows) == _MOST_SHOWN else ""
    yield Finding(
        "executions_stuck",
        str(rows[0]["execution_id"]),
        f"{place.name}: {counted(len(rows), 'execution')}{more} with nothing open",
        tuple(
            f"{row['execution_id']} {row['path']}, last step {row['current_step'] or '-'}, "
            f"unchanged since {row['updated_at']:%Y-%m-%d %H:%M:%S} UTC"
            for row in rows
        ),
    )


def _outbox(rows: Iterable[Row], place: Place) -> Iterator[Finding]:
    late = list(rows)
    if not late:
        return
    total = sum(row["waiting"] for row in late)
    yield Finding(
        "outbox_waiting",
        place.name,
        f"{place.name}: {counted(total, 'row')} of the outbox not published",
        tuple(
            f"{row['kind']}: {row['waiting']}, the oldest for {ages(row['oldest_seconds'])}"
            + (f"; {row['last_error']}" if row["last_error"] else "")
            for row in late
        ),
    )


def _parked(rows: list[Row], place: Place) -> Iterator[Finding]:
    if rows:
        yield Finding(
            "outbox_parked",
            place.name,
            f"{place.name}: {counted(rows[0]['total'], 'row')} of the outbox given up in a day",
            tuple(f"{row['kind']} of {row['execution_id']}: {row['last_error']}" for row in rows),
        )


def _pools(demand: Mapping[str, Demand], workers: Iterable[Row]) -> Iterator[Finding]:
    heard: dict[str, list[Row]] = {}
    for row in workers:
        heard.setdefault(pool_of_workers(row["pool_name"] or ""), []).append(row)
    for pool, one in sorted(demand.items()):
        text = (
            f"pool {pool}: {counted(one.waiting - one.withheld, 'command')} waiting, the oldest "
            f"for {ages(one.oldest_seconds)}"
        )
        if one.oldest_seconds < _WAITING_SECONDS:
            continue
        known = heard.get(pool, [])
        alive = [row for row in known if row["silent_seconds"] < _SILENT_SECONDS]
        if not alive:
            silent = tuple(
                f"{row['name']} was heard {ages(row['silent_seconds'])} ago"
                for row in known[:_MOST_SHOWN]
            )
            text = f"{text}; no worker of the pool is alive"
            yield Finding("pool_without_workers", pool, text, silent)
        elif one.oldest_seconds > _OVERLOADED_SECONDS:
            text = f"{text}; {counted(len(alive), 'worker')} alive"
            yield Finding("pool_overloaded", pool, text)
