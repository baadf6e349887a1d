"""Reads of executions: lists, details, status, events."""

from datetime import datetime

from litestar import Response
from litestar.params import FromPath
from litestar.types import ASGIApp
from noetl_contract.access.rights import Right
from noetl_contract.http.executions.reads import ExecutionEntry
from noetl_contract.http.executions.steps import StepState
from noetl_contract.rpc.projector import (
    EXECUTIONS_CANCELLED,
    EXECUTIONS_EVENTS,
    EXECUTIONS_GET,
    EXECUTIONS_LIST,
    EXECUTIONS_STATUS,
    EXECUTIONS_STEPS,
    DetailRequest,
    EventsPage,
    ExecutionName,
    ExecutionsPage,
    StepsPage,
)
from pydantic import BaseModel

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import path_id, query_flag, query_int, query_moment, query_text
from noetl_api_gateway.http.openapi import StreamedEvent
from noetl_api_gateway.http.refusals import Refusal, bad_query
from noetl_api_gateway.http.shell import is_browser, is_browser_like
from noetl_api_gateway.routes.beginnings import with_beginnings
from noetl_api_gateway.routes.executions.event_stream import EventStream, WantedOutput, read_cursor
from noetl_api_gateway.routes.forwarding import UNKNOWN_EXECUTION, Sent, Topic

TOPIC = Topic("executions")
_EVENT_QUERY = {
    "page": (int, "from 1, which smaller ones count as"),
    "page_size": (int, "1 to 2000, 100 if absent; others count as the nearest"),
    "since_event_id": (int, "only events after about this one"),
    "event_type": (str, "exact type"),
    "step": (str, "name of the step that the events are about"),
}
_PAGED_QUERY = {**_EVENT_QUERY, "include_events": (bool, "whether events are wanted")}
_DETAIL_QUERY = {
    **_PAGED_QUERY,
    "include": (str, "`context`: `command.issued` has its context, which is large"),
}
_STEP_QUERY = {
    "state": (str, f"only steps in this state: {', '.join(StepState)}"),
    "limit": (int, "at most 1000, 100 if absent"),
    "after": (int, "`next` of the page before"),
}


@TOPIC.route(
    "GET /api/executions",
    list[ExecutionEntry],
    needs=Right.EXECUTIONS_READ,
    summary="List executions, newest first",
    query={
        "catalog_id": (int, "of the playbook's version"),
        "path": (str, "part of the playbook's path, in any case"),
        "status": (str, "exact status"),
        "parent_execution_id": (int, "children of this execution"),
        "since": (str, "RFC 3339; begun then or later"),
        "until": (str, "RFC 3339; begun before then"),
        "soft_errors": (
            bool,
            "completed ones in which a step ended with an error, of the next 10,000 of a page",
        ),
        "limit": (int, "at most 100, 50 if absent; for web pages 1000 and 500"),
        "after": (int, "id of the last entry of the page before: only older ones follow"),
        "offset": (int, "how many to leave out; `after` is as quick anywhere in the list"),
    },
)
async def list_executions(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """List executions of all shards."""
    query = request.query_params
    # A page counts and filters what it has, and asks for no more.
    usual, most = (500, 1000) if is_browser(request.scope) else (50, 100)
    limit = query_int(query, "limit", bits=32)
    offset = query_int(query, "offset", bits=32)
    page = ExecutionsPage(
        catalog_id=query_int(query, "catalog_id"),
        path=query_text(query, "path"),
        status=query_text(query, "status"),
        parent_execution_id=query_int(query, "parent_execution_id"),
        after=query_int(query, "after"),
        since=query_moment(query_text(query, "since") or None, "since"),
        until=query_moment(query_text(query, "until") or None, "until"),
        soft_errors=query_flag(query, "soft_errors") or False,
        limit=usual if limit is None else min(limit, most),
        offset=offset or 0,
    )
    if page.limit <= 0 or page.offset < 0:
        return json_answer(request, [])
    if gateway.services.shard_count > 1:
        return json_answer(request, await entries_of(gateway, page))
    return json_answer(request, await gateway.services.forward(EXECUTIONS_LIST, page))


async def entries_of(gateway: Gateway, page: ExecutionsPage) -> list[ExecutionEntry]:
    """Return a page of the list, cut out of the entries of all shards that could be on it."""
    if gateway.services.shard_count == 1:
        return await gateway.services.ask(EXECUTIONS_LIST, page)
    end = page.offset + page.limit
    begin = None if page.after is None else await _begin_of(gateway, page.after)
    reach = page.model_copy(update={"limit": end, "offset": 0, "after_started_at": begin})
    shards = await gateway.services.ask_all(EXECUTIONS_LIST, reach)
    found = sorted((one for shard in shards for one in shard), key=_begin, reverse=True)
    return found[page.offset : end]


async def _begin_of(gateway: Gateway, execution_id: int) -> datetime | None:
    """Return when an execution began, which only its shard knows; None if it is gone."""
    asked = DetailRequest(execution_id=execution_id, page=1, page_size=1, include_events=False)
    try:
        detail = await gateway.services.ask(EXECUTIONS_GET, asked, execution_id=execution_id)
    except Refusal as refusal:
        if refusal.status != 404:
            raise
        return None
    return datetime.fromisoformat(detail.started_at)


def _begin(entry: ExecutionEntry) -> tuple[datetime, int]:
    """Order by time; as texts, times with and without fractions of a second would be mixed up."""
    return datetime.fromisoformat(entry.started_at), int(entry.execution_id)


@TOPIC.route(
    "GET /api/executions/{execution_id:str}/events/stream",
    StreamedEvent,
    needs=Right.EXECUTIONS_READ,
    summary="Follow the events of an execution as they are committed",
    content_type="text/event-stream",
    query={
        "last_event_id": (int, "go on after this event; the header `Last-Event-ID` wins"),
        "since_event_id": (int, "the same"),
        "event_type": (str, "exact type; may be given several times"),
        "output": (
            str,
            "`1`: also lines that steps print, in messages `output`; `only`: these alone",
        ),
    },
    errors=UNKNOWN_EXECUTION,
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
        output=_wanted_output(request),
    )
    await stream.open(read_cursor(request))
    return stream


def _wanted_output(request: AnyRequest) -> WantedOutput:
    match query_text(request.query_params, "output") or "0":
        case "0" | "false":
            return "none"
        case "1" | "true":
            return "too"
        case "only":
            return "only"
        case other:
            raise bad_query(f"output: '{other[:50]}' is none of 0, 1, only")


def _detail(sent: Sent[BaseModel]) -> DetailRequest:
    """Ask with the contexts of commands when they are included."""
    request = _detail_page(sent)
    if "context" in sent.text("include", "").split(","):
        return request.model_copy(update={"has_command_contexts": True})
    return request


def _detail_page(sent: Sent[BaseModel]) -> DetailRequest:
    """Ask for a page, newest event first, when a parameter of paging is given."""
    query = sent.request.query_params  # made anew each time
    if not any(name in query for name in _PAGED_QUERY):
        return DetailRequest(execution_id=sent.id())
    page = _page(sent)
    return DetailRequest(
        execution_id=page.execution_id,
        page=page.page,
        page_size=page.page_size,
        since_event_id=page.since_event_id,
        event_type=page.event_type,
        step=page.step,
        include_events=sent.flag("include_events", default=True),
    )


def _page(sent: Sent[BaseModel]) -> EventsPage:
    return EventsPage(
        execution_id=sent.id(),
        page=_clamped(sent.number("page", 1), 1_000_000),
        page_size=_clamped(sent.number("page_size", 100), 2000),
        since_event_id=sent.number("since_event_id"),
        event_type=sent.text("event_type"),
        step=sent.text("step"),
    )


def _steps(sent: Sent[BaseModel]) -> StepsPage:
    wanted = sent.text("state")
    if wanted is not None and wanted not in set(StepState):
        raise bad_query(f"state: '{wanted[:50]}' is none of {', '.join(StepState)}")
    return StepsPage(
        execution_id=sent.id(),
        state=None if wanted is None else StepState(wanted),
        limit=_clamped(sent.number("limit", 100), 1000),
        after=sent.number("after", 0),
    )


def _clamped(value: int, most: int) -> int:
    return min(max(value, 1), most)


TOPIC.forward(
    "GET /api/executions/{execution_id:str}",
    EXECUTIONS_GET,
    _detail,
    name="execution_detail",
    needs=Right.EXECUTIONS_READ,
    summary="Read an execution with its events",
    description="Read an execution; paged, newest event first, when a paging parameter is given.",
    query=_DETAIL_QUERY,
    errors=UNKNOWN_EXECUTION,
    for_pages=with_beginnings,
)
TOPIC.forward(
    "GET /api/executions/{execution_id:str}/status",
    EXECUTIONS_STATUS,
    lambda sent: ExecutionName(execution_id=sent.id()),
    name="execution_status",
    needs=Right.EXECUTIONS_READ,
    summary="Read how an execution stands",
    errors=UNKNOWN_EXECUTION,
)
TOPIC.forward(
    "GET /api/executions/{execution_id:str}/steps",
    EXECUTIONS_STEPS,
    _steps,
    name="execution_steps",
    needs=Right.EXECUTIONS_READ,
    summary="List the steps of an execution with their states, times and iterations",
    description="List steps in the order in which they began, each once, however often it ran"
    " and whatever the number of its iterations.",
    query=_STEP_QUERY,
    errors=UNKNOWN_EXECUTION,
)
TOPIC.forward(
    "GET /api/executions/{execution_id:str}/cancellation-check",
    EXECUTIONS_CANCELLED,
    lambda sent: ExecutionName(execution_id=sent.id()),
    name="cancellation_check",
    needs=Right.EXECUTIONS_READ,
    summary="Ask whether an execution was cancelled",
)
TOPIC.forward(
    "GET /api/executions/{execution_id:str}/events",
    EXECUTIONS_EVENTS,
    _page,
    name="execution_events",
    needs=Right.EXECUTIONS_READ,
    summary="Page through the events of an execution, newest first",
    query=_EVENT_QUERY,
    errors=UNKNOWN_EXECUTION,
    for_pages=with_beginnings,
)
