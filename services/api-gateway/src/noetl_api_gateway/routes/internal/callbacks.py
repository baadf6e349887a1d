"""`POST /api/internal/container-callback/{execution_id}/{step}`."""

import hashlib
from datetime import UTC, datetime

from litestar import Response
from litestar.params import FromPath
from noetl_contract.access.rights import Right
from noetl_contract.http.executions.events import EventAnswer
from noetl_contract.http.scalars import parse_i64
from noetl_contract.http.system.internal import CallbackAnswer, CallbackRequest
from noetl_contract.ingress import EventsMessage, WireEvent
from noetl_contract.json import JsonObject

from noetl_api_gateway.access.gatekeeper import own_command
from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import path_text
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.http.token_guard import WRONG_TOKEN, callback_guard
from noetl_api_gateway.metrics import CALLBACKS, STALE_CALLBACKS
from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("internal", guards=[callback_guard], errors=WRONG_TOKEN)

# Sent by our workers; others leave them out, and so does the event then.
_MORE = {"command_id", "started_at", "duration_ms", "logs", "logs_truncated", "error"}


@TOPIC.route(
    "POST /api/internal/container-callback/{execution_id:str}/{step:str}",
    CallbackAnswer,
    body=CallbackRequest,
    needs=Right.INTERNAL_CALLBACK,
    summary="Say how a container job has ended",
    status=202,
    errors={
        422: "container-callback: step path param is empty",
    },
)
async def container_callback(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str], step: FromPath[str]
) -> Response[bytes]:
    """End the step that waits for the job; a repeated callback is answered like the first."""
    step = path_text(request, step, name="step")
    sent = await read_body(request, CallbackRequest)
    state = sent.state
    number = parse_i64(execution_id)
    if number is None:
        shown = execution_id[:100]
        text_ = f"container-callback: execution_id '{shown}' is not parseable as i64"
        raise Refusal(422, text_)
    if not step.strip():
        raise Refusal(422, "container-callback: step path param is empty")
    _refuse_another_command(request, sent)
    status = "COMPLETED" if state == "succeeded" else "FAILED"
    event = WireEvent(
        event_type="call.done",
        step=step,
        event_id=gateway.ids.next(),
        status=status,
        context=_context(sent),
        meta={"node_type": "container"},
    )
    message = EventsMessage(
        execution_id=number, events=[event], idempotency_key=_key(step, sent.job_name, state)
    )
    seconds = gateway.settings.event_patience_seconds
    try:
        body = await gateway.writer.deliver(message, seconds=seconds)
    except Refusal as refusal:
        if refusal.status != 404:
            raise
        STALE_CALLBACKS.labels(state).inc()
        return json_answer(request, CallbackAnswer(status="accepted_stale"), status=202)
    CALLBACKS.labels(state).inc()
    written = EventAnswer.model_validate_json(body)
    answer = CallbackAnswer(status="accepted_in_flight", event_id=str(written.event_id))
    return json_answer(request, answer, status=202)


def _context(sent: CallbackRequest) -> JsonObject:
    """Return the event's result of the step, or a description of the job.

    Unknown fields of that are null. A result of a status alone stands for a result that could not
    be stored; the error beside it says why.
    """
    if sent.result is not None:
        context = {"command_id": sent.command_id, "call_index": 0, "result": sent.result}
        is_lost = sent.error is not None and sent.result.keys() == {"status"}
        return context | {"error": sent.error} if is_lost else context
    completed_at = (sent.completed_at or datetime.now(UTC)).isoformat()
    more = sent.model_dump(include=_MORE, exclude_none=True, mode="json")
    return {
        "terminal_state": sent.state,
        "job_name": sent.job_name,
        "job_uid": sent.job_uid,
        "completed_at": completed_at.replace("+00:00", "Z"),
        "exit_code": sent.exit_code,
        "reason": sent.reason,
        "stdout_uri": sent.stdout_uri,
        "stderr_uri": sent.stderr_uri,
        **more,
    }


def _refuse_another_command(request: AnyRequest, sent: CallbackRequest) -> None:
    """Let the login of a command end that command alone; it has to name it.

    Raises:
        Refusal: 403, it is that of another one.
    """
    number = parse_i64((sent.command_id or "").rpartition(":")[2])
    own_command(request, number or 0, Right.INTERNAL_CALLBACK)


def _key(step: str, job_name: str, state: str) -> str:
    """Return the idempotency key; a digest replaces long names, as the key has to fit an index."""
    key = f"callback:{step}:{job_name}:{state}"
    if len(key) <= 400:
        return key
    return f"callback:{hashlib.sha256(key.encode()).hexdigest()}"
