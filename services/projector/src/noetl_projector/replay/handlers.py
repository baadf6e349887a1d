"""The state of an execution at any event of its log, one function per request."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import orjson
from noetl_common.bus.rpc import RpcHandler, encode_reply
from noetl_contract.http.masking import masked
from noetl_contract.json import JsonObject
from noetl_contract.subjects import rpc_subject

from noetl_projector.replay.fold import ReplayRow, replayed
from noetl_projector.replay.store import ReplayStore
from noetl_projector.settings import Settings


class ReplayHandlers:
    """One method per request."""

    def __init__(self, store: ReplayStore, *, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        handlers: dict[str, RpcHandler] = {"replay.state": self.on_replay}
        shard = self._settings.shard_index
        return {
            rpc_subject("projector", name, shard=shard): handler
            for name, handler in handlers.items()
        }

    async def on_replay(self, request: JsonObject) -> bytes:
        """Fold a log up to a cutoff."""
        moment = request.get("as_of_time")
        rows = await self._store.read_rows(
            int(request["execution_id"]),
            event_id=request.get("as_of_event_id"),
            position=request.get("as_of_position"),
            moment=None if moment is None else datetime.fromisoformat(moment),
            limit=int(request["limit"]),
        )
        return await asyncio.to_thread(_replay_reply, rows, request)


def _replay_reply(rows: Sequence[ReplayRow], request: JsonObject) -> bytes:
    body = replayed(
        [replace(row, reference=masked(row.reference), meta=masked(row.meta)) for row in rows],
        execution_id=int(request["execution_id"]),
        tenant_id=str(request["tenant_id"]),
        organization_id=str(request["organization_id"]),
        projection=str(request["projection"]),
    )
    return encode_reply(orjson.Fragment(orjson.dumps(body)))
