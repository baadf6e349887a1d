"""`POST /api/executions/{id}/rerun` (http-b 2.5)."""

from typing import Any

from litestar import Response, post
from litestar.params import FromPath
from noetl_contract.http.execute import ExecuteAnswer, RerunRequest

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest, decode, read_bytes
from noetl_api_gateway.http.fields import idempotency_key, path_id, require_object, wrong_type
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.metrics import EXECUTE_OUTCOMES
from noetl_api_gateway.routes.executions.start import begin, outcome_of
from noetl_api_gateway.upstream.services import body_of

type Object = dict[str, Any]


@post(
    "/api/executions/{execution_id:str}/rerun",
    status_code=200,
    summary="Start an execution once more",
    tags=["executions"],
    operation_class=documented(
        RerunRequest,
        ExecuteAnswer,
        errors={404: "Execution not found: 325077236512452608"},
        is_body_required=False,
    ),
)
async def rerun(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Start the same version with the stored workload; keys of the request lie over it."""
    number = path_id(execution_id)
    changes = _workload(await read_bytes(request))
    reply = await gateway.services.projector(
        "executions.origin", {"execution_id": number}, execution_id=number
    )
    origin = body_of(reply)
    stored = origin["workload"] if isinstance(origin["workload"], dict) else {}
    wanted: Object = {
        "look_up": {"catalog_id": origin["catalog_id"]},
        "problem": None,
        "payload": {**stored, **changes},
        "parent_execution_id": None,
        "execution_pool": None,
        "trace": None,
    }
    # Not a child of the command that may have called: it is started anew each time.
    body = body_of(await begin(gateway, wanted, key=idempotency_key(request), call=None))
    EXECUTE_OUTCOMES.labels("single", outcome_of(body)).inc()
    return json_answer(request, body)


def _workload(content: bytes) -> Object:
    """Return what the request lays over the workload; a body is not needed."""
    if not content or content.isspace():
        return {}
    source = require_object(decode(content), name="RerunRequest")
    workload = source.get("workload")
    if workload is None:
        return {}
    if not isinstance(workload, dict):
        raise wrong_type(workload, expected="a map", path="workload")
    return workload
