"""Large results, stored outside the log, one function per operation."""

import asyncio
import hashlib

import msgspec
import orjson
from msgspec import UnsetType
from noetl_bus.broker import Bus
from noetl_bus.rpc import Encoded, Handlers, answers
from noetl_common.ids import SnowflakeIds
from noetl_contract.http.executions.results import (
    DeletedResults,
    ResultList,
    ResultPutAnswer,
    StoredResult,
)
from noetl_contract.json import Json, without_nul
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.projector import (
    RESULT_DELETE,
    RESULT_GET,
    RESULT_LIST,
    RESULT_PART,
    RESULT_PUT,
    RESULT_RESOLVE,
    RESULT_STATS,
    NamedResult,
    PartOfResult,
    ResultFilter,
    ResultPut,
    ResultRef,
    StoreSizes,
)
from noetl_contract.tools.results import Part, PartPath, part_of, with_bodies_repeated

from noetl_projector.results.bodies.places import Places
from noetl_projector.results.store import ResultStore, StoredBody
from noetl_projector.results.uri import InvalidUri, ResultUri
from noetl_projector.settings import Settings

_USUAL_SCOPE = "execution"
_FETCH_SECONDS = 20.0
_MOST_LISTED = 5000
_WITHOUT_RESULT_SECONDS = 3600.0
"""After this a body without a result is removed; far longer than any transfer."""


class ResultHandlers(Handlers):
    """Results with their bodies: stored and read."""

    def __init__(
        self, store: ResultStore, *, bus: Bus, settings: Settings, ids: SnowflakeIds, places: Places
    ) -> None:
        self._store = store
        self._bus = bus
        self._settings = settings
        self._ids = ids
        self._places = places
        # Each holds its body in memory, some in several forms at a time.
        self._transfers = asyncio.Semaphore(settings.result_transfers)

    @answers(RESULT_PUT)
    async def on_put(self, request: ResultPut) -> ResultPutAnswer | Refusal:
        """Store a result; repeating the request with the sender's id stores it once (W13).

        Data too large for a message is fetched, in parts, from the subject in ``data_at``.
        """
        async with self._transfers:
            return await self._put(request)

    async def _put(self, request: ResultPut) -> ResultPutAnswer | Refusal:
        if request.data_at is not None:
            if not request.data_at.startswith("_INBOX"):
                # Asked under our own rights, of a subject that the sender chooses.
                return Refusal(status=400, error="data_at is not an inbox")
            fetched = await self._bus.request(request.data_at, seconds=_FETCH_SECONDS)
            data = fetched.data
        elif not isinstance(request.data, UnsetType):
            data = bytes(request.data)
        else:
            return Refusal(422, "the request has neither data nor a place to fetch it from")
        # Checking and hashing 64 MiB takes a while: not in the event loop.
        try:
            text, digest = await asyncio.to_thread(_checked, data)
        except (ValueError, RecursionError) as error:
            return Refusal(422, f"The result can't be stored: {error}")
        if len(text) > self._settings.result_max_bytes:
            limit = self._settings.result_max_bytes
            return Refusal(413, f"The result has {len(text)} bytes, the limit is {limit}")
        uri = ResultUri(
            execution_id=request.execution_id,
            name=request.name,
            result_id=self._ids.next() if request.result_id is None else request.result_id,
        )
        body, scope = await self._stored(uri, text, digest), request.scope or _USUAL_SCOPE
        # Results last as long as their execution; what the edge stores expires sooner (W13).
        await self._store.insert_result(uri, body, described=request, scope=scope)
        return ResultPutAnswer(
            ref=str(uri),
            store=body.store,
            scope=scope,
            bytes=body.bytes,
            sha256=digest,
            expires_at=None,
        )

    async def _stored(self, uri: ResultUri, text: bytes, digest: str) -> StoredBody:
        """Return the content of the row: the body, or the location where it is stored."""
        place = self._places.chosen
        if place is None:
            return StoredBody(len(text), digest, data=text.decode())
        # Other content under a known id must not replace a body that a row describes.
        location = place.location(f"{uri.execution_id}/{uri.result_id}-{digest[:16]}")
        await self._store.announce_body(
            place.name, location=location, seconds=_WITHOUT_RESULT_SECONDS
        )
        await place.put(location, text)
        return StoredBody(len(text), digest, store=place.name, location=location)

    async def _read_body(self, stored: StoredBody) -> bytes:
        if stored.data is not None:
            # PostgreSQL writes JSON with spaces.
            return msgspec.json.format(stored.data.encode(), indent=-1)
        return await self._places.read(
            stored.store, stored.location or "", size=stored.bytes, digest=stored.sha256
        )

    @answers(RESULT_RESOLVE)
    async def on_resolve(self, request: ResultRef) -> Encoded[Json] | Refusal:
        """Return the stored value itself."""
        async with self._transfers:
            body = await self._resolve(request.ref)
            if not isinstance(body, bytes):
                return body
            return Encoded(await asyncio.to_thread(with_bodies_repeated, body))

    @answers(RESULT_PART)
    async def on_part(self, request: PartOfResult) -> Encoded[Part] | Refusal:
        """Return a part of a stored value."""
        async with self._transfers:
            body = await self._resolve(request.ref)
            if not isinstance(body, bytes):
                return body
            # A scan of 60 MiB takes a tenth of a second.
            part = await asyncio.to_thread(_part, body, tuple(request.path), request.most)
            return Encoded(part)

    async def _resolve(self, ref: str) -> bytes | Refusal:
        try:
            uri = ResultUri.parse(ref)
        except InvalidUri as error:
            return Refusal(400, str(error))
        found = await self._store.find_result(
            uri.execution_id, name=uri.name, result_id=uri.result_id
        )
        return Refusal(404, "result not found") if found is None else await self._read_body(found)

    @answers(RESULT_GET)
    async def on_get(self, request: NamedResult) -> StoredResult | Refusal:
        """Return the newest result of a name."""
        execution_id, name = request.execution_id, request.name
        async with self._transfers:
            found = await self._store.find_newest_result(execution_id, name=name)
            if found is None:
                return Refusal(404, "result not found")
            described, body = found
            text = await asyncio.to_thread(with_bodies_repeated, await self._read_body(body))
            data = orjson.Fragment(text)
        return described.model_copy(update={"data": data})


class ResultListHandlers(Handlers):
    """Results without their bodies: listed, deleted and measured."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store

    @answers(RESULT_LIST)
    async def on_list(self, request: ResultFilter) -> ResultList:
        """List the results of an execution, without their data."""
        execution_id = request.execution_id
        results = await self._store.list_results(
            execution_id, scope=request.scope, name=request.name, limit=_MOST_LISTED
        )
        return ResultList(execution_id=execution_id, results=results, count=len(results))

    @answers(RESULT_DELETE)
    async def on_delete(self, request: ResultFilter) -> DeletedResults:
        """Delete results of an execution; return how many."""
        count = await self._store.delete_results(
            request.execution_id, scope=request.scope, name=request.name
        )
        return DeletedResults(execution_id=request.execution_id, deleted=count)

    @answers(RESULT_STATS)
    async def on_stats(self, _request: Nothing) -> StoreSizes:
        """Return number and size of the stored results by store."""
        return StoreSizes(stores=await self._store.measure_results())


def _part(body: bytes, path: PartPath, most: int) -> bytes:
    return part_of(body, path, most=most).to_json()


def _checked(data: bytes) -> tuple[bytes, str]:
    """Return JSON without spaces between its tokens and without NUL characters, and its digest.

    Nothing in it is parsed into objects, which would take several times its size in memory.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deep.
    """
    text = without_nul(msgspec.json.format(data, indent=-1))
    if not text.isascii():
        text.decode()  # the only fault of JSON that formatting does not find
    return text, hashlib.sha256(text).hexdigest()
