"""One function per request of the catalog service (docs/architecture.md)."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import orjson
from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_common.ids import SnowflakeIds
from noetl_contract.http.catalog import CatalogListRequest
from noetl_contract.http.runtime import (
    RuntimeBeat,
    RuntimeNameRequest,
    RuntimePoolsQuery,
    RuntimeRegistration,
)
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_catalog.documents import kind_word, read_document
from noetl_catalog.entries import (
    entry_body,
    is_wanted_agent,
    liveness_body,
    runtime_body,
)
from noetl_catalog.heartbeats import Heartbeats
from noetl_catalog.settings import Settings
from noetl_catalog.store import Entry, MachineLease, NewRuntime, NewVersion, Store

__all__ = ["CatalogHandlers", "MachineHandlers", "RuntimeHandlers"]

type Json = Any
type Request = dict[str, Json]

_RUNTIME_KINDS = frozenset({"worker_pool", "server_api", "broker"})
_PARSERS = 2
_LAST_VERSION = 32_767


@dataclass(frozen=True, slots=True)
class _Texts:
    """How a look-up that finds nothing is answered."""

    neither: str
    no_id: str
    no_path: str
    no_version: str


_ENTRY_TEXTS = _Texts(
    neither="Either 'catalog_id' or 'path' must be provided",
    no_id="Catalog entry '{name}' not found",
    no_path="Catalog entry '{name}' not found",
    no_version="Catalog entry '{name}' version {version} not found",
)
_PLAYBOOK_TEXTS = _Texts(
    neither="Either 'path' or 'catalog_id' must be provided",
    no_id="Catalog entry not found: {name}",
    no_path="Playbook not found: {name}",
    no_version="Playbook not found: {name}",
)


class CatalogHandlers:
    """Playbooks and other documents."""

    def __init__(self, store: Store, *, settings: Settings, ids: SnowflakeIds) -> None:
        self._store = store
        self._settings = settings
        self._ids = ids
        self._parsers = asyncio.Semaphore(_PARSERS)
        self._contents: OrderedDict[int, bytes] = OrderedDict()

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        return _by_subject(
            {
                "register": self.on_register,
                "list": self.on_list,
                "resource": self.on_resource,
                "resolve": self.on_resolve,
                "content": self.on_content,
            }
        )

    async def on_register(self, request: Request) -> RpcReply:
        """Keep a document as the next version of its path."""
        content = str(request["content"])
        size = len(content.encode("utf-8", "surrogatepass"))
        if size > self._settings.catalog_content_max_bytes:
            limit = self._settings.catalog_content_max_bytes
            return _refused(413, f"The document has {size} bytes, the limit is {limit}")
        resource_type = str(request.get("resource_type") or "Playbook")
        try:
            async with self._parsers, asyncio.timeout(self._settings.catalog_parse_timeout_seconds):
                document = await asyncio.to_thread(
                    read_document,
                    content,
                    resource_type=resource_type,
                    more_kinds=self._settings.more_kinds(),
                )
        except TimeoutError:
            return _refused(503, "The document could not be read in time")
        catalog_id = self._ids.next()
        version = await self._store.insert_version(
            NewVersion(
                catalog_id=catalog_id,
                path=document.path,
                kind=document.kind,
                content=document.content,
                layout=document.layout,
                payload=document.payload,
                meta=document.meta,
            )
        )
        if version is None:
            return _refused(422, f"Unknown kind '{document.kind}'")
        body: Request = {
            "status": "success",
            "message": f"Resource '{document.path}' version '{version}' registered.",
            "path": document.path,
            "version": version,
            "catalog_id": str(catalog_id),
            "kind": document.kind,
        }
        if document.problems:
            body["problems"] = list(document.problems)
        return RpcReply(body=body)

    async def on_list(self, request: Request) -> bytes:
        """List entries, newest first."""
        wanted = CatalogListRequest.model_validate(request)
        kind = None if wanted.resource_type is None else kind_word(wanted.resource_type)
        entries = await self._store.list_entries(
            kind=kind, path=wanted.path, limit=self._settings.catalog_list_limit
        )
        capabilities = list(wanted.capabilities or ())
        if wanted.capability:
            capabilities.append(wanted.capability)
        if wanted.agent_only or capabilities:
            entries = [
                entry for entry in entries if is_wanted_agent(entry, capabilities=capabilities)
            ]
        return encode_reply({"entries": [entry_body(entry) for entry in entries]})

    async def on_resource(self, request: Request) -> RpcReply | bytes:
        """Return one entry whole."""
        found = await self._find(request, whole=True, texts=_ENTRY_TEXTS)
        return found if isinstance(found, RpcReply) else encode_reply(entry_body(found))

    async def on_resolve(self, request: Request) -> RpcReply:
        """Say which version an execution would run."""
        found = await self._find(request, whole=False, texts=_PLAYBOOK_TEXTS)
        if isinstance(found, RpcReply):
            return found
        return RpcReply(
            body={
                "catalog_id": found.catalog_id,
                "path": found.path,
                "version": found.version,
                "kind": found.kind,
            }
        )

    async def on_content(self, request: Request) -> RpcReply | bytes:
        """Return the text of one version, which never changes."""
        catalog_id = int(request["catalog_id"])
        cached = self._contents.get(catalog_id)
        if cached is not None:
            self._contents.move_to_end(catalog_id)
            return cached
        entry = await self._store.find_by_id(catalog_id, whole=True)
        if entry is None:
            return _refused(404, f"Catalog entry not found: {catalog_id}")
        content = entry.content
        if not content and entry.payload is not None:
            content = orjson.dumps(entry.payload).decode()
        if not content:
            return _refused(404, f"No playbook content found for catalog_id: {catalog_id}")
        answer = encode_reply(
            {
                "catalog_id": entry.catalog_id,
                "path": entry.path,
                "version": entry.version,
                "kind": entry.kind,
                "content": content,
            }
        )
        self._contents[catalog_id] = answer
        while len(self._contents) > self._settings.catalog_content_cache_entries:
            self._contents.popitem(last=False)
        return answer

    async def _find(self, request: Request, *, whole: bool, texts: _Texts) -> Entry | RpcReply:
        """Find the entry that ``catalog_id``, or else ``path`` and ``version``, name."""
        catalog_id, path = request.get("catalog_id"), request.get("path")
        if catalog_id is not None:
            number = _integer(catalog_id)
            if number is None:
                return _refused(422, "Invalid catalog_id")
            entry = await self._store.find_by_id(number, whole=whole)
            return entry or _refused(404, texts.no_id.format(name=number))
        if path is None:
            return _refused(422, texts.neither)
        asked = request.get("version")
        if asked is None or asked == "latest":
            entry = await self._store.find_newest(path, whole=whole)
            return entry or _refused(404, texts.no_path.format(name=path))
        version = _integer(asked)
        if version is None:
            return _refused(422, "Invalid version number")
        entry = None
        if 0 <= version <= _LAST_VERSION:
            entry = await self._store.find_version(path, version=version, whole=whole)
        return entry or _refused(404, texts.no_version.format(name=path, version=version))


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
        return _by_subject(
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
            return _refused(422, f"Invalid runtime kind: {wanted.kind}")
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
            return _refused(404, f"Runtime not found: {wanted.kind} {wanted.name}")
        return RpcReply(body={"status": "ok", "message": "Heartbeat recorded"})

    async def on_deregister(self, request: Request) -> RpcReply:
        """Mark a runtime as left."""
        wanted = RuntimeNameRequest.model_validate(request)
        if not await self._store.deregister_runtime(wanted.kind, name=wanted.name):
            return _refused(404, f"Runtime not found: {wanted.kind} {wanted.name}")
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
        return _by_subject({"machine.lease": self.on_lease, "machine.renew": self.on_renew})

    async def on_lease(self, request: Request) -> RpcReply:
        """Lease a machine id nobody else has."""
        lease = await self._store.lease_machine(
            str(request["holder"]),
            high_water_ms=int(request.get("high_water_ms") or 0),
            lease_seconds=self._settings.machine_lease_seconds,
            allowance_seconds=self._settings.machine_clock_allowance_seconds,
        )
        if lease is None:
            return _refused(503, "All machine ids are leased")
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
            return _refused(409, f"Machine id {machine_id} is not leased by {holder}")
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


def _by_subject(handlers: dict[str, RpcHandler]) -> dict[str, RpcHandler]:
    return {rpc_subject("catalog", name): handler for name, handler in handlers.items()}


def _refused(status: int, text: str) -> RpcReply:
    return RpcReply(status=status, error=text)


def _integer(value: Json) -> int | None:
    """Return a 64-bit integer given as a number or as decimal text."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        number = int(value)
    except ValueError:
        return None
    return number if -(1 << 63) <= number < 1 << 63 else None


def _instance(runtime: Json) -> str | None:
    """Return what tells this process from an earlier one of the same name (worker 5.1)."""
    if not isinstance(runtime, dict):
        return None
    for name in ("instance", "worker_public_key"):
        value = runtime.get(name)
        if isinstance(value, str) and value:
            return value
    return None
