"""Lists, deletions and sizes of stored results, also under `/api/temp`."""

from litestar import Response
from noetl_contract.access.rights import Right
from noetl_contract.http.executions.results import ResultStats, StoreSize
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.projector import RESULT_DELETE, RESULT_LIST, RESULT_STATS, ResultFilter
from pydantic import BaseModel

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.forwarding import Needs, Sent, Topic

_SCOPES = ("step", "execution", "workflow", "permanent")
TOPIC = Topic("results")
_WRONG_SCOPE = {400: f"scope must be one of: {', '.join(_SCOPES)}"}


@TOPIC.route(
    "GET /api/result/stats",
    ResultStats,
    also="/api/temp/stats",
    needs=Needs(Right.SERVICE_READ, is_whole=True),
    summary="Say how much is stored where",
)
async def result_stats(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Add up the results of all shards."""
    sums: dict[str, StoreSize] = {}
    for shard in await gateway.services.ask_all(RESULT_STATS, Nothing()):
        for one in shard.stores:
            known = sums.get(one.store, StoreSize(store=one.store, results=0, bytes=0))
            sums[one.store] = StoreSize(
                store=one.store,
                results=known.results + one.results,
                bytes=known.bytes + one.bytes,
            )
    stores = [sums[name] for name in sorted(sums)]
    answer = ResultStats(
        total_results=sum(one.results for one in stores),
        total_bytes=sum(one.bytes for one in stores),
        stores=stores,
    )
    return json_answer(request, answer)


def _of_scope(sent: Sent[BaseModel], scope: str | None, name: str | None = None) -> ResultFilter:
    """Name results of a scope, and of a step, which are kept under its name."""
    if scope is not None and scope not in _SCOPES:
        raise Refusal(400, _WRONG_SCOPE[400])
    return ResultFilter(execution_id=sent.id(), scope=scope, name=name)


TOPIC.forward(
    "GET /api/result/{execution_id:str}/list",
    RESULT_LIST,
    lambda sent: _of_scope(sent, sent.text("scope"), sent.text("step_name")),
    also="/api/temp/{execution_id:str}/list",
    name="list_results",
    needs=Right.RESULTS_READ,
    summary="List the stored results of an execution",
    description="List results, oldest first.",
    query={"scope": (str, "of one scope only"), "step_name": (str, "of one step only")},
    errors=_WRONG_SCOPE,
)
TOPIC.forward(
    "DELETE /api/result/{execution_id:str}/step/{step_name:str}",
    RESULT_DELETE,
    lambda sent: ResultFilter(execution_id=sent.id(), name=sent.word("step_name")),
    also="/api/temp/{execution_id:str}/step/{step_name:str}",
    name="delete_step_results",
    needs=Right.RESULTS_DELETE,
    summary="Delete the stored results of a step",
    description="Delete the results of one step, whatever their scope.",
)
# On the path of a route that takes large bodies, so with its limit.
TOPIC.forward(
    "DELETE /api/result/{execution_id:str}",
    RESULT_DELETE,
    lambda sent: _of_scope(sent, sent.text("scope", "execution")),
    also="/api/temp/{execution_id:str}",
    name="delete_results",
    bodies="result",
    needs=Right.RESULTS_DELETE,
    summary="Delete the stored results of an execution",
    description="Delete the results of one scope.",
    query={"scope": (str, "of one scope only; `execution` if absent")},
    errors=_WRONG_SCOPE,
)
