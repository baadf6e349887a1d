"""The table from errors to response bodies."""

from collections.abc import Mapping
from typing import Any

import orjson
from litestar import Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap
from noetl_common.errors import NoetlError, Transient
from noetl_common.logging import get_logger
from noetl_contract.json import Json

from noetl_api_gateway.http.bodies import AnyRequest, ClientGoneError
from noetl_api_gateway.http.refusals import RETRY_AFTER, Refusal, body_too_large, busy
from noetl_api_gateway.intake.bodies import BodiesFullError
from noetl_api_gateway.metrics import REFUSED

_log = get_logger()


def error_answer(
    status: int,
    text: str,
    *,
    detail: Json = None,
    headers: Mapping[str, str] | None = None,
    hint: str | None = None,
) -> Response[bytes]:
    """Build the body that every refused request gets."""
    body = {"error": text, "status": status, "detail": text if detail is None else detail}
    if hint is not None:
        body["hint"] = hint
    return Response(
        orjson.dumps(body, default=str),
        status_code=status,
        media_type="application/json",
        headers=dict(headers or {}),
    )


def on_refusal(_request: AnyRequest, error: Refusal) -> Response[bytes]:
    """Answer a refusal of the edge or of a service behind it.

    UIs show `detail`, so it repeats the text; only workers read more of it, at a claim that
    comes too late. A playbook that can't be read comes with a `hint`: what exactly is wrong.
    """
    detail = error.detail if error.status == 409 else None
    hint = error.detail.get("hint") if isinstance(error.detail, dict) else None
    return error_answer(error.status, error.text, detail=detail, headers=error.headers, hint=hint)


def on_our_error(_request: AnyRequest, error: NoetlError) -> Response[bytes]:
    """Answer one of our errors with its status; transient ones with `Retry-After`."""
    is_transient = isinstance(error, Transient)
    headers = {RETRY_AFTER: "1"} if is_transient else {}
    if error.http_status >= 500 and not is_transient:
        _log.error("request_failed", code=error.code, error=error.message)
    return error_answer(error.http_status, error.message, headers=headers)


def on_http_error(_request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """Answer a refusal of the framework: unknown path, wrong method, oversized body."""
    if error.status_code == 413:
        return on_refusal(_request, body_too_large())
    if error.status_code == 405:
        return error_answer(405, "Method Not Allowed", headers=_allow(error.headers))
    text = "Not Found" if error.status_code == 404 else error.detail
    return error_answer(error.status_code, text)


def on_client_gone(_request: AnyRequest, _error: ClientGoneError) -> Response[bytes]:
    """Answer a client that left before its request was complete; nothing arrives there."""
    return error_answer(400, "The request was not sent completely")


def on_full_bodies(request: AnyRequest, _error: BodiesFullError) -> Response[bytes]:
    """Answer a large body for which there is no memory now."""
    REFUSED.labels("bodies").inc()
    return on_refusal(request, busy("Too many large request bodies are being received"))


def on_anything_else(request: AnyRequest, error: Exception) -> Response[bytes]:
    """Answer a defect of the edge, whose cause is only in the log."""
    _log.error("request_failed", path=request.scope.get("path_template"), exc_info=error)
    return error_answer(500, "Internal server error")


EXCEPTIONS: ExceptionHandlersMap = {
    Refusal: on_refusal,
    NoetlError: on_our_error,
    ClientGoneError: on_client_gone,
    BodiesFullError: on_full_bodies,
    HTTPException: on_http_error,
    Exception: on_anything_else,
}


def refused_answer(request: AnyRequest, error: Exception) -> Response[Any]:
    """Return the answer to an error, for routes that bypass the framework's router."""
    return next(EXCEPTIONS[kind] for kind in type(error).__mro__ if kind in EXCEPTIONS)(
        request, error
    )


def _allow(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Name the allowed methods as the contract does: no `OPTIONS`, GET implies HEAD."""
    listed = (headers or {}).get("allow", "")
    methods = [word.strip() for word in listed.split(",") if word.strip() not in {"", "OPTIONS"}]
    if "GET" in methods:
        methods.insert(methods.index("GET") + 1, "HEAD")
    return {"allow": ",".join(methods)}
