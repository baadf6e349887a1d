"""Traces at the edge: the caller's context, the span of a request.

Spans are named after routes: paths and queries may hold what opens something.
"""

from collections.abc import Mapping
from typing import Any

from noetl_common.telemetry.carrier import carried, carry, read_context
from noetl_common.telemetry.span import Span
from noetl_common.telemetry.tracing import tracing
from noetl_contract.ingress import ExecuteMessage, WriteMessage

_UNTRACED = frozenset(
    {"/metrics", "/health", "/api/health", "/api/worker/pool/heartbeat", "/api/pool/status"}
)
"""Paths that machines poll; traced only below a caller's span."""


def carry_callers(headers: Mapping[bytes, bytes]) -> None:
    """Continue the trace of a caller; a malformed context is ignored."""
    said = {
        name: headers[name.encode()].decode("latin-1").strip()
        for name in ("traceparent", "tracestate")
        if name.encode() in headers
    }
    context = read_context(said)
    if context is not None:
        carry(context)


def request_span(scope: Mapping[str, Any]) -> Span | None:
    """Open the span of a request; None while tracing is off."""
    recorder = tracing()
    if recorder is None:
        return None
    callers = carried()
    if callers is None and scope["path"] in _UNTRACED:
        return None
    span = recorder.begin(
        scope["method"], None if callers is None else callers.context, kind="server"
    )
    carry(span.context, is_continued=callers is not None)
    return span


def end_request_span(span: Span, method: str, route: str, status: int) -> None:
    """End the span of a request, with its route for a name."""
    span.rename(f"{method} {route}")
    span.add_attributes(
        {"http.request.method": method, "http.route": route, "http.response.status_code": status}
    )
    span.end(error=str(status) if status >= 500 or not status else None)


def with_trace(message: WriteMessage) -> WriteMessage:
    """Return a start that goes on with the trace of its request; other messages as they are.

    A trace that the request's body names wins. A parent's trace wins over a trace that begins here.
    """
    known = carried()
    if known is None or not isinstance(message, ExecuteMessage) or message.trace is not None:
        return message
    if message.parent_execution_id is not None and not known.is_continued:
        return message
    return message.but(trace=dict(known.context))
