"""Bodies of answers: compact JSON, ids in the form that the client can read."""

import re

from litestar import Response
from noetl_contract.events import EventType
from noetl_contract.json import Json, JsonObject, parse
from noetl_contract.rpc.operation import encode_value
from pydantic import BaseModel

from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.shell import is_browser, is_browser_like

_TEXT_IDS = frozenset(
    {
        "execution_id",
        "catalog_id",
        "parent_execution_id",
        "parent_event_id",
        "runtime_id",
        "audit_id",
    }
)
_FREE = frozenset(
    {
        "workload",
        "result",
        "context",
        "meta",
        "data",
        "payload",
        "layout",
        "labels",
        "capabilities",
        "runtime",
        "content",
        "var_value",
        "default",
        "options",
        "attributes",
        "reference",
        "directives",
    }
)
"""Keys of free JSON of playbooks and workers; an `execution_id` in there stays as it is."""

_EXITED = re.compile(r"\A\w+ script exited with code -?[0-9]+: ")
_EXACT = 2**53 - 1
"""The largest integer that a web page reads exactly."""


def json_answer(request: AnyRequest, body: Json, *, status: int = 200) -> Response[bytes]:
    """Encode a body, JSON or a model, for the client of this request; bytes are JSON already."""
    if isinstance(body, bytes):
        if not is_browser_like(request.scope):
            return Response(body, status_code=status, media_type="application/json")
        body = parse(body)
    if is_browser_like(request.scope):
        body = with_text_ids(body)
        if is_browser(request.scope):
            body = for_pages(body)
    return plain_answer(body, status)


def plain_answer(body: Json, status: int = 200) -> Response[bytes]:
    """Encode a body whose ids stay as they are, for browsers too."""
    return Response(encode_value(body), status_code=status, media_type="application/json")


def with_text_ids(body: Json) -> Json:
    """Return the body with integer ids of executions and their like as decimal strings."""
    match body:
        case dict():
            return {key: _shown(key, value) for key, value in body.items()}
        case list():
            return [with_text_ids(item) for item in body]
        case BaseModel():
            return with_text_ids(body.model_dump(exclude_unset=True))
        case _:
            return body


def for_pages(body: Json, *, is_free: bool = False) -> Json:
    """Return a body for web pages, which round large integers.

    A page rounds those beyond 2^53, so that several events would have one id: an event's id is the
    position in the log there, and the true one is the text `id`. Other such integers are texts.
    Free JSON of playbooks and workers has no events of ours. A duration below a second is spelt
    in milliseconds, a call lasts as long as its tool says, and a missing error is filled in from
    the event's result or the first soft error.
    """
    match body:
        case dict():
            shown = {
                key: for_pages(value, is_free=is_free or key in _FREE)
                for key, value in body.items()
            }
            return shown if is_free else shown | _for_page(body)
        case list():
            return [for_pages(item, is_free=is_free) for item in body]
        case int() if not -_EXACT <= body <= _EXACT:
            return str(body)
        case BaseModel():
            return for_pages(body.model_dump(exclude_unset=True))
        case _:
            return body


def _for_page(body: JsonObject) -> JsonObject:
    """Return the fields of an object of ours that a page reads in another form."""
    fields: JsonObject = {}
    if "position" in body and isinstance(body.get("event_id"), int):
        fields |= {"event_id": body["position"], "id": str(body["event_id"])}
    seconds = body.get("duration_seconds")
    if "duration_human" in body and isinstance(seconds, int | float) and seconds < 1:
        fields["duration_human"] = f"{round(seconds * 1000)}ms"
    if body.get("event_type") == EventType.CALL_DONE and body.get("duration", 0) is None:
        fields["duration"] = _seconds_of(body.get("result"))
    if body.get("error", "") is None:
        fields["error"] = _error_of(body)
    return fields


def result_of_tool(result: Json) -> JsonObject:
    """Return the tool's answer inside of an event's result; empty if there is none."""
    context = result.get("context") if isinstance(result, dict) else None
    inner = context.get("result") if isinstance(context, dict) else None
    return inner if isinstance(inner, dict) else {}


def _seconds_of(result: Json) -> float | None:
    """Return the duration of a call as its tool has measured it; None if it hasn't."""
    context = result_of_tool(result).get("context")
    took = context.get("duration_ms") if isinstance(context, dict) else None
    if isinstance(took, bool) or not isinstance(took, int | float):
        return None
    return took / 1000


def _error_of(body: JsonObject) -> str | None:
    """Return the error in an event's result, or the first soft error of an execution."""
    soft, count = body.get("soft_error"), body.get("soft_errors")
    if isinstance(soft, dict) and isinstance(count, int) and count > 0:
        steps = "1 step" if count == 1 else f"{count} steps"
        message = _EXITED.sub("", str(soft.get("message", "")))
        return f"{steps} ended with an error: {soft.get('step')}: {message}"
    result = body.get("result") if "position" in body else None
    for place in (result, result_of_tool(result)):
        context = place.get("context") if isinstance(place, dict) else None
        error = context.get("error") if isinstance(context, dict) else None
        if isinstance(error, str):
            return error
    return None


def _shown(key: str, value: Json) -> Json:
    if key in _TEXT_IDS:
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        return str(value) if is_integer else value
    return value if key in _FREE else with_text_ids(value)
