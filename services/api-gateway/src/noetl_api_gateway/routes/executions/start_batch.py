"""`POST /api/execute/batch`: many starts, one answer."""

import asyncio
from collections import Counter

from litestar import Response
from noetl_common.errors import NoetlError
from noetl_contract.access.rights import Right
from noetl_contract.http.executions.start import (
    BatchResult,
    ExecuteBatchAnswer,
    ExecuteBatchRequest,
    ExecuteRequest,
)

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import idempotency_key
from noetl_api_gateway.http.rate_guard import charge
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.metrics import EXECUTE_BATCH_SIZE, EXECUTE_OUTCOMES
from noetl_api_gateway.routes.executions.start import (
    begin,
    entry_of,
    outcome_of,
)
from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("executions")
_AT_ONCE = 16
_PREFIXES = {
    400: "Bad request",
    404: "Resource not found",
    409: "Conflict",
    422: "Validation error",
    503: "NATS error",
}


@TOPIC.route(
    "POST /api/execute/batch",
    ExecuteBatchAnswer,
    body=ExecuteBatchRequest,
    needs=Right.EXECUTIONS_START,
    summary="Start many executions",
    errors={422: "execute batch requires a non-empty 'executions' array"},
)
async def execute_batch(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Start each execution by itself; a refused one does not stop the others."""
    starts = (await read_body(request, ExecuteBatchRequest)).executions
    charge(request, "starts", len(starts))
    EXECUTE_BATCH_SIZE.observe(len(starts))
    results = await _started(gateway, starts, key=idempotency_key(request))
    counts = Counter(result.status for result in results)
    answer = ExecuteBatchAnswer(
        count=len(results),
        started=counts["started"],
        duplicates=counts["duplicate"],
        failed=counts["error"],
        results=results,
    )
    return json_answer(request, answer)


async def _started(
    gateway: Gateway, starts: list[ExecuteRequest], *, key: str | None
) -> list[BatchResult]:
    """Start side by side, but those of one dedup key one after the other: the first one counts."""
    places = asyncio.Semaphore(_AT_ONCE)
    results: dict[int, BatchResult] = {}
    lines: dict[object, list[int]] = {}
    for index, wanted in enumerate(starts):
        dedup = wanted.dedup
        name = index if dedup is None else (wanted.parent_execution_id, dedup.key)
        lines.setdefault(name, []).append(index)

    async def run(line: list[int]) -> None:
        for index in line:
            async with places:
                item_key = None if key is None else f"{key}:{index}"
                results[index] = await _start(gateway, starts[index], index=index, key=item_key)

    async with asyncio.TaskGroup() as tasks:
        for line in lines.values():
            tasks.create_task(run(line))
    return [results[index] for index in range(len(starts))]


async def _start(
    gateway: Gateway, wanted: ExecuteRequest, *, index: int, key: str | None
) -> BatchResult:
    try:
        entry_of(wanted)
        answer = await begin(gateway, wanted, key=key, call=None)
    except Refusal as refusal:
        return _failed(index, refusal.status, refusal.text)
    except NoetlError as error:
        return _failed(index, error.http_status, error.message)
    EXECUTE_OUTCOMES.labels("batch", outcome_of(answer)).inc()
    return BatchResult(
        index=index,
        status=answer.status,
        execution_id=answer.execution_id,
        commands_generated=answer.commands_generated,
    )


def _failed(index: int, status: int, text: str) -> BatchResult:
    EXECUTE_OUTCOMES.labels("batch", "error").inc()
    prefix = _PREFIXES.get(status, "Internal error")
    return BatchResult(index=index, status="error", commands_generated=0, error=f"{prefix}: {text}")
