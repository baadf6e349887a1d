"""`/api/result/*`: large results."""

from time import perf_counter

from litestar import Response
from litestar.params import FromPath
from noetl_contract.access.rights import Right
from noetl_contract.http.executions.results import ResultPutAnswer, ResultPutRequest, StoredResult
from noetl_contract.http.scalars import parse_i64
from noetl_contract.json import Json, parse
from noetl_contract.rpc.projector import (
    RESULT_GET,
    RESULT_RESOLVE,
    NamedResult,
    ResultPut,
    ResultRef,
)

from noetl_api_gateway.access.gatekeeper import reach_execution
from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body_around
from noetl_api_gateway.http.fields import path_id, path_text, query_flag, query_text
from noetl_api_gateway.http.refusals import Refusal, bad_query
from noetl_api_gateway.metrics import (
    RESULT_PUT_DURATION,
    RESULT_PUTS,
    RESULT_RESOLVE_DURATION,
    RESULT_RESOLVES,
)
from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("results")
_SCHEME = "noetl://"
_OUTCOMES = {400: "bad_request", 404: "not_found"}


@TOPIC.route(
    "PUT /api/result/{execution_id:str}",
    ResultPutAnswer,
    body=ResultPutRequest,
    also="/api/temp/{execution_id:str}",
    needs=Right.RESULTS_WRITE,
    bodies="result",
    summary="Keep a large result",
)
async def put_result(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Keep a result; each call keeps another one."""
    number = path_id(execution_id)
    sent = await read_body_around(request, ResultPutRequest, "data")
    wanted = ResultPut(
        execution_id=number,
        # Minted here, so that a repeated request keeps one result (W13).
        result_id=gateway.ids.next(),
        name=sent.name,
        data=sent.data,
        scope=sent.scope,
        source_step=sent.source_step,
    )
    started = perf_counter()
    outcome = "error"
    try:
        body = await gateway.services.store_result(wanted)
        outcome = "ok"
    finally:
        RESULT_PUTS.labels(outcome).inc()
        RESULT_PUT_DURATION.labels(outcome).observe(perf_counter() - started)
    return json_answer(request, body)


@TOPIC.route(
    "GET /api/result/resolve",
    Json,
    also="/api/temp/resolve",
    needs=Right.RESULTS_RESOLVE,
    summary="Read a result by its URI",
    query={"ref": (str, "`noetl://execution/<id>/result/<name>/<id>`")},
    errors={404: "result not found"},
)
async def resolve_result(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Read the stored value itself."""
    uri = query_text(request.query_params, "ref")
    if uri is None:
        raise bad_query("missing field `ref`")
    started = perf_counter()
    outcome = "error"
    try:
        execution_id = execution_of(uri)
        await reach_execution(request, execution_id, Right.RESULTS_RESOLVE)
        body = await gateway.services.forward(
            RESULT_RESOLVE, ResultRef(ref=uri), execution_id=execution_id, within="results"
        )
        outcome = "ok"
    except Refusal as refusal:
        outcome = _OUTCOMES.get(refusal.status, "error")
        raise
    finally:
        RESULT_RESOLVES.labels(outcome).inc()
        RESULT_RESOLVE_DURATION.labels(outcome).observe(perf_counter() - started)
    # As it was stored: ids inside belong to the playbook and stay numbers for browsers too.
    return Response(body, media_type="application/json")


@TOPIC.route(
    "GET /api/result/{execution_id:str}/{name:str}",
    StoredResult,
    also="/api/temp/{execution_id:str}/{name:str}",
    needs=Right.RESULTS_RESOLVE,
    summary="Read the newest result of a name",
    query={"resolve": (bool, "false leaves out the data")},
    errors={404: "result not found"},
)
async def get_result(
    request: AnyRequest,
    gateway: OpenGateway,
    execution_id: FromPath[str],
    name: FromPath[str],
) -> Response[bytes]:
    """Read the newest result of a name; with `resolve=false` without its data."""
    number = path_id(execution_id, index=0)
    named = path_text(request, name, name="name")
    is_whole = query_flag(request.query_params, "resolve")
    body = await gateway.services.forward(
        RESULT_GET,
        NamedResult(execution_id=number, name=named),
        execution_id=number,
        within="results",
    )
    if is_whole is not False:
        return json_answer(request, body)
    return json_answer(request, {k: value for k, value in parse(body).items() if k != "data"})


def execution_of(uri: str) -> int:
    """Return the execution that a result URI names.

    Raises:
        Refusal: 400 with the contract's text.
    """
    shown = f'"{uri[:200]}"'
    if not uri.startswith(_SCHEME):
        raise Refusal(400, f"URI must start with '{_SCHEME}', got: {shown}")
    parts = uri.removeprefix(_SCHEME).split("/")
    if len(parts) < 5:
        text_ = f"URI must have 5 path segments after '{_SCHEME}', got {len(parts)}: {shown}"
        raise Refusal(400, text_)
    if parts[0] != "execution" or parts[2] != "result":
        raise Refusal(400, f"URI must be noetl://execution/<id>/result/<name>/<id>, got: {shown}")
    execution_id, result_id = parse_i64(parts[1]), parse_i64(parts[-1])
    if execution_id is None or result_id is None or not "/".join(parts[3:-1]):
        raise Refusal(400, f"URI must name an execution and a result by number, got: {shown}")
    return execution_id
