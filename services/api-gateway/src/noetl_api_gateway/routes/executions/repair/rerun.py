"""`POST /api/executions/{id}/rerun`."""

from litestar import Response
from litestar.params import FromPath
from noetl_contract.access.rights import Right
from noetl_contract.http.executions.start import ExecuteAnswer, ExecuteRequest, RerunRequest
from noetl_contract.rpc.projector import EXECUTIONS_ORIGIN, ExecutionName

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest, decode, read_bytes
from noetl_api_gateway.http.decoding import validated
from noetl_api_gateway.http.fields import idempotency_key, path_id
from noetl_api_gateway.http.shell import chosen_execution
from noetl_api_gateway.metrics import EXECUTE_OUTCOMES
from noetl_api_gateway.routes.executions.start import begin, outcome_of
from noetl_api_gateway.routes.forwarding import UNKNOWN_EXECUTION, Topic

TOPIC = Topic("executions", errors=UNKNOWN_EXECUTION)


@TOPIC.route(
    "POST /api/executions/{execution_id:str}/rerun",
    ExecuteAnswer,
    body=RerunRequest,
    is_body_required=False,
    needs=Right.EXECUTIONS_RERUN,
    summary="Start an execution once more",
)
async def rerun(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Start the same version with the stored workload; keys of the request lie over it."""
    number = path_id(execution_id)
    content = await read_bytes(request)
    changes = validated(RerunRequest, decode(content) if content.strip() else {}).workload or {}
    origin = await gateway.services.ask(
        EXECUTIONS_ORIGIN, ExecutionName(execution_id=number), execution_id=number
    )
    stored = origin.workload if isinstance(origin.workload, dict) else {}
    wanted = ExecuteRequest(catalog_id=origin.catalog_id, payload={**stored, **changes})
    # Not a child of the command that may have called: it is started anew each time.
    answer = await begin(
        gateway,
        wanted,
        key=idempotency_key(request),
        call=None,
        chosen=chosen_execution(request.scope),
    )
    EXECUTE_OUTCOMES.labels("single", outcome_of(answer)).inc()
    return json_answer(request, answer)
