"""`POST /api/executions/{id}/restart`."""

from litestar import Response
from litestar.params import FromPath
from noetl_contract.access.rights import Right
from noetl_contract.http.executions.start import ExecuteRequest, RestartAnswer, RestartRequest
from noetl_contract.ingress import Restart
from noetl_contract.rpc.catalog import RESOLVE, EntryName
from noetl_contract.rpc.projector import EXECUTIONS_ORIGIN, ExecutionName

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest, decode, read_bytes
from noetl_api_gateway.http.decoding import validated
from noetl_api_gateway.http.fields import idempotency_key, path_id
from noetl_api_gateway.metrics import EXECUTE_OUTCOMES
from noetl_api_gateway.routes.executions.start import begin, entry_of, outcome_of
from noetl_api_gateway.routes.forwarding import UNKNOWN_EXECUTION, Topic

TOPIC = Topic("executions", errors=UNKNOWN_EXECUTION)


@TOPIC.route(
    "POST /api/executions/{execution_id:str}/restart",
    RestartAnswer,
    body=RestartRequest,
    is_body_required=False,
    needs=Right.EXECUTIONS_RERUN,
    summary="Go on from where an execution has ended",
    errors={
        409: "Execution 325077236512452608 still runs: cancel it first",
        422: "The playbook has no step 'nothing' to restart from",
    },
)
async def restart(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Start a new execution that has what the old one has done, and runs the rest."""
    number = path_id(execution_id)
    content = await read_bytes(request)
    wanted = validated(RestartRequest, decode(content) if content.strip() else {})
    answer = await begin_restart(gateway, number, wanted, key=idempotency_key(request))
    return json_answer(request, answer)


async def begin_restart(
    gateway: Gateway, execution_id: int, wanted: RestartRequest, *, key: str | None
) -> RestartAnswer:
    """Start an execution that goes on from another one, on its shard.

    Raises:
        Refusal: nothing was started, or it is not known whether.
    """
    origin = await gateway.services.ask(
        EXECUTIONS_ORIGIN, ExecutionName(execution_id=execution_id), execution_id=execution_id
    )
    start = ExecuteRequest(catalog_id=origin.catalog_id, execution_pool=origin.execution_pool)
    if wanted.version is not None:
        found = await gateway.services.ask(RESOLVE, EntryName(catalog_id=origin.catalog_id))
        start = ExecuteRequest(
            path=found.path, version=wanted.version, execution_pool=origin.execution_pool
        )
        entry_of(start)
    answer = await begin(
        gateway,
        start,
        # Not a key of starts: the same one may have begun what failed.
        key=None if key is None else f"restart:{execution_id}:{key}",
        call=None,
        restart=Restart(
            execution_id=execution_id,
            from_step=wanted.from_step,
            iterations=wanted.iteration,
            input=wanted.input,
        ),
    )
    EXECUTE_OUTCOMES.labels("single", outcome_of(answer)).inc()
    return RestartAnswer(
        execution_id=answer.execution_id,
        status=answer.status,
        commands_generated=answer.commands_generated,
        origin_execution_id=str(execution_id),
    )
