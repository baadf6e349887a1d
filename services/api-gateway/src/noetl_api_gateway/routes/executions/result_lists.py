"""Lists, deletions and sizes of stored results, also under `/api/temp`."""

from litestar import Response, get
from noetl_contract.http.executions.results import DeletedResults, ResultList, ResultStats
from noetl_contract.json import JsonObject
from noetl_contract.rpc import projector

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.forwarding import Forward, Query, forwarding
from noetl_api_gateway.upstream.services import body_of

_SCOPES = ("step", "execution", "workflow", "permanent")
_TAGS = ["results"]
_WRONG_SCOPE = {400: "scope must be one of: step, execution, workflow, permanent"}


@get(
    ["/api/result/stats", "/api/temp/stats"],
    summary="Say how much is stored where",
    tags=_TAGS,
    operation_class=documented(None, ResultStats),
)
async def result_stats(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Add up the results of all shards."""
    sums: dict[str, JsonObject] = {}
    for shard in range(gateway.services.shard_count):
        for one in body_of(await gateway.services.projector("result.stats", {}, shard=shard))[
            "stores"
        ]:
            known = sums.setdefault(one["store"], {"store": one["store"], "results": 0, "bytes": 0})
            known["results"] += one["results"]
            known["bytes"] += one["bytes"]
    stores = [sums[name] for name in sorted(sums)]
    return json_answer(
        request,
        {
            "total_results": sum(one["results"] for one in stores),
            "total_bytes": sum(one["bytes"] for one in stores),
            "stores": stores,
        },
    )


def _of_step(wanted: JsonObject) -> JsonObject:
    """Name the results of a step, which are kept under its name."""
    scope = wanted.get("scope")
    if scope is not None and scope not in _SCOPES:
        raise Refusal(400, f"scope must be one of: {', '.join(_SCOPES)}")
    step_name = wanted.pop("step_name", None)
    return wanted if step_name is None else wanted | {"name": step_name}


ROUTES = [
    result_stats,
    *forwarding(
        Forward(
            method="GET",
            path=["/api/result/{execution_id:str}/list", "/api/temp/{execution_id:str}/list"],
            name="list_results",
            operation=projector.RESULT_LIST,
            answer=ResultList,
            summary="List the stored results of an execution",
            description="List results, oldest first.",
            tags=_TAGS,
            query={
                "scope": Query(str, "of one scope only"),
                "step_name": Query(str, "of one step only"),
            },
            prepare=_of_step,
            shard_by="execution_id",
            errors=_WRONG_SCOPE,
        ),
        Forward(
            method="DELETE",
            path=[
                "/api/result/{execution_id:str}/step/{step_name:str}",
                "/api/temp/{execution_id:str}/step/{step_name:str}",
            ],
            name="delete_step_results",
            operation=projector.RESULT_DELETE,
            answer=DeletedResults,
            summary="Delete the stored results of a step",
            description="Delete the results of one step, whatever their scope.",
            tags=_TAGS,
            prepare=_of_step,
            shard_by="execution_id",
        ),
    ),
]

LARGE_ROUTES = forwarding(
    Forward(
        method="DELETE",
        path=["/api/result/{execution_id:str}", "/api/temp/{execution_id:str}"],
        name="delete_results",
        operation=projector.RESULT_DELETE,
        answer=DeletedResults,
        summary="Delete the stored results of an execution",
        description="Delete the results of one scope.",
        tags=_TAGS,
        query={
            "scope": Query(str, "of one scope only; `execution` if absent", default="execution")
        },
        prepare=_of_step,
        shard_by="execution_id",
        errors=_WRONG_SCOPE,
    ),
)
"""On the path of a route that takes large bodies, so with its limit."""
