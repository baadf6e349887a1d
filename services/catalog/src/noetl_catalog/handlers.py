"""Runtimes and machine ids, one function per request (docs/architecture.md)."""

from typing import Any

from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_common.ids import SnowflakeIds
from noetl_contract.http.runtime import (
    RuntimeBeat,
    RuntimeNameRequest,
    RuntimePoolsQuery,
    RuntimeRegistration,
)
from noetl_contract.rpc import RpcReply

from noetl_catalog.entries import liveness_body, runtime_body
from noetl_catalog.heartbeats import Heartbeats
from noetl_catalog.lookup import by_subject, refused
from noetl_catalog.settings import Settings
from noetl_catalog.store import MachineLease, NewRuntime, Store

__all__ = ["MachineHandlers", "RuntimeHandlers"]

type Json = Any
type Request = dict[str, Json]

_RUNTIME_KINDS = frozenset({"worker_pool", "server_api", "broker"})


class RuntimeHandlers:
    """Workers and other processes that say that they are there."""

    def __init__(
        self, store: Store, *, settings: Settings, ids: SnowflakeIds, heartbeats: Heartbeats
    ) -> None:
        self._store = store
        self._settings = settings
        self._ids = ids
        self._heartbeats = heartbeats

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        return by_subject(
            {
                "runtime.register": self.on_register,
                "runtime.heartbeat": self.on_heartbeat,
                "runtime.deregister": self.on_deregister,
                "runtime.pools": self.on_pools,
                "runtime.liveness": self.on_liveness,
            }
        )

    async def on_register(self, request: Request) -> RpcReply:
        """Write a registration."""
        wanted = RuntimeRegistration.model_validate(request)
        if wanted.kind not in _RUNTIME_KINDS:
            return refused(422, f"Invalid runtime kind: {wanted.kind}")
        runtime = await self._store.register_runtime(
            NewRuntime(
                runtime_id=self._ids.next(),
                name=wanted.name,
                kind=wanted.kind,
                uri=wanted.uri,
                status=wanted.status,
                labels=wanted.labels,
                capabilities=wanted.capabilities,
                capacity=wanted.capacity,
                runtime=wanted.runtime,
                instance=_instance(wanted.runtime),
                over_edge=wanted.over_edge,
            )
        )
        return RpcReply(body=runtime_body(runtime))

    async def on_heartbeat(self, request: Request) -> RpcReply:
        """Record that a runtime is alive; one whose row was lost gets a new one."""
        wanted = RuntimeBeat.model_validate(request)
        if wanted.kind not in _RUNTIME_KINDS or not await self._heartbeats.beat(
            wanted.kind, name=wanted.name, over_edge=wanted.over_edge
        ):
            return refused(404, f"Runtime not found: {wanted.kind} {wanted.name}")
        return RpcReply(body={"status": "ok", "message": "Heartbeat recorded"})

    async def on_deregister(self, request: Request) -> RpcReply:
        """Mark a runtime as left."""
        wanted = RuntimeNameRequest.model_validate(request)
        if not await self._store.deregister_runtime(wanted.kind, name=wanted.name):
            return refused(404, f"Runtime not found: {wanted.kind} {wanted.name}")
        message = f"Runtime {wanted.kind} {wanted.name} deregistered"
        return RpcReply(body={"status": "ok", "message": message})

    async def on_pools(self, request: Request) -> RpcReply:
        """List runtimes."""
        wanted = RuntimePoolsQuery.model_validate(request)
        runtimes = await self._store.list_runtimes(
            kind=wanted.kind,
            status=wanted.status,
            name_part=wanted.name,
            limit=self._settings.runtime_list_limit,
        )
        return RpcReply(body=[runtime_body(runtime) for runtime in runtimes])

    async def on_liveness(self, _request: Request) -> bytes:
        """Return what leases are judged by."""
        return encode_reply(liveness_body(await self._store.list_liveness()))


class MachineHandlers:
    """Leases of the machine ids in snowflakes (design S1)."""

    def __init__(self, store: Store, *, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        return by_subject({"machine.lease": self.on_lease, "machine.renew": self.on_renew})

    async def on_lease(self, request: Request) -> RpcReply:
        """Lease a machine id nobody else has."""
        lease = await self._store.lease_machine(
            str(request["holder"]),
            high_water_ms=int(request.get("high_water_ms") or 0),
            lease_seconds=self._settings.machine_lease_seconds,
            allowance_seconds=self._settings.machine_clock_allowance_seconds,
        )
        if lease is None:
            return refused(503, "All machine ids are leased")
        return self._answer(lease)

    async def on_renew(self, request: Request) -> RpcReply:
        """Prolong a lease; 409 when it was lost."""
        machine_id, holder = int(request["machine_id"]), str(request["holder"])
        lease = await self._store.renew_machine(
            machine_id,
            holder=holder,
            high_water_ms=int(request.get("high_water_ms") or 0),
            lease_seconds=self._settings.machine_lease_seconds,
        )
        if lease is None:
            return refused(409, f"Machine id {machine_id} is not leased by {holder}")
        return self._answer(lease)

    def _answer(self, lease: MachineLease) -> RpcReply:
        return RpcReply(
            body={
                "machine_id": lease.machine_id,
                "lease_seconds": self._settings.machine_lease_seconds,
                "high_water_ms": lease.high_water_ms,
                "now_ms": lease.now_ms,
            }
        )


def _instance(runtime: Json) -> str | None:
    """Return what tells this process from an earlier one of the same name (worker 5.1)."""
    if not isinstance(runtime, dict):
        return None
    for name in ("instance", "worker_public_key"):
        value = runtime.get(name)
        if isinstance(value, str) and value:
            return value
    return None
