"""Proves an archive against its digests, and brings executions back from it."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from noetl.backup.manifest import digest
from noetl.stack.errors import StackError
from noetl_common.shards import DatabaseAddress
from noetl_contract.events import EventRow
from noetl_contract.sharding import shard_for

from noetl_maintenance.archive import bodies, parquet, tables
from noetl_maintenance.archive.bodies import Buckets
from noetl_maintenance.archive.chains import Log, Verdict, event_of, log_of
from noetl_maintenance.archive.manifest import Manifest, TableFile, Volume, volumes
from noetl_maintenance.archive.place import Place
from noetl_maintenance.archive.writing import Origin
from noetl_maintenance.reshard.tables import delete

_EVENT_COLUMNS = tuple(one.name for one in fields(EventRow))


@dataclass(slots=True)
class Proof:
    """Result of checking an archive.

    Attributes:
        bodies: results that lay in buckets and are in the archive, too.
        problems: a line for each file that is damaged and each log that is broken.
    """

    executions: int = 0
    events: int = 0
    volumes: int = 0
    bodies: int = 0
    problems: list[str] = field(default_factory=list)


def prove(place: Place) -> Proof:
    """Read every file of an archive, and compute the digest of every log again.

    Raises:
        StackError: the place can't be read, or holds no archive.
    """
    proof = Proof()
    known = volumes(place)
    if not known:
        raise StackError(f"{place.name} holds no archive")
    for volume in known:
        with TemporaryDirectory(prefix="noetl-archive-") as scratch:
            try:
                _prove_volume(place, volume, Path(scratch), proof)
            except StackError as error:
                proof.problems.append(str(error))
    return proof


def _prove_volume(place: Place, volume: Volume, scratch: Path, proof: Proof) -> None:
    manifest = volume.read(place)
    files = {
        name: _fetched(place, volume, table, scratch) for name, table in manifest.tables.items()
    }
    with parquet.opened(scratch) as duck:
        for log in _logs(duck, files):
            proof.executions += 1
            proof.events += log.chain.position
            if log.verdict is not Verdict.WHOLE:
                proof.problems.append(
                    f"{place.name}/{volume.folder}: execution {log.execution_id} is "
                    f"{log.verdict}: its events aren't those of its digest"
                )
        proof.problems += bodies.problems(place, volume, manifest, duck, files["result_store"])
    proof.bodies += len(manifest.bodies or ())
    proof.volumes += 1


def _logs(duck: duckdb.DuckDBPyConnection, files: dict[str, Path]) -> Iterator[Log]:
    columns = "execution_id, position, digest_position, digest"
    logs = {}
    states = parquet.rows(duck, files["execution_state"], columns, order="execution_id")
    for execution_id, position, digest_position, kept in [*states]:
        value = bytes.fromhex(str(kept).removeprefix("\\x")) if kept is not None else None
        known = int(str(digest_position)) if digest_position is not None else None
        log = log_of(int(str(execution_id)), int(str(position)), known, value)
        logs[log.execution_id] = log
    events = parquet.rows(
        duck, files["event"], ", ".join(_EVENT_COLUMNS), order="execution_id, position"
    )
    for values in events:
        event = event_of(zip(_EVENT_COLUMNS, values, strict=True))
        if event.execution_id in logs:
            logs[event.execution_id].read(event)
    yield from logs.values()


def _fetched(place: Place, volume: Volume, table: TableFile, scratch: Path) -> Path:
    target = scratch / Path(table.file).name
    place.fetch(f"{volume.folder}{table.file}", target)
    if digest(target) != table.sha256:
        raise StackError(
            f"{place.name}/{volume.folder}{table.file} is damaged: its SHA-256 isn't that of the "
            "manifest"
        )
    return target


def attach(
    shards: Sequence[DatabaseAddress],
    place: Place,
    ids: Sequence[int],
    *,
    buckets: Buckets | None = None,
) -> int:
    """Bring executions back into their databases; return the number of rows.

    Each execution comes whole or not at all. What its log says is proved first.

    Args:
        shards: their databases.
        place: the archive.
        ids: the executions.
        buckets: where large results go back to; without them only rows come back.

    Raises:
        StackError: the archive lacks one, a database has one, or its log is broken.
    """
    known = volumes(place)
    count = 0
    for volume, wanted in _by_volume(place, known, ids).items():
        with TemporaryDirectory(prefix="noetl-archive-") as scratch:
            manifest = volume.read(place)
            files = {
                name: _fetched(place, volume, table, Path(scratch))
                for name, table in manifest.tables.items()
            }
            with parquet.opened(Path(scratch)) as duck:
                _refuse_broken(_logs(duck, files), wanted)
                for one in wanted:
                    shard = shard_for(one, shard_count=len(shards))
                    origin = Origin(shard, len(shards), shards[shard])
                    bringing = _Bringing(place, volume, manifest, files, duck, buckets)
                    count += asyncio.run(_attach(origin, bringing, one))
    return count


def _by_volume(
    place: Place, known: Sequence[Volume], ids: Sequence[int]
) -> dict[Volume, list[int]]:
    """Return the newest volume that holds each execution."""
    manifests: dict[Volume, Manifest] = {}
    found: dict[Volume, list[int]] = {}
    for one in dict.fromkeys(ids):
        candidates = [volume for volume in known if volume.first <= one <= volume.last]
        for volume in candidates:
            if volume not in manifests:
                manifests[volume] = volume.read(place)
        candidates.sort(key=lambda volume: manifests[volume].written_at, reverse=True)
        holder = next((volume for volume in candidates if _holds(place, volume, one)), None)
        if holder is None:
            raise StackError(f"{place.name} has no execution {one}")
        found.setdefault(holder, []).append(one)
    return found


def _holds(place: Place, volume: Volume, execution_id: int) -> bool:
    table = volume.read(place).tables["execution_state"]
    with TemporaryDirectory(prefix="noetl-archive-") as scratch:
        file = _fetched(place, volume, table, Path(scratch))
        with parquet.opened(Path(scratch)) as duck:
            rows = parquet.rows(duck, file, "execution_id", order="execution_id")
            return any(row[0] == execution_id for row in rows)


def _refuse_broken(logs: Iterator[Log], wanted: Sequence[int]) -> None:
    for log in logs:
        if log.execution_id in wanted and log.verdict is not Verdict.WHOLE:
            raise StackError(
                f"execution {log.execution_id} is {log.verdict} in the archive: its events aren't "
                "those of its digest"
            )


@dataclass(frozen=True, slots=True)
class _Bringing:
    """A volume that executions are brought back from."""

    place: Place
    volume: Volume
    manifest: Manifest
    files: dict[str, Path]
    duck: duckdb.DuckDBPyConnection
    buckets: Buckets | None


async def _attach(origin: Origin, bringing: _Bringing, execution_id: int) -> int:
    duck, manifest, files = bringing.duck, bringing.manifest, bringing.files
    count = 0
    async with origin.session() as session, session.transaction():
        if await session.fetch("find_known", [execution_id]):
            raise StackError(f"the database of shard {origin.shard} has execution {execution_id}")
        for name, table in manifest.tables.items():
            present = await tables.columns_of(session, name)
            missing = [column for column in table.columns if column not in present]
            if missing:
                raise StackError(
                    f"the database has no column {name}.{missing[0]}: migrate it to "
                    f"{manifest.migration} or later"
                )
            csv = files[name].with_suffix(".csv")
            count += parquet.read(duck, files[name], csv, owner=tables.OWNER, ids=[execution_id])
            await session.copy_from_csv(name, list(table.columns), file=csv)
        if bringing.buckets is not None:
            found = [*bodies.described(duck, files["result_store"], execution_id=execution_id)]
            await session.execute("keep_bodies", [one.location for one in found])
            await bodies.put_back(
                bringing.buckets, found, bringing.place, bringing.volume, manifest
            )
        await session.execute("mark_as_archived_now", [execution_id])
    return count


def detach(shards: Sequence[DatabaseAddress], ids: Sequence[int]) -> None:
    """Delete executions that an archive has as they are.

    Raises:
        StackError: one is not in a database, or not in an archive.
    """
    for one in dict.fromkeys(ids):
        shard = shard_for(one, shard_count=len(shards))
        asyncio.run(_detach(Origin(shard, len(shards), shards[shard]), one))


async def _detach(origin: Origin, execution_id: int) -> None:
    async with origin.session() as session, session.transaction():
        state = await session.fetchrow("lock_execution", execution_id)
        if state is None:
            raise StackError(
                f"the database of shard {origin.shard} has no execution {execution_id}"
            )
        if state["archived_position"] != state["position"]:
            raise StackError(f"no archive has execution {execution_id} as it is")
        await delete(session, [execution_id])
