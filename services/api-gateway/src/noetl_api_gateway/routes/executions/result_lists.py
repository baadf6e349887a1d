"""Lists, deletions and sizes of stored results (http-b 8.3), also under `/api/temp`."""

from typing import Any

from litestar import Response, delete, get
from litestar.params import FromPath
from noetl_contract.http.results import DeletedResults, ResultList, ResultStats

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import path_id, path_text, query_text
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.upstream.services import body_of

type Object = dict[str, Any]

_SCOPES = ("step", "execution", "workflow", "permanent")
_TAGS = ["results"]
_WRONG_SCOPE = {400: "scope must be one of: step, execution, workflow, permanent"}


@get(
    ["/api/result/{execution_id:str}/list", "/api/temp/{execution_id:str}/list"],
    summary="List the stored results of an execution",
    tags=_TAGS,
    operation_class=documented(
        None,
        ResultList,
        query={"scope": (str, "of one scope only"), "step_name": (str, "of one step only")},
        errors=_WRONG_SCOPE,
    ),
)
async def list_results(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """List results, oldest first."""
    wanted = {
        "execution_id": path_id(execution_id),
        "scope": _scope(request),
        "name": query_text(request.query_params, "step_name"),
    }
    return json_answer(request, await _ask(gateway, "result.list", wanted))


@delete(
    ["/api/result/{execution_id:str}", "/api/temp/{execution_id:str}"],
    status_code=200,
    summary="Delete the stored results of an execution",
    tags=_TAGS,
    operation_class=documented(
        None,
        DeletedResults,
        query={"scope": (str, "of one scope only; `execution` if absent")},
        errors=_WRONG_SCOPE,
    ),
)
async def delete_results(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Delete the results of one scope."""
    wanted = {"execution_id": path_id(execution_id), "scope": _scope(request) or "execution"}
    return json_answer(request, await _ask(gateway, "result.delete", wanted))


@delete(
    [
        "/api/result/{execution_id:str}/step/{step_name:str}",
        "/api/temp/{execution_id:str}/step/{step_name:str}",
    ],
    status_code=200,
    summary="Delete the stored results of a step",
    tags=_TAGS,
    operation_class=documented(None, DeletedResults),
)
async def delete_step_results(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str], step_name: FromPath[str]
) -> Response[bytes]:
    """Delete the results of one step, whatever their scope."""
    wanted = {
        "execution_id": path_id(execution_id, index=0),
        "name": path_text(request, step_name, name="step_name"),
    }
    return json_answer(request, await _ask(gateway, "result.delete", wanted))


@get(
    ["/api/result/stats", "/api/temp/stats"],
    summary="Say how much is stored where",
    tags=_TAGS,
    operation_class=documented(None, ResultStats),
)
async def result_stats(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Add up what all shards keep."""
    sums: dict[str, Object] = {}
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


async def _ask(gateway: Gateway, operation: str, wanted: Object) -> Any:
    asked = {name: value for name, value in wanted.items() if value is not None}
    execution_id = wanted["execution_id"]
    return body_of(await gateway.services.projector(operation, asked, execution_id=execution_id))


def _scope(request: AnyRequest) -> str | None:
    scope = query_text(request.query_params, "scope")
    if scope is not None and scope not in _SCOPES:
        raise Refusal(400, f"scope must be one of: {', '.join(_SCOPES)}")
    return scope
