"""Rows of runtimes and of leased machine ids."""

from collections.abc import Sequence
from datetime import timedelta

from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Role
from noetl_contract.http.workers.pauses import PauseTarget
from noetl_contract.http.workers.runtimes import RuntimeBeat, RuntimeEntry, RuntimeRegistration
from noetl_contract.rpc.catalog import EdgeSeen, Liveness, MachineLease, WorkerSeen
from noetl_pg.database import Store

_PAUSE = "pause "


class RuntimeStore(Store):
    """Statements and transactions on runtimes and machine ids, one method each."""

    async def register_runtime(
        self,
        runtime_id: int,
        new: RuntimeRegistration,
        *,
        instance: str | None,
        silent_seconds: float,
    ) -> RuntimeEntry | None:
        """Store a registration; another instance of the same name counts as a new process.

        Return None if another caller has registered a runtime of this name that is still alive.
        """
        row = await self._db.fetchrow(
            "register_runtime",
            runtime_id,
            new.name,
            new.kind,
            new.uri,
            new.status,
            new.labels,
            new.capabilities,
            new.capacity,
            new.runtime,
            instance,
            new.over_edge,
            *_caller(new.principal),
            timedelta(seconds=silent_seconds),
        )
        return RuntimeEntry(**row) if row else None

    async def touch_runtimes(self, beats: Sequence[RuntimeBeat]) -> dict[tuple[str, str], bool]:
        """Record heartbeats; return for each stored runtime (kind, name) whether it is alive."""
        rows = await self._db.fetch(
            "touch_runtimes",
            [beat.kind for beat in beats],
            [beat.name for beat in beats],
            [beat.over_edge for beat in beats],
        )
        return {(row["kind"], row["name"]): row["is_alive"] for row in rows}

    async def insert_heard_runtimes(self, beats: Sequence[tuple[int, RuntimeBeat]]) -> None:
        """Insert rows for heartbeats of unknown runtimes, each with a runtime id."""
        await self._db.execute(
            "insert_heard_runtimes",
            [runtime_id for runtime_id, _ in beats],
            [beat.kind for _, beat in beats],
            [beat.name for _, beat in beats],
            [beat.over_edge for _, beat in beats],
        )

    async def deregister_runtime(
        self, kind: str, *, name: str, principal: Principal | None
    ) -> bool:
        """Mark a runtime as deregistered.

        Return False if the runtime is unknown or deregistered, or belongs to another caller.
        """
        found = await self._db.fetchval("deregister_runtime", kind, name, *_caller(principal))
        return found is not None

    async def is_registered(self, kind: str, *, name: str) -> bool:
        """Return whether a runtime is registered."""
        return bool(await self._db.fetchval("is_registered", kind, name))

    async def list_runtimes(
        self, *, kind: str, status: str | None, name_part: str | None, limit: int
    ) -> list[RuntimeEntry]:
        """Return registered runtimes by kind and name."""
        rows = await self._db.fetch("list_runtimes", kind, status, name_part, limit)
        return [RuntimeEntry(**row) for row in rows]

    async def list_liveness(self) -> Liveness:
        """Return the pauses, and the heartbeats of workers and of registered gateways."""
        rows = await self._db.fetch("list_liveness")
        return Liveness(
            now=rows[0]["now"],
            edges={
                row["name"]: EdgeSeen(**row)
                for row in rows
                if row["kind"] == "server_api" and row["deregistered_at"] is None
            },
            workers={
                row["name"]: WorkerSeen(**row) for row in rows if row["kind"] == "worker_pool"
            },
            pauses=[
                PauseTarget(kind=row["kind"].removeprefix(_PAUSE), name=row["name"])
                for row in rows
                if row["kind"] is not None and row["kind"].startswith(_PAUSE)
            ],
        )

    async def delete_silent_runtimes(self, *, silent_seconds: float) -> None:
        """Delete runtimes without a heartbeat for some seconds."""
        await self._db.execute("delete_silent_runtimes", timedelta(seconds=silent_seconds))

    async def lease_machine(
        self, holder: str, *, high_water_ms: int, lease_seconds: float, allowance_seconds: float
    ) -> MachineLease | None:
        """Lease a machine id, to a known holder the same id; return None if all are leased."""
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
        """Renew a lease; return None if the machine id has another holder."""
        row = await self._db.fetchrow(
            "renew_machine",
            machine_id,
            holder,
            high_water_ms,
            timedelta(seconds=lease_seconds),
        )
        return MachineLease(lease_seconds=lease_seconds, **row) if row else None

    async def delete_silent_workers(self, *, silent_minutes: int) -> int:
        """Delete worker pools without a heartbeat for some minutes; return their number."""
        purged: int = await self._db.fetchval("delete_silent_workers", silent_minutes)
        return purged


def _caller(principal: Principal | None) -> tuple[str | None, bool]:
    """Return the name of a caller, and whether the caller may replace runtimes of other callers."""
    if principal is None:
        return None, False
    is_above = not {Role.SYSTEM, Role.ADMIN}.isdisjoint(principal.roles)
    return f"{principal.kind}:{principal.name}", is_above
