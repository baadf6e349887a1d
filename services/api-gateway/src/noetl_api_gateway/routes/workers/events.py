"""`POST /api/events` and `/api/events/batch` (http-b 3): what workers report.

The busiest routes of the edge, so no models here: fields are taken from the decoded body and put
into the ingress message as they are.
"""

from time import perf_counter
from typing import Any

import orjson
from litestar import Response, post
from noetl_contract.events import status_from_type
from noetl_contract.http.events import (
    EventAnswer,
    EventBatchAnswer,
    EventBatchRequest,
    EventRequest,
)
from noetl_contract.rpc import RpcReply

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest, read_json
from noetl_api_gateway.http.fields import (
    MISSING,
    aliased,
    flag,
    idempotency_key,
    is_i64,
    missing,
    parse_i64,
    require,
    require_object,
    text,
    text_or_none,
    time_or_none,
    wrong_type,
)
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.metrics import event_label, event_metrics
from noetl_api_gateway.upstream.services import body_of

type Json = Any
type Object = dict[str, Any]


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
    source = require_object(await read_json(request), name="EventRequest")
    event = read_event(source)
    label = event_label(event["event_type"])
    outcome = "error"
    try:
        # Of the right shape, but no id: refused by the route and so counted (http-b 3.1).
        execution_id = read_execution_id(source["execution_id"])
        event_id = _read_event_id(source.get("event_id"))
        event["event_id"] = gateway.ids.next() if event_id is None else event_id
        message = {
            "type": "events",
            "v": 1,
            "execution_id": execution_id,
            "events": [event],
            "batch": False,
            "worker_id": event["worker_id"],
        }
        body = body_of(await _written(gateway, message, execution_id=execution_id))
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
    source = require_object(await read_json(request), name="EventBatchRequest")
    raw_execution_id = require(source, "execution_id")
    worker_id = text_or_none(source, "worker_id")
    items = require(source, "events")
    if not isinstance(items, list):
        raise wrong_type(items, expected="a sequence", path="events")
    events = [read_batch_event(item, index=i) for i, item in enumerate(items)]
    check_id_shape(raw_execution_id, "execution_id")
    if not events:
        return json_answer(request, {"status": "ok", "event_ids": [], "commands_generated": 0})
    execution_id = read_execution_id(raw_execution_id)
    for event in events:
        event["event_id"] = gateway.ids.next()
        event["worker_id"] = worker_id
    message = {
        "type": "events",
        "v": 1,
        "execution_id": execution_id,
        "events": events,
        "batch": True,
        "worker_id": worker_id,
        "idempotency_key": idempotency_key(request),
    }
    return json_answer(
        request, body_of(await _written(gateway, message, execution_id=execution_id))
    )


async def _written(gateway: Gateway, message: Object, *, execution_id: int) -> RpcReply:
    """Write events to an execution's log, or to one that no playbook wrote (a subscription's)."""
    reply = await gateway.writer.deliver(
        orjson.dumps(message),
        execution_id=execution_id,
        seconds=gateway.settings.event_patience_seconds,
    )
    if reply.status != 404:
        return reply
    return await gateway.services.orchestrator("log.post", message, execution_id=execution_id)


def read_event(source: Object) -> Object:
    """Return an event in the shape of the ingress message, still without its id.

    Raises:
        Refusal: 422 with the contract's text.
    """
    check_id_shape(require(source, "execution_id"), "execution_id")
    if source.get("event_id") is not None:
        check_id_shape(source["event_id"], "event_id")
    event_type = _event_type(source)
    context = aliased(source, "payload", "context")
    event = {
        "event_type": event_type,
        "step": text(source, "step"),
        "status": text_or_none(source, "status"),
        "context": None if context is MISSING else context,
        "meta": source.get("meta"),
        "worker_id": text_or_none(source, "worker_id"),
        "result_kind": text(source, "result_kind", default="data"),
        "result_uri": text_or_none(source, "result_uri"),
        "event_ids": _id_list(source.get("event_ids")),
        "actionable": flag(source, "actionable", default=True),
        "informative": flag(source, "informative", default=True),
        "created_at": time_or_none(source, "created_at"),
    }
    if event["status"] is None:
        event["status"] = status_from_type(event_type)
    return event


def read_batch_event(item: Json, *, index: int) -> Object:
    """Return an item of a batch; ids, times, status and meta of the client are not read."""
    path = f"events[{index}]"
    source = require_object(item, name="BatchEventItem", path=path)
    event_type = _event_type(source, path=path)
    context = aliased(source, "payload", "context")
    return {
        "event_type": event_type,
        "step": text(source, "step", path=path),
        "status": status_from_type(event_type),
        "context": None if context is MISSING else context,
        "actionable": flag(source, "actionable", default=False, path=path),
        "informative": flag(source, "informative", default=True, path=path),
    }


def check_id_shape(value: Json, name: str) -> None:
    """Refuse what is neither a string nor an integer."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise wrong_type(value, expected="a string or integer", path=name)


def read_execution_id(value: int | str) -> int:
    """Return the id of an execution.

    Raises:
        Refusal: 422 `Invalid execution_id`.
    """
    number = parse_i64(value) if isinstance(value, str) else value
    if number is None or not is_i64(number):
        raise Refusal(422, "Invalid execution_id")
    return number


def _read_event_id(value: int | str | None) -> int | None:
    if value is None:
        return None
    number = parse_i64(value) if isinstance(value, str) else value
    if number is None or not is_i64(number):
        raise Refusal(422, f"Invalid event_id: {str(value)[:200]}")
    return number


def _event_type(source: Object, *, path: str = "") -> str:
    name = "event_type" if "event_type" in source else "name"
    if name not in source:
        raise missing("event_type", path=path)
    return text(source, name, path=path)


def _id_list(value: Json) -> list[int] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise wrong_type(value, expected="a sequence", path="event_ids")
    for index, item in enumerate(value):
        if not is_i64(item):
            raise wrong_type(item, expected="i64", path=f"event_ids[{index}]")
    return value
