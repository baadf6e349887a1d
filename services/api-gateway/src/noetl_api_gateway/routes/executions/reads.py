"""Reads of executions: lists, details, status, events."""

from datetime import datetime

from litestar import Response, get
from litestar.params import FromPath
from litestar.types import ASGIApp
from noetl_contract.http.executions.reads import (
    CancellationCheck,
    EventsAnswer,
    ExecutionDetail,
    ExecutionEntry,
    ExecutionStatusAnswer,
)
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import projector

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import path_id, query_flag, query_int, query_text
from noetl_api_gateway.http.openapi import StreamedEvent, documented
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.http.shell import is_browser_like
from noetl_api_gateway.routes.executions.event_stream import EventStream, read_cursor
from noetl_api_gateway.routes.forwarding import Forward, Query, described, forwarding, query_fields
from noetl_api_gateway.upstream.services import body_of

_UNKNOWN = {404: "Execution not found: 325077236512452608"}
_BAD_PAGE = "page_size must be between 10 and 2000, got 5"
_EVENT_QUERY = {
    "page": Query(int, "from 1"),
    "page_size": Query(int, "10 to 2000, 100 if absent"),
    "since_event_id": Query(int, "only events after about this one"),
    "event_type": Query(str, "exact type"),
}
_DETAIL_QUERY = {**_EVENT_QUERY, "include_events": Query(bool, "whether events are wanted")}
_PAGING = ("page", "page_size", "since_event_id", "event_type", "include_events")


@get(
    "/api/executions",
    summary="List executions, newest first",
    tags=["executions"],
    operation_class=documented(
        None,
        list[ExecutionEntry],
        query={
            "catalog_id": (int, "of the playbook's version"),
            "path": (str, "part of the playbook's path, in any case"),
            "status": (str, "exact status"),
            "limit": (int, "at most 100, 50 if absent"),
            "offset": (int, "how many to leave out"),
        },
    ),
)
async def list_executions(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """List executions of all shards."""
    query = request.query_params
    limit = query_int(query, "limit", bits=32)
    offset = query_int(query, "offset", bits=32)
    wanted: JsonObject = {
        "catalog_id": query_int(query, "catalog_id"),
        "path": query_text(query, "path"),
        "status": query_text(query, "status"),
        "limit": 50 if limit is None else min(limit, 100),
        "offset": offset or 0,
    }
    if wanted["limit"] <= 0 or wanted["offset"] < 0:
        return json_answer(request, [])
    return json_answer(request, await entries_of(gateway, wanted))


async def entries_of(gateway: Gateway, wanted: JsonObject) -> list[JsonObject]:
    """Return the entries of a page of the list, of all shards."""
    asked = {name: value for name, value in wanted.items() if value is not None}
    shards = gateway.services.shard_count
    if shards <= 1:
        found: list[JsonObject] = body_of(
            await gateway.services.projector("executions.list", asked)
        )
        return found
    return await _merged_list(gateway, asked, shards)


@get(
    "/api/executions/{execution_id:str}",
    summary="Read an execution with its events",
    tags=["executions"],
    operation_class=documented(
        None,
        ExecutionDetail,
        query=described(_DETAIL_QUERY),
        errors={**_UNKNOWN, 422: _BAD_PAGE},
    ),
)
async def execution_detail(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> Response[bytes]:
    """Read an execution; paged, newest event first, when a paging parameter is given."""
    wanted: JsonObject = {"execution_id": path_id(execution_id)}
    if any(name in request.query_params for name in _PAGING):
        wanted = _paged(wanted | query_fields(request, _EVENT_QUERY))
        wanted["include_events"] = query_flag(request.query_params, "include_events", default=True)
    return json_answer(request, await _read(gateway, "executions.get", wanted))


@get(
    "/api/executions/{execution_id:str}/events/stream",
    summary="Follow the events of an execution as they are committed",
    tags=["executions"],
    operation_class=documented(
        None,
        StreamedEvent,
        content_type="text/event-stream",
        query={
            "last_event_id": (int, "go on after this event; the header `Last-Event-ID` wins"),
            "since_event_id": (int, "the same"),
            "event_type": (str, "exact type; may be given several times"),
        },
        errors=_UNKNOWN,
    ),
)
async def execution_events_stream(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str]
) -> ASGIApp:
    """Replay the events that the client lacks, then follow live until the execution ends."""
    number = path_id(execution_id)
    stream = EventStream(
        gateway,
        execution_id=number,
        types=frozenset(request.query_params.getall("event_type", [])),
        has_text_ids=is_browser_like(request.scope),
    )
    await stream.open(read_cursor(request))
    return stream


async def _read(gateway: Gateway, operation: str, wanted: JsonObject) -> Json:
    reply = await gateway.services.projector(operation, wanted, execution_id=wanted["execution_id"])
    return body_of(reply)


async def _merged_list(gateway: Gateway, asked: JsonObject, shards: int) -> list[JsonObject]:
    """Cut a page out of the entries of all shards that could be on it."""
    reach = {**asked, "limit": asked["limit"] + asked["offset"], "offset": 0}
    found: list[JsonObject] = []
    for shard in range(shards):
        found += body_of(await gateway.services.projector("executions.list", reach, shard=shard))
    found.sort(key=_begin, reverse=True)
    return found[asked["offset"] : asked["offset"] + asked["limit"]]


def _begin(entry: JsonObject) -> tuple[datetime, int]:
    """Order by time; as texts, times with and without fractions of a second would be mixed up."""
    return datetime.fromisoformat(entry["started_at"]), int(entry["execution_id"])


def _paged(wanted: JsonObject) -> JsonObject:
    """Check page and size, and fill in defaults."""
    _check_range("page", wanted.get("page"), 1, 1_000_000)
    _check_range("page_size", wanted.get("page_size"), 10, 2000)
    return {
        "page": 1,
        "page_size": 100,
        "since_event_id": None,
        "event_type": None,
        **wanted,
    }


def _check_range(name: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise Refusal(422, f"{name} must be between {low} and {high}, got {value}")


_FORWARDED = forwarding(
    Forward(
        method="GET",
        path="/api/executions/{execution_id:str}/status",
        name="execution_status",
        operation=projector.EXECUTIONS_STATUS,
        answer=ExecutionStatusAnswer,
        summary="Read how an execution stands",
        description="Read status and progress.",
        tags=["executions"],
        shard_by="execution_id",
        errors=_UNKNOWN,
    ),
    Forward(
        method="GET",
        path="/api/executions/{execution_id:str}/cancellation-check",
        name="cancellation_check",
        operation=projector.EXECUTIONS_CANCELLED,
        answer=CancellationCheck,
        summary="Ask whether an execution was cancelled",
        description="Ask whether an execution was cancelled; an unknown one was not.",
        tags=["executions"],
        shard_by="execution_id",
    ),
    Forward(
        method="GET",
        path="/api/executions/{execution_id:str}/events",
        name="execution_events",
        operation=projector.EXECUTIONS_EVENTS,
        answer=EventsAnswer,
        summary="Page through the events of an execution, newest first",
        description="Read a page of events.",
        tags=["executions"],
        query=_EVENT_QUERY,
        prepare=_paged,
        shard_by="execution_id",
        errors={**_UNKNOWN, 422: _BAD_PAGE},
    ),
)

ROUTES = [list_executions, execution_detail, execution_events_stream, *_FORWARDED]
