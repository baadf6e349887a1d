"""Stores for large results: the edge over HTTP, or the projector by message."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

import orjson
from msgspec import Raw
from noetl_bus.broker import Bus
from noetl_bus.rpc import RpcClient, RpcUnavailable
from noetl_common.logging import get_logger
from noetl_common.retry import backoff
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc.projector import ResultPut
from noetl_contract.subjects import rpc_subject

from noetl_worker.commands import Command
from noetl_worker.control_plane.edge import Edge, EdgeUnreachable

_log = get_logger()
INLINE_LIMIT_BYTES = 102_400

_SCOPE = "execution"
_PUT_SECONDS = 20.0
_ANSWER_SECONDS = 30.0
_SLOWEST_BYTES_PER_SECOND = 1 << 20
"""Rate of a slow link, or of a busy machine, at which an edge is still waited for."""
_TIMEOUT_SECONDS = 60.0
_LATER = frozenset({408, 425, 429, 502, 503, 504})
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
    """A result was not stored, or no answer says that it was; the text is why.

    Attributes:
        may_pass: it may be otherwise in a moment.
    """

    def __init__(self, text: str, *, may_pass: bool = False) -> None:
        super().__init__(text)
        self.may_pass = may_pass


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
        """Return the contract's limit; the edge takes care of large events."""
        return INLINE_LIMIT_BYTES

    async def put(self, command: Command, document: bytes) -> StoredResult:
        """Store a document.

        Raises:
            NotStored: that failed.
        """
        body = orjson.dumps(_request(command, document))
        return await _patiently(lambda: self._put(command, body))

    async def _put(self, command: Command, body: bytes) -> StoredResult:
        try:
            status, answer = await self._edge.call(
                "PUT",
                f"/api/result/{command.execution_id}",
                body,
                base=command.server_url or None,
                seconds=_ANSWER_SECONDS + len(body) / _SLOWEST_BYTES_PER_SECOND,
            )
        except EdgeUnreachable as error:
            text = f"no answer from the result store: {error}"
            raise NotStored(text, may_pass=True) from error
        if status >= 300:
            text = answer[:_LONGEST_ANSWER].decode(errors="replace")
            reason = f"the result store answered {status}: {text}"
            raise NotStored(reason, may_pass=status in _LATER)
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
        request = ResultPut(
            execution_id=command.execution_id,
            result_id=self._next_id(),
            name=command.step,
            data=Raw(document),
            scope=_SCOPE,
            source_step=command.step,
        )
        body = request.to_json()
        return await _patiently(lambda: self._put(command.shard, body))

    async def _put(self, shard: int, body: bytes) -> StoredResult:
        try:
            reply = await self._rpc.call(
                rpc_subject("projector", "result.put", shard=shard),
                body,
                seconds=_PUT_SECONDS,
                wait_for_responder=True,
            )
        except RpcUnavailable as error:
            text = f"no answer from the result store: {error.message}"
            raise NotStored(text, may_pass=True) from error
        if reply.status >= 300:
            reason = f"the result store answered {reply.status}: {reply.error}"
            raise NotStored(reason, may_pass=reply.status in _LATER)
        try:
            return _stored(reply.body)
        except ValueError as error:
            raise NotStored(f"the result store's answer: {error}", may_pass=True) from error


async def _patiently(put: Callable[[], Awaitable[StoredResult]]) -> StoredResult:
    """Store a document as long as an outage of the control plane may take.

    Its tool has done its work: without its result the step fails.
    """
    end = monotonic() + _TIMEOUT_SECONDS
    async for _ in backoff(first_seconds=0.2, longest_seconds=5.0, jitter=0.25):
        try:
            return await put()
        except NotStored as error:
            if not error.may_pass or monotonic() > end:
                raise
            _log.info("result_put_again", error=str(error))
    raise AssertionError  # the loop has no end of its own


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
