"""Doubles the shards: rows of the new ones are copied, the map is changed, the rest deleted.

Nothing is deleted before all of it is where it belongs, so until the map changes the old databases
are whole. Each batch is compared by count and digest before it is committed. A kill at any point is
gone on from by the same call: copying knows in each new database how far it is, the other steps may
be repeated.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from noetl.stack.errors import StackError
from noetl.stack.servers import migrations
from noetl.stack.servers.databases import Databases
from noetl.stack.servers.sessions import sessions_left
from noetl_common.errors import NoetlError
from noetl_common.ids import shard_of_name
from noetl_common.shards import DatabaseAddress
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import INGRESS_ROOT
from noetl_pg.database import Session
from noetl_pg.rights import administer
from noetl_pg.single import is_there, open_single
from noetl_pg.sql.queries import Queries

from noetl_maintenance.reshard import progress, tables
from noetl_maintenance.reshard.broker import clear_broker

PROGRAM = "noetl-server reshard"
_SECONDS = 3600.0
_BATCH = 200
_PAGE = 1000
_LOWEST = -(1 << 63)

type Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Doubling:
    """Databases of a doubling, before and after it.

    Attributes:
        old: databases of the shards of today, in order; afterwards the first half.
        new: those to come, in order; the second half.
        cluster: the database of what belongs to all.
        say: reports each step that was committed.
    """

    old: Sequence[DatabaseAddress]
    new: Sequence[DatabaseAddress]
    cluster: DatabaseAddress
    say: Say

    @property
    def count(self) -> int:
        """Number of shards afterwards."""
        return 2 * len(self.old)

    @property
    def places(self) -> Mapping[int, DatabaseAddress]:
        """Each database by its shard afterwards."""
        return dict(enumerate((*self.old, *self.new)))

    @property
    def reason(self) -> str:
        """Why the databases are closed meanwhile."""
        return (
            f"a reshard from {len(self.old)} to {self.count} shards has not ended; give the same "
            "command again"
        )

    def is_at_home(self, identifier: int, shard: int) -> bool:
        """Return whether an execution belongs to a shard afterwards."""
        return shard_for(identifier, shard_count=self.count) == shard


def double(
    databases: Databases, new: Sequence[DatabaseAddress], *, nats_url: str | None, say: Say
) -> None:
    """Double the shards of an installation that stands still; safe to repeat after a kill.

    Args:
        databases: those of today.
        new: one for each shard of today; they are made and migrated where needed.
        nats_url: of the broker; None for one that begins empty.
        say: reports each step that was committed.

    Raises:
        StackError: something runs, a database doesn't fit or doesn't answer, or something there
            can't be divided; the text says what to do.
    """
    wanted = Doubling(databases.shards, tuple(new), databases.cluster, say)
    if len(wanted.new) != len(wanted.old):
        raise StackError(
            f"{len(wanted.old)} shards are doubled by as many new databases, not by "
            f"{len(wanted.new)}"
        )
    if len({one.place for one in (*wanted.old, *wanted.new, wanted.cluster)}) < wanted.count:
        raise StackError("a database is named twice")
    asyncio.run(_double(wanted, nats_url))


async def _double(wanted: Doubling, nats_url: str | None) -> None:
    await _prepare_new(wanted)
    await _refuse_what_runs(wanted)
    if nats_url is not None:
        await clear_broker(nats_url, name=PROGRAM)
    is_flipped = await _is_flipped(wanted)
    if not is_flipped:
        await _refuse_what_cannot_be_divided(wanted)
        for shard, address in wanted.places.items():
            await _close(wanted, shard, address)
        for shard, address in enumerate(wanted.old):
            await _copy(wanted, shard, address, wanted.new[shard])
    # From the new ones to the first: while that has the old number, all go by the old map.
    for shard, address in reversed(list(wanted.places.items())):
        await _flip(wanted, shard, address)
    for shard, address in enumerate(wanted.old):
        await _delete(wanted, shard, address)
    # The first one last: while it is closed, a later call knows that there is more to do.
    for shard, address in reversed(list(wanted.places.items())):
        await _finish(wanted, shard, address)


async def _prepare_new(wanted: Doubling) -> None:
    for address in wanted.new:
        try:
            if not await is_there(address.dsn, name=PROGRAM, seconds=_SECONDS):
                migrations.create(address.dsn)
        except NoetlError as error:
            raise StackError(f"{address!r}: {error.message}") from error
        await asyncio.to_thread(migrations.migrate, address.dsn)


async def _refuse_what_runs(wanted: Doubling) -> None:
    for address in {wanted.cluster, *wanted.old, *wanted.new}:
        async with _session(address) as session:
            who = await sessions_left(session)
            living = await session.fetch("list_living") if address == wanted.cluster else []
        if who is not None:
            raise StackError(f"{address!r} is in use ({who}): stop every service and worker first")
        if living:
            who = ", ".join(f"{row['name']} has {row['what']}" for row in living)
            raise StackError(f"something runs, or was killed a moment ago: {who}; stop it, or wait")


async def _is_flipped(wanted: Doubling) -> bool:
    """Return whether the first database, whose number changes last, has the new number already."""
    async with _session(wanted.old[0]) as session:
        row = await session.fetchrow("read_identity")
        reason = await session.fetchval("read_closed")
    return row is not None and row["shard_count"] == wanted.count and reason == wanted.reason


async def _refuse_what_cannot_be_divided(wanted: Doubling) -> None:
    schemas = {}
    for shard, address in wanted.places.items():
        async with _session(address) as session:
            schemas[shard] = await session.fetchval("read_schema")
            await _refuse_other(wanted, shard, address, session)
            if shard < len(wanted.old):
                await _refuse_contents(wanted, address, session)
    if len(set(schemas.values())) > 1:
        raise StackError(
            f"the databases differ in their schemas ({schemas}): noetl-server migrate comes first"
        )


async def _refuse_other(
    wanted: Doubling, shard: int, address: DatabaseAddress, session: Session
) -> None:
    reason = await session.fetchval("read_closed")
    row = await session.fetchrow("read_identity")
    is_ours = reason == wanted.reason
    if reason is not None and not is_ours:
        raise StackError(f"{address!r} is closed: {reason}")
    if shard >= len(wanted.old):
        if not is_ours and (row is not None or await session.fetchval("is_filled")):
            raise StackError(f"{address!r} is not empty: a new shard begins with an empty database")
    elif row is None or (row["shard_index"], row["shard_count"]) not in {
        (shard, len(wanted.old)),
        (shard, wanted.count) if is_ours else (shard, len(wanted.old)),
    }:
        held = "no shard" if row is None else f"shard {row['shard_index']} of {row['shard_count']}"
        raise StackError(f"{address!r} holds {held}, not shard {shard} of {len(wanted.old)}")


async def _refuse_contents(wanted: Doubling, address: DatabaseAddress, session: Session) -> None:
    for row in await session.fetch("list_active_subscriptions"):
        home = shard_of_name(f"subscription:{row['path']}", shard_count=wanted.count)
        if not wanted.is_at_home(row["subscription_id"], home):
            raise StackError(
                f"{address!r}: the subscription {row['path']} would be on another shard than its "
                "path; deactivate it, and register it again afterwards"
            )
    for row in await session.fetch("list_running_restarts"):
        one, origin = row["execution_id"], row["origin_execution_id"]
        if not wanted.is_at_home(one, shard_for(origin, shard_count=wanted.count)):
            raise StackError(
                f"{address!r}: execution {one} runs and goes on from {origin}, which would be on "
                "another shard; let it end, or cancel it"
            )


async def _close(wanted: Doubling, shard: int, address: DatabaseAddress) -> None:
    async with _session(address) as session, session.transaction():
        if await session.fetchval("read_closed") is not None:
            return
        await session.execute("close_database")
        await session.execute_text(await session.fetchval("write_reason", wanted.reason))
        if shard >= len(wanted.old):
            await progress.begin(session)
    wanted.say(f"{address!r} is closed")


async def _copy(
    wanted: Doubling, shard: int, here: DatabaseAddress, there: DatabaseAddress
) -> None:
    async with _session(here) as source, _session(there) as target:
        after, is_whole = await progress.read(target)
        if is_whole:
            return
        await _copy_partitions(source, target)
        columns = {table: await tables.columns_of(source, table) for table in tables.OWNED}
        while ids := await tables.ids_after(source, after, limit=_BATCH):
            after = ids[-1]
            moving = [one for one in ids if wanted.is_at_home(one, shard + len(wanted.old))]
            async with target.transaction():
                if moving:
                    await _copy_batch(source, target, columns, moving)
                await progress.note(target, after)
            wanted.say(f"shard {shard}: {len(moving)} of {len(ids)} executions are copied")
        async with target.transaction():
            await target.execute("empty_request_keys")
            keys = await tables.columns_of(source, tables.KEYS)
            await source.copy_to(
                target,
                f"SELECT {', '.join(keys)} FROM noetl.{tables.KEYS}",
                table=tables.KEYS,
                columns=keys,
            )
            last = await source.fetchval("read_outbox_number")
            await target.fetchval("keep_outbox_numbers", last)
            await target.execute("rename_shard_in_outbox", shard + len(wanted.old))
            await progress.end(target)
    wanted.say(f"shard {shard + len(wanted.old)} is whole")


async def _copy_partitions(source: Session, target: Session) -> None:
    known = {row["name"] for row in await target.fetch("list_partitions")}
    for row in await source.fetch("list_partitions"):
        if row["name"] not in known:
            await target.execute_text(row["statement"])


async def _copy_batch(
    source: Session, target: Session, columns: Mapping[str, list[str]], ids: list[int]
) -> None:
    for table in tables.OWNED:
        query = tables.rows_of(table, columns[table])
        await source.copy_to(target, query, ids, table=table, columns=columns[table])
        here = await tables.measure(source, table, columns[table], ids)
        there = await tables.measure(target, table, columns[table], ids)
        if here != there:
            raise StackError(
                f"the rows of {table} differ after the copy: {here[0]} and {there[0]}; nothing of "
                "this batch is kept, and nothing was deleted"
            )


async def _flip(wanted: Doubling, shard: int, address: DatabaseAddress) -> None:
    async with _session(wanted.old[0]) as session:
        cluster = (await session.fetchone("read_identity"))["cluster_id"]
    async with _session(address) as session:
        row = await session.fetchrow("read_identity")
        if row is not None and row["shard_count"] == wanted.count:
            return
        await session.execute("write_identity", cluster, shard, wanted.count)
    wanted.say(f"{address!r} is shard {shard} of {wanted.count}")


async def _delete(wanted: Doubling, shard: int, address: DatabaseAddress) -> None:
    after = _LOWEST
    async with _session(address) as session:
        while ids := await tables.ids_after(session, after, limit=_BATCH):
            after = ids[-1]
            gone = [one for one in ids if not wanted.is_at_home(one, shard)]
            if gone:
                async with session.transaction():
                    await tables.delete(session, gone)
                wanted.say(f"shard {shard}: {len(gone)} executions are where they belong")


async def _finish(wanted: Doubling, shard: int, address: DatabaseAddress) -> None:
    async with _session(address) as session:
        if await session.fetchval("read_closed") is None:
            return
    await administer(address.dsn, name=PROGRAM, is_closed_by_caller=True)
    async with _session(address) as session, session.transaction():
        await _rename_messages(wanted, session)
        for statement in ("empty_days", "empty_counters", "count_days", "count_executions"):
            await session.execute(statement)
        await session.execute("open_database")
    wanted.say(f"shard {shard} is open")


async def _rename_messages(wanted: Doubling, session: Session) -> None:
    """Have messages that were not delivered go to the shards of today."""
    after = _LOWEST
    while rows := await session.fetch("list_messages", after, _PAGE):
        after = rows[-1]["outbox_id"]
        renamed = {row["outbox_id"]: _subject_today(wanted, row["subject"]) for row in rows}
        await session.execute("rename_messages", list(renamed), list(renamed.values()))


def _subject_today(wanted: Doubling, subject: str) -> str:
    root, _, rest = subject.partition(".")
    _, _, rest = rest.partition(".")
    identifier = rest.partition(".")[0]
    if root != INGRESS_ROOT or not identifier.isdecimal():
        return subject
    return f"{root}.{shard_for(int(identifier), shard_count=wanted.count)}.{rest}"


@asynccontextmanager
async def _session(address: DatabaseAddress) -> AsyncIterator[Session]:
    queries = Queries.load(__package__)
    try:
        async with (
            open_single(address.dsn, queries, name=PROGRAM, seconds=_SECONDS) as database,
            database.acquire() as session,
        ):
            yield session
    except NoetlError as error:
        raise StackError(f"{address!r}: {error.message}") from error
