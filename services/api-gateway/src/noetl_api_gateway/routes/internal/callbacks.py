"""`POST /api/internal/container-callback/{execution_id}/{step}` (http-b 10.8)."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import orjson
from litestar import Response, post
from litestar.params import FromPath
from noetl_contract.http.internal import CallbackAnswer, CallbackRequest

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest, read_json
from noetl_api_gateway.http.fields import (
    int_or_none,
    parse_i64,
    path_text,
    require_object,
    text,
    text_or_none,
    time_or_none,
)
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal, bad_shape
from noetl_api_gateway.http.token_guard import internal_token_guard
from noetl_api_gateway.metrics import CALLBACKS, STALE_CALLBACKS
from noetl_api_gateway.upstream.services import body_of

type Object = dict[str, Any]

_STATES = (
    "succeeded",
    "failed",
    "failed_image_pull",
    "failed_oom",
    "failed_node_lost",
    "failed_timeout",
)
_DETAILS = ("reason", "stdout_uri", "stderr_uri")


@post(
    "/api/internal/container-callback/{execution_id:str}/{step:str}",
    status_code=202,
    guards=[internal_token_guard],
    summary="Say how a container job has ended",
    tags=["internal"],
    operation_class=documented(
        CallbackRequest,
        CallbackAnswer,
        errors={
            403: "Invalid service-account token for /api/internal/*.",
            422: "container-callback: step path param is empty",
        },
        success=202,
    ),
)
async def container_callback(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str], step: FromPath[str]
) -> Response[bytes]:
    """End the step that waits for the job; the same news again is answered like the first time."""
    step = path_text(request, step, name="step")
    source = require_object(await read_json(request, unique_keys=True), name="ContainerCallback")
    context = _read(source)
    state = context["terminal_state"]
    number = parse_i64(execution_id)
    if number is None:
        shown = execution_id[:100]
        text_ = f"container-callback: execution_id '{shown}' is not parseable as i64"
        raise Refusal(422, text_)
    if not step.strip():
        raise Refusal(422, "container-callback: step path param is empty")
    status = "COMPLETED" if state == "succeeded" else "FAILED"
    event = {
        "event_type": "call.done",
        "step": step,
        "event_id": gateway.ids.next(),
        "status": status,
        "context": context,
        "meta": {"node_type": "container"},
    }
    message = {
        "type": "events",
        "v": 1,
        "execution_id": number,
        "events": [event],
        "batch": False,
        "idempotency_key": _key(step, context["job_name"], state),
    }
    reply = await gateway.writer.deliver(
        orjson.dumps(message),
        execution_id=number,
        seconds=gateway.settings.event_patience_seconds,
    )
    if reply.status == 404:
        STALE_CALLBACKS.labels(state).inc()
        return json_answer(request, {"status": "accepted_stale"}, status=202)
    body = body_of(reply)
    CALLBACKS.labels(state).inc()
    answer = {"status": "accepted_in_flight", "event_id": str(body["event_id"])}
    return json_answer(request, answer, status=202)


def _read(source: Object) -> Object:
    """Return what the event tells of the job; what is not known stays null."""
    state = text(source, "state")
    if state not in _STATES:
        names = ", ".join(f"`{name}`" for name in _STATES)
        raise bad_shape(f"state: unknown variant `{state[:100]}`, expected one of {names}")
    job_name, job_uid = text(source, "job_name"), text_or_none(source, "job_uid")
    details = {name: text_or_none(source, name) for name in _DETAILS}
    exit_code = int_or_none(source, "exit_code", bits=32)
    completed_at = time_or_none(source, "completed_at") or datetime.now(UTC).isoformat()
    return {
        "terminal_state": state,
        "job_name": job_name,
        "job_uid": job_uid,
        "completed_at": completed_at.replace("+00:00", "Z"),
        "exit_code": exit_code,
        **details,
    }


def _key(step: str, job_name: str, state: str) -> str:
    """Name the news; a digest stands for long names, as the key has to fit an index."""
    key = f"callback:{step}:{job_name}:{state}"
    if len(key) <= 400:
        return key
    return f"callback:{hashlib.sha256(key.encode()).hexdigest()}"
