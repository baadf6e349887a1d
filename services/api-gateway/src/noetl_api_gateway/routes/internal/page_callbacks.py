"""`POST /api/internal/callback/async` and its like: what playbooks post for a page (P5)."""

import re

from litestar import Response
from noetl_contract.access.rights import Right
from noetl_contract.http.system.page_callbacks import (
    AsyncCallbackAnswer,
    AsyncCallbackRequest,
    LoginCallbackAnswer,
    LoginCallbackRequest,
    ProgressAnswer,
    ProgressRequest,
)
from noetl_contract.pages import CLIENT_ID, PageError, PageRequest, PageResult

from noetl_api_gateway.access.gatekeeper import gatekeeper_of, principal_of
from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.http.token_guard import page_callback_guard, shown_capability
from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("internal", guards=[page_callback_guard])
_ID = re.compile(CLIENT_ID, re.ASCII)
_UNKNOWN = "Request not found"
_ERRORS = {403: "The login is that of another execution or request", 404: _UNKNOWN}
_FAILED = frozenset({"FAILED", "ERROR"})


@TOPIC.route(
    "POST /api/internal/callback/async",
    AsyncCallbackAnswer,
    body=AsyncCallbackRequest,
    needs=Right.INTERNAL_CALLBACK,
    summary="Give a page the result of its request",
    errors=_ERRORS,
    others={202: AsyncCallbackAnswer},
)
async def page_callback(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Store the first result of a request; 202 if the page will get it after a reconnect."""
    sent = await read_body(request, AsyncCallbackRequest)
    wanted = await _request_of(request, gateway, sent.request_id)
    is_delivered = await gateway.pages.end(wanted, _result_of(sent, wanted))
    if is_delivered:
        return json_answer(request, AsyncCallbackAnswer(status="delivered"))
    queued = AsyncCallbackAnswer(status="queued", clientDisconnected=True)
    return json_answer(request, queued, status=202)


@TOPIC.route(
    "POST /api/internal/progress",
    ProgressAnswer,
    body=ProgressRequest,
    needs=Right.INTERNAL_CALLBACK,
    summary="Tell a page how far its request is",
    errors=_ERRORS,
)
async def page_progress(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Send `playbook/progress` to the page if it is open, without storing it."""
    sent = await read_body(request, ProgressRequest)
    wanted = await _request_of(request, gateway, sent.request_id)
    await gateway.pages.tell(
        wanted,
        {
            "requestId": wanted.request_id,
            "executionId": str(wanted.execution_id),
            "step": sent.step,
            "message": sent.message,
            "progress": sent.progress,
        },
    )
    return json_answer(request, ProgressAnswer(status="sent"))


@TOPIC.route(
    "POST /api/internal/callback",
    LoginCallbackAnswer,
    body=LoginCallbackRequest,
    needs=Right.INTERNAL_CALLBACK,
    summary="End a login that waits for a playbook",
)
async def login_callback(request: AnyRequest) -> Response[bytes]:
    """Answer that no login waits: this server makes none."""
    await read_body(request, LoginCallbackRequest)
    text = "No login waits here: this server logs nobody in"
    return json_answer(request, LoginCallbackAnswer(delivered=False, message=text))


async def _request_of(request: AnyRequest, gateway: Gateway, request_id: str) -> PageRequest:
    """Return the request that a body names.

    Raises:
        Refusal: 404, there is none; 403, it is another one than the login is for.
    """
    # It becomes a part of a pattern.
    found = await gateway.pages.find(request_id) if _ID.fullmatch(request_id) else None
    if found is None:
        raise Refusal(404, _UNKNOWN)
    shown = principal_of(request) or shown_capability(request)
    own = getattr(shown, "execution_id", None), getattr(shown, "request_id", None)
    if own[0] not in {None, found.execution_id} or own[1] not in {None, found.request_id}:
        gatekeeper = gatekeeper_of(request)
        if gatekeeper is not None:
            gatekeeper.refused(request, Right.INTERNAL_CALLBACK, "forbidden")
        raise Refusal(403, _ERRORS[403])
    return found


def _result_of(sent: AsyncCallbackRequest, wanted: PageRequest) -> PageResult:
    """Return a result in its stored form; a failure without an error gets one."""
    number = str(wanted.execution_id)
    error = None if sent.error is None else PageError(**sent.error.model_dump())
    if error is None and sent.status.upper() in _FAILED:
        error = PageError(message=f"Execution {number} has failed", data=sent.data)
    return PageResult(
        request_id=wanted.request_id,
        execution_id=number,
        status=sent.status,
        data=None if error is not None else sent.data,
        error=error,
    )
