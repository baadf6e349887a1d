"""The catalog's rows: playbooks, runtimes, machine ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from noetl_common.pg.errors import translate
from noetl_common.pg.queries import Queries

__all__ = [
    "Beat",
    "EdgeSeen",
    "Entry",
    "EntryFilter",
    "Heard",
    "Liveness",
    "MachineLease",
    "NewRuntime",
    "NewVersion",
    "Runtime",
    "Store",
    "WorkerSeen",
]

type Json = Any
type Pool = asyncpg.Pool[asyncpg.Record]


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A document to keep, with what is derived from it."""

    catalog_id: int
    path: str
    kind: str
    content: str
    layout: Json
    payload: Json
    meta: Json
    metadata: Json = None


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries to list; every capability is wanted."""

    kind: str | None = None
    path: str | None = None
    is_agent: bool = False
    capabilities: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of one path; the large fields are None when they were not asked for."""

    catalog_id: int
    path: str
    kind: str
    version: int
    content: str | None
    layout: Json
    payload: Json
    meta: Json
    created_at: datetime
    metadata: Json = None


@dataclass(frozen=True, slots=True)
class NewRuntime:
    """A registration; ``instance`` tells processes of one name apart."""

    runtime_id: int
    name: str
    kind: str
    uri: str | None
    status: str
    labels: Json
    capabilities: Json
    capacity: int | None
    runtime: Json
    instance: str | None
    over_edge: bool = False


@dataclass(frozen=True, slots=True)
class Runtime:
    """One registered worker, server or broker."""

    runtime_id: int
    name: str
    kind: str
    uri: str | None
    status: str
    labels: Json
    capabilities: Json
    capacity: int | None
    runtime: Json
    heartbeat: datetime
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat; ``over_edge`` is the way it came, which is the way silence is judged by."""

    kind: str
    name: str
    over_edge: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """What a heartbeat met: a row that is alive, or one that has left."""

    kind: str
    name: str
    is_alive: bool


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """What leases need to know of a worker; all times are the cluster database's."""

    heartbeat_at: datetime
    process_since: datetime
    instance: str | None
    deregistered_at: datetime | None
    over_edge: bool


@dataclass(frozen=True, slots=True)
class EdgeSeen:
    """When an edge was last heard, and since when it is the same process."""

    heartbeat_at: datetime
    process_since: datetime


@dataclass(frozen=True, slots=True)
class Liveness:
    """All workers, and all edges that have not left, at one moment."""

    now: datetime
    edges: dict[str, EdgeSeen]
    workers: dict[str, WorkerSeen]


@dataclass(frozen=True, slots=True)
class MachineLease:
    """A machine id and the time above which its holder mints (Unix milliseconds)."""

    machine_id: int
    high_water_ms: int
    now_ms: int


class Store:
    """One method per statement or transaction; errors of the driver leave as ours."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sql = Queries.load("noetl_catalog")

    async def is_reachable(self) -> bool:
        """Readiness check."""
        async with translate():
            return bool(await self._pool.fetchval(self._sql["probe"]))

    async def insert_version(self, new: NewVersion) -> int | None:
        """Keep a document as the next version of its path and return the version.

        Concurrent calls for one path get different versions. None: the kind is unknown.

        Raises:
            DataRejected: the path has used up its version numbers, or PostgreSQL refuses a value.
        """
        async with translate(), self._pool.acquire() as connection, connection.transaction():
            lock = await connection.fetchrow(self._sql["lock_path"], new.path, new.kind)
            if lock is None or not lock["kind_is_known"]:
                return None
            version: int = await connection.fetchval(
                self._sql["insert_version"],
                new.catalog_id,
                new.path,
                new.kind,
                new.content,
                new.layout,
                new.payload,
                new.meta,
                new.metadata,
            )
            return version

    async def list_entries(self, wanted: EntryFilter, *, limit: int) -> list[Entry]:
        """Return whole entries, newest first."""
        async with translate():
            rows = await self._pool.fetch(
                self._sql["list_entries"],
                wanted.kind,
                wanted.path,
                wanted.is_agent,
                list(wanted.capabilities),
                limit,
            )
        return [Entry(**row) for row in rows]

    async def find_by_id(
        self, catalog_id: int, *, whole: bool, even_deleted: bool = False
    ) -> Entry | None:
        """Return an entry; content, layout and payload only when it is wanted whole."""
        async with translate():
            row = await self._pool.fetchrow(
                self._sql["find_by_id"], catalog_id, whole, even_deleted
            )
        return Entry(**row) if row else None

    async def find_version(
        self, path: str, *, version: int | None, whole: bool, even_deleted: bool = False
    ) -> Entry | None:
        """Return one version of a path, or the newest."""
        async with translate():
            row = await self._pool.fetchrow(
                self._sql["find_version"], path, version, whole, even_deleted
            )
        return Entry(**row) if row else None

    async def set_deleted(self, path: str, *, version: int | None, is_deleted: bool) -> list[int]:
        """Take versions of a path out, or put them back; return those that were not yet."""
        async with translate():
            rows = await self._pool.fetch(self._sql["set_deleted"], path, version, is_deleted)
        return sorted(row["version"] for row in rows)

    async def count_catalog(self, *, silent_seconds: float) -> dict[str, int]:
        """Count versions of playbooks, and workers that were heard within a time."""
        async with translate():
            (row,) = await self._pool.fetch(
                self._sql["count_catalog"], timedelta(seconds=silent_seconds)
            )
        return dict(row)

    async def register_runtime(self, new: NewRuntime) -> Runtime:
        """Write a registration; another instance under the same name begins a new process."""
        async with translate():
            (row,) = await self._pool.fetch(
                self._sql["register_runtime"],
                new.runtime_id,
                new.name,
                new.kind,
                new.uri,
                new.status,
                new.labels,
                new.capabilities,
                new.capacity,
                new.runtime,
                new.instance,
                new.over_edge,
            )
        return Runtime(**row)

    async def touch_runtimes(self, beats: Sequence[Beat]) -> list[Heard]:
        """Take in heartbeats; those without a row are left out."""
        async with translate():
            rows = await self._pool.fetch(
                self._sql["touch_runtimes"],
                [beat.kind for beat in beats],
                [beat.name for beat in beats],
                [beat.over_edge for beat in beats],
            )
        return [Heard(**row) for row in rows]

    async def insert_heard_runtimes(self, beats: Sequence[tuple[int, Beat]]) -> None:
        """Make rows for heartbeats without one, ``(runtime id, heartbeat)`` each."""
        async with translate():
            await self._pool.execute(
                self._sql["insert_heard_runtimes"],
                [runtime_id for runtime_id, _ in beats],
                [beat.kind for _, beat in beats],
                [beat.name for _, beat in beats],
                [beat.over_edge for _, beat in beats],
            )

    async def deregister_runtime(self, kind: str, *, name: str) -> bool:
        """Mark a runtime as left; False when there is none that has not left yet."""
        async with translate():
            found = await self._pool.fetchval(self._sql["deregister_runtime"], kind, name)
        return found is not None

    async def list_runtimes(
        self, *, kind: str, status: str | None, name_part: str | None, limit: int
    ) -> list[Runtime]:
        """Return runtimes that have not left, by kind and name."""
        async with translate():
            rows = await self._pool.fetch(
                self._sql["list_runtimes"], kind, status, name_part, limit
            )
        return [Runtime(**row) for row in rows]

    async def list_liveness(self) -> Liveness:
        """Return what leases are judged by."""
        async with translate():
            rows = await self._pool.fetch(self._sql["list_liveness"])
        return Liveness(
            now=rows[0]["now"],
            edges={
                row["name"]: EdgeSeen(
                    heartbeat_at=row["heartbeat"], process_since=row["process_since"]
                )
                for row in rows
                if row["kind"] == "server_api" and row["deregistered_at"] is None
            },
            workers={
                row["name"]: WorkerSeen(
                    heartbeat_at=row["heartbeat"],
                    process_since=row["process_since"],
                    instance=row["instance"],
                    deregistered_at=row["deregistered_at"],
                    over_edge=row["over_edge"],
                )
                for row in rows
                if row["kind"] == "worker_pool"
            },
        )

    async def delete_silent_runtimes(self, *, silent_seconds: float) -> None:
        """Forget runtimes that nobody has heard of for long."""
        async with translate():
            await self._pool.execute(
                self._sql["delete_silent_runtimes"], timedelta(seconds=silent_seconds)
            )

    async def lease_machine(
        self, holder: str, *, high_water_ms: int, lease_seconds: float, allowance_seconds: float
    ) -> MachineLease | None:
        """Lease a machine id; asked again by the same holder, the same one. None: all taken."""
        async with translate(), self._pool.acquire() as connection, connection.transaction():
            await connection.execute(self._sql["lock_machines"])
            row = await connection.fetchrow(
                self._sql["lease_machine"],
                holder,
                high_water_ms,
                timedelta(seconds=lease_seconds),
                timedelta(seconds=allowance_seconds),
            )
        return MachineLease(**row) if row else None

    async def renew_machine(
        self, machine_id: int, *, holder: str, high_water_ms: int, lease_seconds: float
    ) -> MachineLease | None:
        """Prolong a lease; None when somebody else has the machine id now."""
        async with translate():
            row = await self._pool.fetchrow(
                self._sql["renew_machine"],
                machine_id,
                holder,
                high_water_ms,
                timedelta(seconds=lease_seconds),
            )
        return MachineLease(**row) if row else None
