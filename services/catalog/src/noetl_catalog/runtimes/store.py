"""Rows of runtimes and of leased machine ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from noetl_common.pg.database import Database
from noetl_contract.json import Json
from noetl_contract.rpc.catalog import MachineLease


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
    """A heartbeat; ``over_edge`` tells whether it came over HTTP or over NATS."""

    kind: str
    name: str
    over_edge: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """The runtime that a heartbeat is about, alive or deregistered."""

    kind: str
    name: str
    is_alive: bool


@dataclass(frozen=True, slots=True)
class WorkerSign:
    """Signs of life of a worker, which leases depend on; times by the database's clock."""

    heartbeat_at: datetime
    process_since: datetime
    instance: str | None
    deregistered_at: datetime | None
    over_edge: bool


@dataclass(frozen=True, slots=True)
class EdgeSign:
    """The last heartbeat of an edge, and the begin of its process."""

    heartbeat_at: datetime
    process_since: datetime


@dataclass(frozen=True, slots=True)
class SignsOfLife:
    """All workers, and all edges that have not left, at one moment."""

    now: datetime
    edges: dict[str, EdgeSign]
    workers: dict[str, WorkerSign]


class RuntimeStore:
    """One method per statement or transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database.with_statements(__package__)

    async def register_runtime(self, new: NewRuntime) -> Runtime:
        """Write a registration; another instance under the same name begins a new process."""
        row = await self._db.fetchone(
            "register_runtime",
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
        """Record heartbeats; return the runtimes that have a row."""
        rows = await self._db.fetch(
            "touch_runtimes",
            [beat.kind for beat in beats],
            [beat.name for beat in beats],
            [beat.over_edge for beat in beats],
        )
        return [Heard(**row) for row in rows]

    async def insert_heard_runtimes(self, beats: Sequence[tuple[int, Beat]]) -> None:
        """Make rows for heartbeats without one, ``(runtime id, heartbeat)`` each."""
        await self._db.execute(
            "insert_heard_runtimes",
            [runtime_id for runtime_id, _ in beats],
            [beat.kind for _, beat in beats],
            [beat.name for _, beat in beats],
            [beat.over_edge for _, beat in beats],
        )

    async def deregister_runtime(self, kind: str, *, name: str) -> bool:
        """Mark a runtime as gone; False when it is gone already or does not exist."""
        found = await self._db.fetchval("deregister_runtime", kind, name)
        return found is not None

    async def list_runtimes(
        self, *, kind: str, status: str | None, name_part: str | None, limit: int
    ) -> list[Runtime]:
        """Return runtimes that are not gone, by kind and name."""
        rows = await self._db.fetch("list_runtimes", kind, status, name_part, limit)
        return [Runtime(**row) for row in rows]

    async def list_liveness(self) -> SignsOfLife:
        """Return the heartbeats of workers and edges, by which leases are judged."""
        rows = await self._db.fetch("list_liveness")
        return SignsOfLife(
            now=rows[0]["now"],
            edges={
                row["name"]: EdgeSign(
                    heartbeat_at=row["heartbeat"], process_since=row["process_since"]
                )
                for row in rows
                if row["kind"] == "server_api" and row["deregistered_at"] is None
            },
            workers={
                row["name"]: WorkerSign(
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
        """Delete runtimes that were silent for longer."""
        await self._db.execute("delete_silent_runtimes", timedelta(seconds=silent_seconds))

    async def lease_machine(
        self, holder: str, *, high_water_ms: int, lease_seconds: float, allowance_seconds: float
    ) -> MachineLease | None:
        """Lease a machine id, the same for the same holder; None when all are taken."""
        async with self._db.transaction() as session:
            await session.execute("lock_machines")
            row = await session.fetchrow(
                "lease_machine",
                holder,
                high_water_ms,
                timedelta(seconds=lease_seconds),
                timedelta(seconds=allowance_seconds),
            )
        return MachineLease(lease_seconds=lease_seconds, **row) if row else None

    async def renew_machine(
        self, machine_id: int, *, holder: str, high_water_ms: int, lease_seconds: float
    ) -> MachineLease | None:
        """Prolong a lease; None when the machine id has another holder."""
        row = await self._db.fetchrow(
            "renew_machine",
            machine_id,
            holder,
            high_water_ms,
            timedelta(seconds=lease_seconds),
        )
        return MachineLease(lease_seconds=lease_seconds, **row) if row else None

    async def delete_silent_workers(self, *, silent_minutes: int) -> int:
        """Delete worker pools that were silent for longer; return how many."""
        purged: int = await self._db.fetchval("delete_silent_workers", silent_minutes)
        return purged
