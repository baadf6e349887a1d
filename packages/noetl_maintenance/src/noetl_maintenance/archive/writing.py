"""Writes executions that ended long ago into an archive, volume by volume.

A volume is complete with its manifest, which comes last; only then the executions are marked. So a
kill at any point leaves at most files that nothing refers to, and the next call goes on.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from noetl.backup.manifest import digest
from noetl.stack.errors import StackError
from noetl.stack.servers.sessions import last_answer
from noetl_common.ids import time_of_id_ms
from noetl_common.shards import DatabaseAddress
from noetl_pg.database import Session
from noetl_pg.single import open_single
from noetl_pg.sql.queries import Queries

from noetl_maintenance.archive import parquet, tables
from noetl_maintenance.archive.bodies import Body, Buckets, Copied, copy
from noetl_maintenance.archive.chains import Log, Verdict, log_of, read_logs
from noetl_maintenance.archive.manifest import NAME, Manifest, TableFile
from noetl_maintenance.archive.place import Place

PROGRAM = "noetl-server archive"
SECONDS = 3600.0
_EXECUTIONS = 2000
_EVENTS = 100_000

type Say = Callable[[str], None]


@dataclass(slots=True)
class Written:
    """Numbers of what a call has written, and the parts that it left out.

    Attributes:
        broken: executions whose log isn't what its digest says; they are not in the archive.
        bodies: results of buckets that were copied.
        missing: a line for each that is gone from its bucket, or another than its row says.
    """

    executions: int = 0
    events: int = 0
    volumes: int = 0
    size: int = 0
    broken: list[int] = field(default_factory=list)
    bodies: int = 0
    missing: list[str] = field(default_factory=list)


def write(
    shards: Sequence[DatabaseAddress],
    place: Place,
    *,
    ended_before: datetime,
    say: Say,
    buckets: Buckets | None = None,
) -> Written:
    """Archive the executions that ended before a moment and whose present log is in no archive.

    Args:
        shards: their databases.
        place: the archive.
        ended_before: the moment.
        say: reports what was written.
        buckets: where large results lie; with them these are copied, too.

    Raises:
        StackError: the place can't be written, or another call is at work on a database.
    """
    written = Written()
    for shard, address in enumerate(shards):
        origin = Origin(shard, len(shards), address)
        asyncio.run(_write_shard(origin, place, ended_before, written, say=say, buckets=buckets))
    return written


@dataclass(frozen=True, slots=True)
class Origin:
    """A shard that is archived, of so many."""

    shard: int
    shards: int
    address: DatabaseAddress

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A connection with the statements of this package."""
        queries = Queries.load(__package__)
        async with (
            open_single(self.address.dsn, queries, name=PROGRAM, seconds=SECONDS) as database,
            database.acquire() as session,
        ):
            yield session


async def _write_shard(
    origin: Origin,
    place: Place,
    ended_before: datetime,
    written: Written,
    *,
    say: Say,
    buckets: Buckets | None,
) -> None:
    async with origin.session() as session:

        async def is_locked() -> bool:
            return not await session.fetchval("try_lock")

        # By the session of the call before, too, until the server has seen its end.
        if await last_answer(is_locked):
            raise StackError(f"shard {origin.shard}: another archive is being written")
        migration = str(await session.fetchval("read_migration"))
        after = -1
        while rows := await session.fetch("list_due", after, ended_before, _EXECUTIONS):
            logs = _first_of([log_of(*row.values()) for row in rows])
            await read_logs(session, logs)
            after = logs[-1].execution_id
            written.broken += [one.execution_id for one in logs if one.verdict is Verdict.BROKEN]
            good = [one for one in logs if one.verdict is not Verdict.BROKEN]
            if not good:
                continue
            await _seal(session, good)
            with TemporaryDirectory(prefix="noetl-archive-") as scratch:
                volume = _Volume(origin, place, migration, good, Path(scratch), datetime.now(UTC))
                manifest = await volume.write(session, buckets, written)
            await session.execute(
                "mark_archived",
                [one.execution_id for one in good],
                [one.position for one in good],
            )
            written.executions += manifest.executions
            written.events += manifest.events
            written.volumes += 1
            written.size += sum(one.size for one in manifest.tables.values())
            say(f"shard {origin.shard}: {manifest.executions} executions up to {manifest.last}")


def _first_of(logs: list[Log]) -> list[Log]:
    """Return as many as a volume takes, one at least."""
    events = 0
    for number, log in enumerate(logs):
        events += log.position
        if number and events > _EVENTS:
            return logs[:number]
    return logs


async def _seal(session: Session, logs: Sequence[Log]) -> None:
    """Give those logs a digest of all their events that have none."""
    open_ones = [one for one in logs if one.verdict is not Verdict.WHOLE]
    if open_ones:
        await session.execute(
            "seal_logs",
            [one.execution_id for one in open_ones],
            [one.position for one in open_ones],
            [one.chain.digest for one in open_ones],
        )


@dataclass(frozen=True, slots=True)
class _Volume:
    origin: Origin
    place: Place
    migration: str
    logs: Sequence[Log]
    scratch: Path

    at: datetime

    @property
    def folder(self) -> str:
        """A name that no volume has yet: one with the same ends may hold ids between these."""
        first, last = self.logs[0].execution_id, self.logs[-1].execution_id
        begun = datetime.fromtimestamp(time_of_id_ms(first) / 1000, UTC)
        name = f"{first}-{last}-{self.at:%Y%m%dT%H%M%S%f}"
        return f"shard-{self.origin.shard}/{begun:%Y-%m}/{name}/"

    async def write(self, session: Session, buckets: Buckets | None, written: Written) -> Manifest:
        ids = [one.execution_id for one in self.logs]
        bodies: list[Body] = []
        found: dict[str, TableFile] = {}
        with parquet.opened(self.scratch) as duck:
            async with session.transaction():
                await session.execute("read_as_of_now")
                for table in tables.ARCHIVED:
                    columns = await tables.columns_of(session, table)
                    csv = self.scratch / f"{table}.csv"
                    await session.copy_to_csv(tables.rows_of(table, columns), ids, file=csv)
                    target = self.scratch / f"{table}.parquet"
                    rows = parquet.write(duck, csv, target, columns)
                    csv.unlink()
                    found[table] = TableFile(
                        file=target.name,
                        rows=rows,
                        columns=columns,
                        size=target.stat().st_size,
                        sha256=digest(target),
                    )
                if buckets is not None:
                    rows_of_bodies = await session.fetch("list_bodies", ids)
                    bodies = [Body(*row.values()) for row in rows_of_bodies]
        copied = Copied()
        if buckets is not None:
            copied = await copy(buckets, bodies, self.place, self.folder)
            written.bodies += len(copied.sizes)
            written.missing += [f"{one} is gone from '{one.store}'" for one in copied.missing]
        for one in found.values():
            self.place.put(f"{self.folder}{one.file}", self.scratch / one.file)
        manifest = Manifest(
            release=version("noetl-server"),
            migration=self.migration,
            shard=self.origin.shard,
            shards=self.origin.shards,
            first=ids[0],
            last=ids[-1],
            executions=len(ids),
            events=found["event"].rows,
            without_digest=sum(one.verdict is not Verdict.WHOLE for one in self.logs),
            written_at=self.at,
            tables=found,
            bodies=None if buckets is None else copied.sizes,
            missing_bodies=[one.sha256 for one in copied.missing],
        )
        text = manifest.model_dump_json(indent=2).encode()
        self.place.put(f"{self.folder}{NAME}", text)
        return manifest
