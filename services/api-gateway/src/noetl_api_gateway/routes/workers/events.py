"""`POST /api/events` and `/api/events/batch`: reports of workers, the busiest routes."""

from collections.abc import Callable
from time import perf_counter

from litestar import Response
from noetl_contract.access.rights import Right
from noetl_contract.events import status_from_type
from noetl_contract.http.executions.events import (
    EventAnswer,
    EventBatchAnswer,
    EventBatchRequest,
    EventRequest,
)
from noetl_contract.http.scalars import is_i64, parse_i64
from noetl_contract.ingress import EventsMessage, WireEvent
from noetl_contract.rpc.orchestrator import LOG_POST

from noetl_api_gateway.access.reports import refuse_foreign
from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import idempotency_key
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.metrics import event_label, event_metrics
from noetl_api_gateway.routes.forwarding import UNKNOWN_EXECUTION, Topic

TOPIC = Topic("events", errors=UNKNOWN_EXECUTION)


@TOPIC.route(
    "POST /api/events",
    EventAnswer,
    body=EventRequest,
    needs=Right.EVENTS_POST,
    summary="Report an event",
    errors={
        409: "Command already claimed by w-1",
        422: "Invalid execution_id",
    },
)
async def post_event(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Publish one event and answer after its commit."""
    started = perf_counter()
    wanted = await read_body(request, EventRequest, unique_keys=False)
    label = event_label(wanted.event_type)
    outcome = "error"
    try:
        # Of the right shape, but no id: refused by the route and so counted.
        message = message_of(wanted, next_id=gateway.ids.next)
        await refuse_foreign(request, message)
        body = await _written(gateway, message)
        outcome = "ok"
    finally:
        ingested, duration = event_metrics(label, outcome)
        ingested.inc()
        duration.observe(perf_counter() - started)
    return json_answer(request, body)


@TOPIC.route(
    "POST /api/events/batch",
    EventBatchAnswer,
    body=EventBatchRequest,
    needs=Right.EVENTS_POST,
    summary="Report several events of one execution",
    errors={
        422: "Invalid execution_id",
    },
)
async def post_events(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Publish a batch; it is written together or not at all."""
    wanted = await read_body(request, EventBatchRequest, unique_keys=False)
    if not wanted.events:
        return json_answer(request, {"status": "ok", "event_ids": [], "commands_generated": 0})
    message = batch_of(wanted, next_id=gateway.ids.next, key=idempotency_key(request))
    await refuse_foreign(request, message)
    return json_answer(request, await _written(gateway, message))


async def _written(gateway: Gateway, message: EventsMessage) -> bytes:
    """Write events to the log of an execution, or of a subscription."""
    seconds = gateway.settings.event_patience_seconds
    try:
        return await gateway.writer.deliver(message, seconds=seconds)
    except Refusal as refusal:
        if refusal.status != 404:
            raise
    return await gateway.services.forward(LOG_POST, message, execution_id=message.execution_id)


def message_of(wanted: EventRequest, *, next_id: Callable[[], int]) -> EventsMessage:
    """Return the message of one event.

    It is built without a second validation: these are the busiest routes.

    Raises:
        Refusal: 422, an id is none.
    """
    execution_id = _execution_id(wanted.execution_id)
    event_id, status = _event_id(wanted.event_id), wanted.status
    event = WireEvent(
        event_type=wanted.event_type,
        step=wanted.step,
        event_id=next_id() if event_id is None else event_id,
        status=status_from_type(wanted.event_type) if status is None else status,
        context=wanted.context,
        meta=wanted.meta,
        worker_id=wanted.worker_id,
        result_kind=wanted.result_kind,
        result_uri=wanted.result_uri,
        event_ids=wanted.event_ids,
        actionable=wanted.actionable,
        informative=wanted.informative,
        created_at=wanted.created_at,
    )
    return EventsMessage(execution_id=execution_id, events=[event], worker_id=wanted.worker_id)


def batch_of(
    wanted: EventBatchRequest, *, next_id: Callable[[], int], key: str | None
) -> EventsMessage:
    """Return the message of a batch; ids, times, status and meta of the client are not read.

    Raises:
        Refusal: 422, the id of the execution is none.
    """
    return EventsMessage(
        execution_id=_execution_id(wanted.execution_id),
        events=[
            WireEvent(
                event_type=item.event_type,
                step=item.step,
                event_id=next_id(),
                status=status_from_type(item.event_type),
                context=item.context,
                worker_id=wanted.worker_id,
                actionable=item.actionable,
                informative=item.informative,
            )
            for item in wanted.events
        ],
        batch=True,
        worker_id=wanted.worker_id,
        idempotency_key=key,
    )


def _execution_id(value: int | str) -> int:
    """Return the id of an execution.

    Raises:
        Refusal: 422 `Invalid execution_id`.
    """
    number = parse_i64(value) if isinstance(value, str) else value
    if not is_i64(number):
        raise Refusal(422, "Invalid execution_id")
    return number


def _event_id(value: int | str | None) -> int | None:
    if value is None:
        return None
    number = parse_i64(value) if isinstance(value, str) else value
    if not is_i64(number):
        raise Refusal(422, f"Invalid event_id: {str(value)[:200]}")
    return number
