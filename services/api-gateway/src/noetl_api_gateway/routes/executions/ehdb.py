"""`/api/ehdb/executions*`: the same reads under the names that `noetl ehdb query` asks for."""

from litestar import Response
from litestar.params import FromPath
from noetl_contract.access.rights import Right
from noetl_contract.http.executions.reads import (
    EhdbEvents,
    EhdbExecution,
    EhdbExecutionDetail,
    EhdbExecutions,
    EhdbState,
)
from noetl_contract.json import parse
from noetl_contract.rpc.projector import (
    EXECUTIONS_GET,
    EXECUTIONS_STATUS,
    EXECUTIONS_TAIL,
    DetailRequest,
    ExecutionName,
    ExecutionsPage,
    TailRequest,
)

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import path_id, query_int, query_text
from noetl_api_gateway.routes.executions.reads import entries_of
from noetl_api_gateway.routes.forwarding import UNKNOWN_EXECUTION, Topic

TOPIC = Topic("executions")
_MOST_EVENTS = 1000
_FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


@TOPIC.route(
    "GET /api/ehdb/executions",
    EhdbExecutions,
    needs=Right.EXECUTIONS_READ,
    summary="List executions in few words",
    query={
        "status": (str, "exact"),
        "limit": (int, "100 at most"),
        "offset": (int, "how many are passed over"),
    },
)
async def ehdb_executions(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """List executions, newest first."""
    query = request.query_params
    limit, offset = query_int(query, "limit", bits=32), query_int(query, "offset", bits=32)
    page = ExecutionsPage(
        status=query_text(query, "status"),
        limit=50 if limit is None else max(1, min(limit, 100)),
        offset=max(0, offset or 0),
    )
    executions = [
        EhdbExecution(
            execution_id=entry.execution_id,
            status=entry.status,
            path=entry.path,
            # The documents name `events`; the published client reads `event_count`.
            events=entry.event_count,
            event_count=entry.event_count,
            started_at=entry.started_at,
        )
        for entry in await entries_of(gateway, page)
    ]
    return json_answer(request, EhdbExecutions(executions=executions, count=len(executions)))


@TOPIC.route(
    "GET /api/ehdb/executions/{execution_id:str}",
    EhdbExecutionDetail,
    needs=Right.EXECUTIONS_READ,
    summary="Read an execution with its events",
    errors=UNKNOWN_EXECUTION,
)
async def ehdb_execution(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Read an execution as `/api/executions/{id}` shows it, and in few words for the client.

    The published client takes it for unknown without `exists`, and prints `state`.
    """
    number = path_id(execution_id)
    services = gateway.services
    body = await services.forward(
        EXECUTIONS_GET, DetailRequest(execution_id=number), execution_id=number
    )
    detail = EXECUTIONS_GET.decode_answer(body)
    status = await services.ask(
        EXECUTIONS_STATUS, ExecutionName(execution_id=number), execution_id=number
    )
    state = EhdbState(
        execution_id=detail.execution_id,
        status=detail.status,
        terminal=detail.status in _FINAL,
        current_node=status.current_step,
        path=detail.path,
        catalog_id=detail.catalog_id,
        parent_execution_id=detail.parent_execution_id,
        event_count=detail.pagination.total_events,
        started_at=detail.started_at,
        completed_at=detail.completed_at,
    )
    return json_answer(request, {**parse(body), "exists": True, "state": state})


@TOPIC.route(
    "GET /api/ehdb/executions/{execution_id:str}/events",
    EhdbEvents,
    needs=Right.EXECUTIONS_READ,
    summary="Read events of an execution in the order of its log",
    query={"limit": (int, "1000 at most"), "after": (int, "what follows this event")},
    errors=UNKNOWN_EXECUTION,
)
async def ehdb_events(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Read the events after an event, oldest first."""
    number = path_id(execution_id)
    query = request.query_params
    limit, after = query_int(query, "limit", bits=32), query_int(query, "after")
    wanted = TailRequest(
        execution_id=number,
        limit=100 if limit is None else max(1, min(limit, _MOST_EVENTS)),
        after_event_id=after,
    )
    page = await gateway.services.ask(EXECUTIONS_TAIL, wanted, execution_id=number)
    answer = EhdbEvents(execution_id=number, events=page.events, count=len(page.events))
    return json_answer(request, answer)
