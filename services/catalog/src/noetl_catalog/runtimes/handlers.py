"""Runtimes and leases of machine ids, one function per operation."""

from noetl_bus.rpc import Handlers, answers
from noetl_common.ids import SnowflakeIds
from noetl_contract.http.workers.runtimes import (
    RuntimeAcknowledgement,
    RuntimeBeat,
    RuntimeEntry,
    RuntimeLeave,
    RuntimeNameRequest,
    RuntimePoolsQuery,
    RuntimeRegistration,
)
from noetl_contract.json import Json
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import (
    MACHINE_LEASE,
    MACHINE_RENEW,
    RUNTIME_DEREGISTER,
    RUNTIME_HEARTBEAT,
    RUNTIME_LIVENESS,
    RUNTIME_POOLS,
    RUNTIME_PURGE,
    RUNTIME_REGISTER,
    Liveness,
    MachineLease,
    MachineLeaseRequest,
    MachineRenewRequest,
    PurgedRuntimes,
    RuntimePurgeRequest,
)
from noetl_contract.rpc.models import Nothing

from noetl_catalog.runtimes.heartbeats import Heartbeats
from noetl_catalog.runtimes.settings import RuntimeSettings
from noetl_catalog.runtimes.store import RuntimeStore

_LONGEST_MINUTES = 60 * 24 * 365 * 10
_RUNTIME_KINDS = frozenset({"worker_pool", "server_api", "broker"})
_HEARD = RuntimeAcknowledgement(status="ok", message="Heartbeat recorded")


class RuntimeHandlers(Handlers):
    """Workers and other processes, from registration to deregistration."""

    def __init__(
        self,
        store: RuntimeStore,
        *,
        settings: RuntimeSettings,
        ids: SnowflakeIds,
        heartbeats: Heartbeats,
    ) -> None:
        self._store = store
        self._settings = settings
        self._ids = ids
        self._heartbeats = heartbeats

    @answers(RUNTIME_REGISTER)
    async def on_register(self, request: RuntimeRegistration) -> RuntimeEntry | Refusal:
        """Write a registration."""
        if request.kind not in _RUNTIME_KINDS:
            return Refusal(422, f"Invalid runtime kind: {request.kind}")
        entry = await self._store.register_runtime(
            self._ids.next(),
            request,
            instance=_instance(request.runtime),
            silent_seconds=self._settings.runtime_takeover_seconds,
        )
        return entry or _taken(request.kind, request.name)

    @answers(RUNTIME_HEARTBEAT)
    async def on_heartbeat(self, request: RuntimeBeat) -> RuntimeAcknowledgement | Refusal:
        """Record a heartbeat; a runtime whose row was lost gets a new row."""
        if request.kind in _RUNTIME_KINDS and await self._heartbeats.beat(request):
            return _HEARD
        return _not_found(request)

    @answers(RUNTIME_DEREGISTER)
    async def on_deregister(self, request: RuntimeLeave) -> RuntimeAcknowledgement | Refusal:
        """Mark a runtime as gone."""
        if not await self._store.deregister_runtime(
            request.kind, name=request.name, principal=request.principal
        ):
            if await self._store.is_registered(request.kind, name=request.name):
                return _taken(request.kind, request.name)
            return _not_found(request)
        message = f"Runtime {request.kind} {request.name} deregistered"
        return RuntimeAcknowledgement(status="ok", message=message)

    @answers(RUNTIME_POOLS)
    async def on_pools(self, request: RuntimePoolsQuery) -> list[RuntimeEntry]:
        """List runtimes."""
        return await self._store.list_runtimes(
            kind=request.kind,
            status=request.status,
            name_part=request.name,
            limit=self._settings.runtime_list_limit,
        )

    @answers(RUNTIME_LIVENESS)
    async def on_liveness(self, _request: Nothing) -> Liveness:
        """Return pauses, and heartbeats of workers and edges, by which leases are judged."""
        return await self._store.list_liveness()

    @answers(RUNTIME_PURGE)
    async def on_purge(self, request: RuntimePurgeRequest) -> PurgedRuntimes:
        """Delete worker pools that have been silent for long."""
        minutes = max(1, min(request.stale_minutes, _LONGEST_MINUTES))
        return PurgedRuntimes(
            purged=await self._store.delete_silent_workers(silent_minutes=minutes)
        )


class MachineHandlers(Handlers):
    """Leases of the machine ids in snowflakes (S1)."""

    def __init__(self, store: RuntimeStore, *, settings: RuntimeSettings) -> None:
        self._store = store
        self._settings = settings

    @answers(MACHINE_LEASE)
    async def on_lease(self, request: MachineLeaseRequest) -> MachineLease | Refusal:
        """Lease a free machine id."""
        lease = await self._store.lease_machine(
            request.holder,
            high_water_ms=request.high_water_ms,
            lease_seconds=self._settings.machine_lease_seconds,
            allowance_seconds=self._settings.machine_clock_allowance_seconds,
        )
        return lease or Refusal(503, "All machine ids are leased")

    @answers(MACHINE_RENEW)
    async def on_renew(self, request: MachineRenewRequest) -> MachineLease | Refusal:
        """Prolong a lease; 409 when it was lost."""
        machine_id, holder = request.machine_id, request.holder
        lease = await self._store.renew_machine(
            machine_id,
            holder=holder,
            high_water_ms=request.high_water_ms,
            lease_seconds=self._settings.machine_lease_seconds,
        )
        return lease or Refusal(409, f"Machine id {machine_id} is not leased by {holder}")


def _taken(kind: str, name: str) -> Refusal:
    return Refusal(403, f"Runtime {kind} {name} was registered by another caller")


def _not_found(request: RuntimeNameRequest) -> Refusal:
    return Refusal(404, f"Runtime not found: {request.kind} {request.name}")


def _instance(runtime: Json) -> str | None:
    """Return the value that distinguishes processes of one name; None without one."""
    if not isinstance(runtime, dict):
        return None
    for name in ("instance", "worker_public_key"):
        value = runtime.get(name)
        if isinstance(value, str) and value:
            return value
    return None
