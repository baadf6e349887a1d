"""Large results, stored outside the log, one function per request."""

import asyncio
import hashlib
from dataclasses import replace

import orjson
from noetl_common.bus.broker import Bus
from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_common.ids import SnowflakeIds
from noetl_contract.http.moments import rfc3339
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_projector.results.bodies.places import Places
from noetl_projector.results.store import NewResult, ResultStore
from noetl_projector.results.uri import InvalidUri, ResultUri
from noetl_projector.rpc import refused
from noetl_projector.settings import Settings

_FETCH_SECONDS = 20.0
_WITHOUT_RESULT_SECONDS = 3600.0
"""After this a body without a result is removed; far longer than any transfer."""


class ResultHandlers:
    """One method per request."""

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

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        handlers: dict[str, RpcHandler] = {
            "result.put": self.on_put,
            "result.resolve": self.on_resolve,
            "result.get": self.on_get,
        }
        shard = self._settings.shard_index
        return {
            rpc_subject("projector", name, shard=shard): handler
            for name, handler in handlers.items()
        }

    async def on_put(self, request: JsonObject) -> RpcReply:
        """Store a result; repeating the request with the sender's id stores it once (W13).

        Data too large for a message is fetched, in parts, from the subject in ``data_at``.
        """
        async with self._transfers:
            return await self._put(request)

    async def _put(self, request: JsonObject) -> RpcReply:
        source = request.get("data_at")
        if source is None:
            data = request["data"]
        else:
            data = orjson.loads((await self._bus.request(str(source), timeout=_FETCH_SECONDS)).data)
        # Sorting and hashing 64 MiB takes a while: not in the event loop.
        text, digest = await asyncio.to_thread(_canonical, data)
        if len(text) > self._settings.result_max_bytes:
            limit = self._settings.result_max_bytes
            return refused(413, f"The result has {len(text)} bytes, the limit is {limit}")
        given = request.get("result_id")
        uri = ResultUri(
            execution_id=int(request["execution_id"]),
            name=str(request["name"]),
            result_id=self._ids.next() if given is None else int(given),
        )
        scope = str(request.get("scope") or "execution")
        # Results last as long as their execution; what the edge stores expires sooner (W13).
        lasts = request.get("expires_seconds")
        result = NewResult(
            result_id=uri.result_id,
            execution_id=uri.execution_id,
            name=uri.name,
            scope=scope,
            source_step=request.get("source_step"),
            text=None,
            size=len(text),
            sha256=digest,
            expires_seconds=None if lasts is None else float(lasts),
        )
        result = await self._with_body(result, text)
        await self._store.insert_result(result)
        return RpcReply(
            body={
                "ref": str(uri),
                "store": result.store,
                "scope": scope,
                "bytes": len(text),
                "sha256": digest,
                "expires_at": None,
            }
        )

    async def _with_body(self, result: NewResult, text: bytes) -> NewResult:
        """Put the body into the row, or where it belongs and the place into the row."""
        place = self._places.chosen
        if place is None:
            return replace(result, text=text.decode())
        # Other content under a known id must not replace a body that a row describes.
        key = f"{result.execution_id}/{result.result_id}-{result.sha256[:16]}"
        location = place.location(key)
        await self._store.announce_body(
            place.name, location=location, seconds=_WITHOUT_RESULT_SECONDS
        )
        await place.put(location, text)
        return replace(result, store=place.name, location=location)

    async def _body_of(self, row: JsonObject) -> orjson.Fragment:
        if row["location"] is None:
            return orjson.Fragment(row["data"])
        body = await self._places.read(
            row["store"], row["location"], size=row["bytes"], digest=row["sha256"]
        )
        return orjson.Fragment(body)

    async def on_resolve(self, request: JsonObject) -> RpcReply | bytes:
        """Return the stored value itself."""
        try:
            uri = ResultUri.parse(str(request["ref"]))
        except InvalidUri as error:
            return refused(400, str(error))
        async with self._transfers:
            found = await self._store.find_result(
                uri.execution_id, name=uri.name, result_id=uri.result_id
            )
            if found is None:
                return refused(404, "result not found")
            return encode_reply(await self._body_of(found))

    async def on_get(self, request: JsonObject) -> RpcReply | bytes:
        """Return the newest result of a name."""
        execution_id, name = int(request["execution_id"]), str(request["name"])
        async with self._transfers:
            found = await self._store.find_newest_result(execution_id, name=name)
            if found is None:
                return refused(404, "result not found")
            data = await self._body_of(found)
        uri = ResultUri(execution_id=execution_id, name=name, result_id=found["result_id"])
        return encode_reply(
            {
                "ref": str(uri),
                "name": name,
                "scope": found["scope"],
                "source_step": found["source_step"],
                "bytes": found["bytes"],
                "sha256": found["sha256"],
                "created_at": rfc3339(found["created_at"]),
                "data": data,
            }
        )


def _canonical(data: Json) -> tuple[bytes, str]:
    text = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    return text, hashlib.sha256(text).hexdigest()
