"""`POST /api/events` and `/api/events/batch`: reports of workers, the busiest routes."""

from time import perf_counter

from litestar import Response, post
from noetl_contract.events import status_from_type
from noetl_contract.http.executions.events import (
    BatchEvent,
    EventAnswer,
    EventBatchAnswer,
    EventBatchRequest,
    EventRequest,
)
from noetl_contract.http.scalars import is_i64, parse_i64
from noetl_contract.ingress import EventsMessage, WireEvent
from noetl_contract.rpc import RpcReply

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import idempotency_key
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.metrics import event_label, event_metrics
from noetl_api_gateway.upstream.services import body_of
from noetl_api_gateway.upstream.writes import encode_message


@post(
    "/api/events",
    status_code=200,
    summary="Report an event",
    tags=["events"],
    operation_class=documented(
        EventRequest,
        EventAnswer,
        errors={
            404: "Execution not found: 325077236512452608",
            409: "Command already claimed by w-1",
            422: "Invalid execution_id",
        },
    ),
)
async def post_event(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Publish one event and answer after its commit."""
    started = perf_counter()
    wanted = await read_body(request, EventRequest, unique_keys=False)
    label = event_label(wanted.event_type)
    outcome = "error"
    try:
        # Of the right shape, but no id: refused by the route and so counted.
        execution_id = _execution_id(wanted.execution_id)
        event_id = _event_id(wanted.event_id)
        event = _single(wanted, event_id=gateway.ids.next() if event_id is None else event_id)
        message = EventsMessage(
            execution_id=execution_id, events=[event], worker_id=wanted.worker_id
        )
        body = body_of(await _written(gateway, message))
        outcome = "ok"
    finally:
        ingested, duration = event_metrics(label, outcome)
        ingested.inc()
        duration.observe(perf_counter() - started)
    return json_answer(request, body)


@post(
    "/api/events/batch",
    status_code=200,
    summary="Report several events of one execution",
    tags=["events"],
    operation_class=documented(
        EventBatchRequest,
        EventBatchAnswer,
        errors={
            404: "Execution not found: 325077236512452608",
            422: "Invalid execution_id",
        },
    ),
)
async def post_events(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Publish a batch; it is written together or not at all."""
    wanted = await read_body(request, EventBatchRequest, unique_keys=False)
    if not wanted.events:
        return json_answer(request, {"status": "ok", "event_ids": [], "commands_generated": 0})
    message = EventsMessage(
        execution_id=_execution_id(wanted.execution_id),
        events=[
            _batched(item, event_id=gateway.ids.next(), worker_id=wanted.worker_id)
            for item in wanted.events
        ],
        batch=True,
        worker_id=wanted.worker_id,
        idempotency_key=idempotency_key(request),
    )
    return json_answer(request, body_of(await _written(gateway, message)))


async def _written(gateway: Gateway, message: EventsMessage) -> RpcReply:
    """Write events to the log of an execution, or of a subscription."""
    seconds = gateway.settings.event_patience_seconds
    reply = await gateway.writer.deliver(message, seconds=seconds)
    if reply.status != 404:
        return reply
    return await gateway.services.orchestrator(
        "log.post", encode_message(message), execution_id=message.execution_id
    )


def _single(wanted: EventRequest, *, event_id: int) -> WireEvent:
    status = wanted.status
    return WireEvent(
        event_type=wanted.event_type,
        step=wanted.step,
        event_id=event_id,
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


def _batched(item: BatchEvent, *, event_id: int, worker_id: str | None) -> WireEvent:
    """Return an item of a batch; ids, times, status and meta of the client are not read."""
    return WireEvent(
        event_type=item.event_type,
        step=item.step,
        event_id=event_id,
        status=status_from_type(item.event_type),
        context=item.context,
        worker_id=worker_id,
        actionable=item.actionable,
        informative=item.informative,
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


ROUTES = [post_event, post_events]
