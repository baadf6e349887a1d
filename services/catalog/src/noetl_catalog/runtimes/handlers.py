"""Runtimes, one function per request."""

from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_common.ids import SnowflakeIds
from noetl_contract.http.workers.runtimes import (
    RuntimeBeat,
    RuntimeNameRequest,
    RuntimePoolsQuery,
    RuntimeRegistration,
)
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import RpcReply

from noetl_catalog.rpc import by_subject, refused
from noetl_catalog.runtimes.bodies import liveness_body, runtime_body
from noetl_catalog.runtimes.heartbeats import Heartbeats
from noetl_catalog.runtimes.settings import RuntimeSettings
from noetl_catalog.runtimes.store import NewRuntime, RuntimeStore

_LONGEST_MINUTES = 60 * 24 * 365 * 10
_RUNTIME_KINDS = frozenset({"worker_pool", "server_api", "broker"})


class RuntimeHandlers:
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

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        return by_subject(
            {
                "runtime.register": self.on_register,
                "runtime.heartbeat": self.on_heartbeat,
                "runtime.deregister": self.on_deregister,
                "runtime.pools": self.on_pools,
                "runtime.liveness": self.on_liveness,
                "runtime.purge": self.on_purge,
            }
        )

    async def on_register(self, request: JsonObject) -> RpcReply:
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

    async def on_heartbeat(self, request: JsonObject) -> RpcReply:
        """Record a heartbeat; a runtime whose row was lost gets a new row."""
        wanted = RuntimeBeat.model_validate(request)
        if wanted.kind not in _RUNTIME_KINDS or not await self._heartbeats.beat(
            wanted.kind, name=wanted.name, over_edge=wanted.over_edge
        ):
            return refused(404, f"Runtime not found: {wanted.kind} {wanted.name}")
        return RpcReply(body={"status": "ok", "message": "Heartbeat recorded"})

    async def on_deregister(self, request: JsonObject) -> RpcReply:
        """Mark a runtime as left."""
        wanted = RuntimeNameRequest.model_validate(request)
        if not await self._store.deregister_runtime(wanted.kind, name=wanted.name):
            return refused(404, f"Runtime not found: {wanted.kind} {wanted.name}")
        message = f"Runtime {wanted.kind} {wanted.name} deregistered"
        return RpcReply(body={"status": "ok", "message": message})

    async def on_pools(self, request: JsonObject) -> RpcReply:
        """List runtimes."""
        wanted = RuntimePoolsQuery.model_validate(request)
        runtimes = await self._store.list_runtimes(
            kind=wanted.kind,
            status=wanted.status,
            name_part=wanted.name,
            limit=self._settings.runtime_list_limit,
        )
        return RpcReply(body=[runtime_body(runtime) for runtime in runtimes])

    async def on_liveness(self, _request: JsonObject) -> bytes:
        """Return the heartbeats of workers and edges, by which leases are judged."""
        return encode_reply(liveness_body(await self._store.list_liveness()))

    async def on_purge(self, request: JsonObject) -> RpcReply:
        """Delete worker pools that have been silent for long."""
        minutes = max(1, min(int(request["stale_minutes"]), _LONGEST_MINUTES))
        purged = await self._store.delete_silent_workers(silent_minutes=minutes)
        return RpcReply(body={"purged": purged})


def _instance(runtime: Json) -> str | None:
    """Return the value that tells processes of one name apart; None without one."""
    if not isinstance(runtime, dict):
        return None
    for name in ("instance", "worker_public_key"):
        value = runtime.get(name)
        if isinstance(value, str) and value:
            return value
    return None
