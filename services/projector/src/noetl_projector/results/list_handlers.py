"""Lists, deletion and statistics of stored results, one function per operation."""

from noetl_common.bus.rpc import Handler, handle
from noetl_contract.http.executions.results import DeletedResults, ResultList
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.projector import (
    RESULT_DELETE,
    RESULT_LIST,
    RESULT_STATS,
    ResultFilter,
    StoreSizes,
)

from noetl_projector.results.store import ResultStore

_MOST_LISTED = 5000


class ResultListHandlers:
    """One method per operation."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store

    def handlers(self) -> list[Handler]:
        """Return the handlers of the operations."""
        return [
            handle(RESULT_LIST, self.on_list),
            handle(RESULT_DELETE, self.on_delete),
            handle(RESULT_STATS, self.on_stats),
        ]

    async def on_list(self, request: ResultFilter) -> ResultList:
        """List the results of an execution, without their data."""
        execution_id = request.execution_id
        results = await self._store.list_results(
            execution_id, scope=request.scope, name=request.name, limit=_MOST_LISTED
        )
        return ResultList(execution_id=execution_id, results=results, count=len(results))

    async def on_delete(self, request: ResultFilter) -> DeletedResults:
        """Delete results of an execution; return how many."""
        count = await self._store.delete_results(
            request.execution_id, scope=request.scope, name=request.name
        )
        return DeletedResults(execution_id=request.execution_id, deleted=count)

    async def on_stats(self, _request: Nothing) -> StoreSizes:
        """Return number and size of the stored results by store."""
        return StoreSizes(stores=await self._store.measure_results())
