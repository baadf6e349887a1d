"""`GET /api/executions/{id}/why`."""

from litestar import Response
from litestar.params import FromPath
from noetl_contract.access.rights import Right
from noetl_contract.events import ExecutionStatus
from noetl_contract.http.executions.why import OpenJoin, WhyAnswer
from noetl_contract.http.workers.runtimes import RuntimePoolsQuery
from noetl_contract.rpc.catalog import PAUSE_LIST, RUNTIME_POOLS
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.orchestrator import JOINS, JoinsQuery
from noetl_contract.rpc.projector import ExecutionName
from noetl_contract.rpc.triage import EXECUTIONS_WHY

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import path_id
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.executions.repair.reasons import reasons_for, workers_of
from noetl_api_gateway.routes.forwarding import UNKNOWN_EXECUTION, Topic
from noetl_api_gateway.upstream.services import Services

TOPIC = Topic("executions", errors=UNKNOWN_EXECUTION)
_JOINS_WITHIN_SECONDS = 2.0


@TOPIC.route(
    "GET /api/executions/{execution_id:str}/why",
    WhyAnswer,
    needs=Right.EXECUTIONS_READ,
    summary="Ask what an execution waits for, since when, and who could help",
)
async def why(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Read its open commands, timers, children and outbox rows, and who is registered."""
    return json_answer(request, await answer_of(gateway.services, path_id(execution_id)))


async def answer_of(services: Services, number: int) -> WhyAnswer:
    """Return what an execution waits for.

    Raises:
        Refusal: 404, there is none.
    """
    work = await services.ask(
        EXECUTIONS_WHY, ExecutionName(execution_id=number), execution_id=number
    )
    runtimes = []
    if work.commands:
        runtimes = await services.ask(RUNTIME_POOLS, RuntimePoolsQuery())
    has_pending = any(command.status == "PENDING" for command in work.commands)
    pauses = (await services.ask(PAUSE_LIST, Nothing())).pauses if has_pending else []
    joins = await _joins(services, number) if work.status == ExecutionStatus.RUNNING else []
    workers = workers_of(runtimes)
    pools = {command.pool for command in work.commands}
    return WhyAnswer(
        execution_id=str(number),
        status=work.status,
        reasons=reasons_for(work, workers, pauses=pauses, joins=joins),
        workers=[one for one in workers if one.pool in pools],
        open_commands=work.command_count,
        running_children=work.child_count,
    )


async def _joins(services: Services, execution_id: int) -> list[OpenJoin]:
    """Ask for the joins that wait; if no answer comes in time, return none."""
    query = JoinsQuery(execution_id=execution_id)
    try:
        found = await services.ask(
            JOINS, query, execution_id=execution_id, within=_JOINS_WITHIN_SECONDS
        )
    except Refusal:
        return []
    return found.joins
