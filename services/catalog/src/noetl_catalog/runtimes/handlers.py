"""Operations on runtimes and leases of machine ids, and the writer of heartbeats."""

import asyncio
from collections import deque
from collections.abc import Iterable

from noetl_bus.rpc import Handlers, answers
from noetl_common.errors import Unavailable
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

from noetl_catalog.runtimes.settings import RuntimeSettings
from noetl_catalog.runtimes.store import RuntimeStore

type _Waiting = tuple[RuntimeBeat, asyncio.Future[bool]]

_MOST_AT_ONCE = 1000
_LONGEST_MINUTES = 60 * 24 * 365 * 10
_RUNTIME_KINDS = frozenset({"worker_pool", "server_api", "broker"})
_RECORDED = RuntimeAcknowledgement(status="ok", message="Heartbeat recorded")


class Heartbeats:
    """Writes heartbeats in batches; those that arrive during a statement form the next batch."""

    def __init__(self, store: RuntimeStore, *, ids: SnowflakeIds) -> None:
        self._store = store
        self._ids = ids
        self._waiting: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._has_ended = False

    async def beat(self, beat: RuntimeBeat) -> bool:
        """Record a heartbeat; return False if the runtime has left and has to register again."""
        if self._has_ended:
            return (await self._touch([beat]))[beat.kind, beat.name]
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((beat, answer))
        self._arrived.set()
        return await answer

    async def run(self) -> None:
        """Write batches until cancelled; afterwards, each heartbeat is written separately."""
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._waiting:
                    size = min(len(self._waiting), _MOST_AT_ONCE)
                    await self._write([self._waiting.popleft() for _ in range(size)])
        finally:
            self._has_ended = True
            _refuse(self._waiting, Unavailable(what="the catalog service"))

    async def _write(self, batch: list[_Waiting]) -> None:
        try:
            alive = await self._touch([beat for beat, _ in batch])
        except asyncio.CancelledError:
            _refuse(batch, Unavailable(what="the catalog service"))
            raise
        except Exception as error:  # noqa: BLE001 -- all waiting requests fail with the error
            _refuse(batch, error)
            return
        for beat, answer in batch:
            if not answer.done():
                answer.set_result(alive[beat.kind, beat.name])

    async def _touch(self, beats: list[RuntimeBeat]) -> dict[tuple[str, str], bool]:
        alive = await self._store.touch_runtimes(beats)
        missing = {
            (beat.kind, beat.name): beat for beat in beats if (beat.kind, beat.name) not in alive
        }
        if missing:
            await self._store.insert_heard_runtimes(
                [(self._ids.next(), beat) for beat in missing.values()]
            )
            alive.update(dict.fromkeys(missing, True))
        return alive


def _refuse(waiting: Iterable[_Waiting], error: Exception) -> None:
    for _, answer in waiting:
        if not answer.done():
            answer.set_exception(error)


class RuntimeHandlers(Handlers):
    """Operations on runtimes: workers and other processes."""

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
        """Store a registration."""
        if request.kind not in _RUNTIME_KINDS:
            return Refusal(422, f"Invalid runtime kind: {request.kind}")
        entry = await self._store.register_runtime(
            self._ids.next(),
            request,
            instance=_instance(request.runtime),
            silent_seconds=self._settings.runtime_takeover_seconds,
        )
        return entry or _owned_by_another(request.kind, request.name)

    @answers(RUNTIME_HEARTBEAT)
    async def on_heartbeat(self, request: RuntimeBeat) -> RuntimeAcknowledgement | Refusal:
        """Record a heartbeat; if the row of the runtime was lost, insert a new one."""
        if request.kind in _RUNTIME_KINDS and await self._heartbeats.beat(request):
            return _RECORDED
        return _not_found(request)

    @answers(RUNTIME_DEREGISTER)
    async def on_deregister(self, request: RuntimeLeave) -> RuntimeAcknowledgement | Refusal:
        """Mark a runtime as deregistered."""
        if not await self._store.deregister_runtime(
            request.kind, name=request.name, principal=request.principal
        ):
            if await self._store.is_registered(request.kind, name=request.name):
                return _owned_by_another(request.kind, request.name)
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
        """Return the pauses and the heartbeats of workers and gateways, on which leases depend."""
        return await self._store.list_liveness()

    @answers(RUNTIME_PURGE)
    async def on_purge(self, request: RuntimePurgeRequest) -> PurgedRuntimes:
        """Delete worker pools without a heartbeat for some minutes."""
        minutes = max(1, min(request.stale_minutes, _LONGEST_MINUTES))
        return PurgedRuntimes(
            purged=await self._store.delete_silent_workers(silent_minutes=minutes)
        )


class MachineHandlers(Handlers):
    """Operations on leases of machine ids (S1)."""

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
        """Renew a lease; refuse with 409 if it was lost."""
        machine_id, holder = request.machine_id, request.holder
        lease = await self._store.renew_machine(
            machine_id,
            holder=holder,
            high_water_ms=request.high_water_ms,
            lease_seconds=self._settings.machine_lease_seconds,
        )
        return lease or Refusal(409, f"Machine id {machine_id} is not leased by {holder}")


def _owned_by_another(kind: str, name: str) -> Refusal:
    return Refusal(403, f"Runtime {kind} {name} was registered by another caller")


def _not_found(request: RuntimeNameRequest) -> Refusal:
    return Refusal(404, f"Runtime not found: {request.kind} {request.name}")


def _instance(runtime: Json) -> str | None:
    """Return the value that distinguishes processes of one name, or None if there is none."""
    if not isinstance(runtime, dict):
        return None
    for name in ("instance", "worker_public_key"):
        value = runtime.get(name)
        if isinstance(value, str) and value:
            return value
    return None
