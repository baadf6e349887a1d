"""Lists, deletion and statistics of stored results, one function per request."""

from noetl_common.bus.rpc import RpcHandler
from noetl_contract.http.moments import rfc3339, rfc3339_or_none
from noetl_contract.json import JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject

from noetl_projector.results.store import ResultStore
from noetl_projector.results.uri import ResultUri
from noetl_projector.settings import Settings

_MOST_LISTED = 5000


class ResultListHandlers:
    """One method per request."""

    def __init__(self, store: ResultStore, *, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def routes(self) -> dict[str, RpcHandler]:
        """Return the handlers by subject."""
        handlers: dict[str, RpcHandler] = {
            "result.list": self.on_list,
            "result.delete": self.on_delete,
            "result.stats": self.on_stats,
        }
        shard = self._settings.shard_index
        return {
            rpc_subject("projector", name, shard=shard): handler
            for name, handler in handlers.items()
        }

    async def on_list(self, request: JsonObject) -> RpcReply:
        """List the results of an execution, without their data."""
        execution_id = int(request["execution_id"])
        rows = await self._store.list_results(
            execution_id,
            scope=request.get("scope"),
            name=request.get("name"),
            limit=_MOST_LISTED,
        )
        results = [
            {
                "ref": str(ResultUri(execution_id, row.name, row.result_id)),
                "name": row.name,
                "scope": row.scope,
                "source_step": row.source_step,
                "store": row.store,
                "bytes": row.bytes,
                "sha256": row.sha256,
                "created_at": rfc3339(row.created_at),
                "expires_at": rfc3339_or_none(row.expires_at),
            }
            for row in rows
        ]
        body = {"execution_id": execution_id, "results": results, "count": len(results)}
        return RpcReply(body=body)

    async def on_delete(self, request: JsonObject) -> RpcReply:
        """Delete results of an execution; return how many."""
        execution_id = int(request["execution_id"])
        count = await self._store.delete_results(
            execution_id, scope=request.get("scope"), name=request.get("name")
        )
        return RpcReply(body={"execution_id": execution_id, "deleted": count})

    async def on_stats(self, _request: JsonObject) -> RpcReply:
        """Return number and size of the stored results by store."""
        return RpcReply(body={"stores": await self._store.measure_results()})
