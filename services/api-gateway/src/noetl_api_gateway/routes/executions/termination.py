"""Requests that change an execution from outside: cancel, finalize, cleanup, pause, resume."""

import asyncio

from litestar import Response
from litestar.params import FromPath
from noetl_bus.writes.exchange import NoAnswer, WriteTimeout
from noetl_contract.access.rights import Right
from noetl_contract.http.executions.reads import (
    CancelAnswer,
    CancelRequest,
    CleanupAnswer,
    CleanupRequest,
    FinalizeAnswer,
    FinalizeRequest,
    PauseAnswer,
    PauseRequest,
)
from noetl_contract.ingress import (
    CancelMessage,
    FinalizeMessage,
    PauseMessage,
    ResumeMessage,
    kind_of,
)
from noetl_contract.rpc.projector import EXECUTIONS_STUCK, StuckRequest

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import (
    AnyRequest,
    decode,
    read_bytes,
    read_json_if_any,
)
from noetl_api_gateway.http.decoding import read_body, validated
from noetl_api_gateway.http.fields import path_id
from noetl_api_gateway.http.refusals import Refusal, unavailable
from noetl_api_gateway.http.shell import is_browser
from noetl_api_gateway.routes.executions.ownership import actor
from noetl_api_gateway.routes.forwarding import UNKNOWN_EXECUTION, Needs, Topic

TOPIC = Topic("executions")
_WORDS = {
    "cancel": "cancellation",
    "finalize": "finalization",
    "pause": "pause",
    "resume": "resume",
}
_STUCK_MINUTES = 5
_CANCELS_AT_ONCE = 16


@TOPIC.route(
    "POST /api/executions/{execution_id:str}/cancel",
    CancelAnswer,
    body=CancelRequest,
    is_body_required=False,
    also="/api/executions/{execution_id:str}/stop",
    needs=Right.EXECUTIONS_CANCEL,
    summary="Cancel an execution",
    errors={
        **UNKNOWN_EXECUTION,
        422: "Cannot cancel execution in COMPLETED state",
    },
)
async def cancel(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Cancel an execution; the body is read if there is one."""
    number = path_id(execution_id)
    body = await read_json_if_any(request)
    sent = validated(CancelRequest, body if isinstance(body, dict) else {})
    message = CancelMessage(
        execution_id=number, reason=sent.reason, cascade=sent.cascade, actor=actor()
    )
    return json_answer(request, await _ended(gateway, message))


@TOPIC.route(
    "POST /api/executions/{execution_id:str}/finalize",
    FinalizeAnswer,
    body=FinalizeRequest,
    needs=Right.EXECUTIONS_FINALIZE,
    summary="End an execution with a given status",
    errors={
        **UNKNOWN_EXECUTION,
        422: "Invalid finalization status: DONE",
    },
)
async def finalize(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """End an execution; a finished one stays as it is."""
    number = path_id(execution_id)
    sent = await read_body(request, FinalizeRequest)
    message = FinalizeMessage(
        execution_id=number, status=sent.status, error=sent.error, actor=actor()
    )
    return json_answer(request, await _ended(gateway, message))


@TOPIC.route(
    "POST /api/executions/cleanup",
    CleanupAnswer,
    body=CleanupRequest,
    is_body_required=False,
    needs=Needs(Right.EXECUTIONS_CLEANUP, is_whole=True),
    summary="Cancel executions that run for too long",
    errors={422: "older_than_minutes must be at least 1, got 0"},
)
async def cleanup(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Cancel executions that run for too long; with `dry_run` only name them."""
    content = await read_bytes(request)
    sent = validated(CleanupRequest, decode(content) if content.strip() else {})
    minutes = _STUCK_MINUTES if sent.older_than_minutes is None else sent.older_than_minutes
    if minutes < 1:
        raise Refusal(422, f"older_than_minutes must be at least 1, got {minutes}")
    found = await _stuck(gateway, minutes=minutes)
    age = f"older than {minutes} minutes"
    if sent.dry_run:
        message = f"[DRY RUN] Would cancel {len(found)} stuck executions {age}"
    else:
        found = await _cancelled(gateway, found, reason=f"Running for more than {minutes} minutes")
        message = f"Successfully cancelled {len(found)} stuck executions {age}"
    if not found:
        message = f"No stuck executions found {age}"
    # The CLI lists integers only, also when it comes through a gateway.
    shown = [str(one) for one in found] if is_browser(request.scope) else found
    return json_answer(
        request, {"cancelled_count": len(found), "execution_ids": shown, "message": message}
    )


@TOPIC.route(
    "POST /api/executions/{execution_id:str}/pause",
    PauseAnswer,
    body=PauseRequest,
    is_body_required=False,
    needs=Right.EXECUTIONS_CANCEL,
    summary="Pause an execution",
    errors={
        **UNKNOWN_EXECUTION,
        422: "Cannot pause execution in COMPLETED state",
    },
)
async def pause(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Let an execution issue no new command; what runs goes on, and so do its deadlines."""
    number = path_id(execution_id)
    sent = await _reason(request)
    message = PauseMessage(execution_id=number, reason=sent.reason, actor=actor())
    return json_answer(request, await _ended(gateway, message))


@TOPIC.route(
    "POST /api/executions/{execution_id:str}/resume",
    PauseAnswer,
    body=PauseRequest,
    is_body_required=False,
    needs=Right.EXECUTIONS_CANCEL,
    summary="Resume a paused execution",
    errors={
        **UNKNOWN_EXECUTION,
        422: "Cannot resume execution in COMPLETED state",
    },
)
async def resume(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Let a paused execution issue what was withheld."""
    number = path_id(execution_id)
    sent = await _reason(request)
    message = ResumeMessage(execution_id=number, reason=sent.reason, actor=actor())
    return json_answer(request, await _ended(gateway, message))


async def _reason(request: AnyRequest) -> PauseRequest:
    body = await read_json_if_any(request)
    return validated(PauseRequest, body if isinstance(body, dict) else {})


async def _ended(
    gateway: Gateway, message: CancelMessage | FinalizeMessage | PauseMessage | ResumeMessage
) -> bytes:
    """Publish a message about an execution and wait for its commit."""
    wait = WriteTimeout(seconds=gateway.settings.event_patience_seconds)
    try:
        return await gateway.writer.send(message, wait=wait)
    except NoAnswer as error:
        raise unavailable(f"The {_WORDS[kind_of(message)]} was not committed in time") from error


async def _stuck(gateway: Gateway, *, minutes: int) -> list[int]:
    """Find executions of all shards that run for too long, the oldest first."""
    limit = gateway.settings.cleanup_max_executions
    wanted = StuckRequest(older_than_minutes=minutes, limit=limit)
    shards = await gateway.services.ask_all(EXECUTIONS_STUCK, wanted)
    return sorted(one for shard in shards for one in shard.execution_ids)[:limit]


async def _cancelled(gateway: Gateway, found: list[int], *, reason: str) -> list[int]:
    """Cancel executions side by side; those that ended meanwhile are left out."""
    places = asyncio.Semaphore(_CANCELS_AT_ONCE)

    async def cancel_one(execution_id: int) -> int | None:
        message = CancelMessage(execution_id=execution_id, reason=reason, actor=actor())
        try:
            async with places:
                await _ended(gateway, message)
        except Refusal as refusal:
            if refusal.status not in {404, 422}:
                raise
            return None
        return execution_id

    ends = await asyncio.gather(*(cancel_one(one) for one in found))
    return [one for one in ends if one is not None]
