"""Stores for large results: the edge over HTTP, or the projector by message."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import orjson
from noetl_common.bus.broker import Bus
from noetl_common.bus.rpc import RpcClient, RpcUnavailable
from noetl_contract.json import Json, JsonObject
from noetl_contract.subjects import rpc_subject

from noetl_worker.commands import Command
from noetl_worker.control_plane.edge import Edge, EdgeUnreachable

INLINE_LIMIT_BYTES = 102_400

_SCOPE = "execution"
_PUT_SECONDS = 20.0
_ROOM = 64 << 10
"""Bytes of a request beside the document."""
_EVENTS_ROOM = 16 << 10
"""Bytes of an outcome beside the result."""
_LONGEST_ANSWER = 500


@dataclass(frozen=True, slots=True)
class StoredResult:
    """Reference to a stored result."""

    ref: str
    store: str
    scope: str
    size: int | None = None
    sha256: str | None = None
    expires_at: str | None = None


class NotStored(Exception):
    """A result was not kept, or nobody says so; the text is why."""


class ResultStore(Protocol):
    """Store for results that are too large for an event."""

    @property
    def inline_limit(self) -> int:
        """Bytes of the largest document that goes into the event itself."""

    async def put(self, command: Command, document: bytes) -> StoredResult:
        """Store a document under the step's name.

        Raises:
            NotStored: that failed.
        """


class EdgeResultStore:
    """`PUT /api/result/{execution_id}`."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    @property
    def inline_limit(self) -> int:
        """Return the contract's limit; the edge knows what to do with large events."""
        return INLINE_LIMIT_BYTES

    async def put(self, command: Command, document: bytes) -> StoredResult:
        """Store a document; tried once, as the original worker does.

        Raises:
            NotStored: that failed.
        """
        body = orjson.dumps(_request(command, document))
        try:
            status, answer = await self._edge.call(
                "PUT", f"/api/result/{command.execution_id}", body, base=command.server_url or None
            )
        except EdgeUnreachable as error:
            raise NotStored(f"no answer from the result store: {error}") from error
        if status >= 300:
            text = answer[:_LONGEST_ANSWER].decode(errors="replace")
            raise NotStored(f"the result store answered {status}: {text}")
        try:
            return _stored(orjson.loads(answer))
        except orjson.JSONDecodeError as error:
            raise NotStored("the result store's answer is no JSON") from error


class RpcResultStore:
    """Store by the projector's `result.put`; above the broker's limit, by the edge."""

    def __init__(self, bus: Bus, *, edge: ResultStore, next_id: Callable[[], int]) -> None:
        self._bus = bus
        self._rpc = RpcClient(bus)
        self._edge = edge
        self._next_id = next_id

    @property
    def inline_limit(self) -> int:
        """Return the contract's limit, or less if the broker takes less."""
        return min(INLINE_LIMIT_BYTES, self._bus.largest_message - _EVENTS_ROOM)

    async def put(self, command: Command, document: bytes) -> StoredResult:
        """Store a document; repeating the call stores it once, as the worker chooses the id.

        Raises:
            NotStored: that failed.
        """
        if len(document) + _ROOM > self._bus.largest_message:
            return await self._edge.put(command, document)
        request = {
            **_request(command, document),
            "execution_id": command.execution_id,
            "result_id": self._next_id(),
        }
        try:
            reply = await self._rpc.call(
                rpc_subject("projector", "result.put", shard=command.shard),
                orjson.dumps(request),
                seconds=_PUT_SECONDS,
                wait_for_responder=True,
            )
        except RpcUnavailable as error:
            raise NotStored(f"no answer from the result store: {error.message}") from error
        if reply.status >= 300:
            raise NotStored(f"the result store answered {reply.status}: {reply.error}")
        return _stored(reply.body)


def _request(command: Command, document: bytes) -> JsonObject:
    return {
        "name": command.step,
        "data": orjson.Fragment(document),
        "scope": _SCOPE,
        "source_step": command.step,
    }


def _stored(body: Json) -> StoredResult:
    """Read the answer; `ref`, `store` and `scope` are required."""
    body = body if isinstance(body, dict) else {}
    ref, store, scope = body.get("ref"), body.get("store"), body.get("scope")
    if not (isinstance(ref, str) and isinstance(store, str) and isinstance(scope, str)):
        raise NotStored("the result store's answer names no result")
    size, sha256, expires_at = body.get("bytes"), body.get("sha256"), body.get("expires_at")
    return StoredResult(
        ref=ref,
        store=store,
        scope=scope,
        size=size if isinstance(size, int) else None,
        sha256=sha256 if isinstance(sha256, str) else None,
        expires_at=expires_at if isinstance(expires_at, str) else None,
    )
