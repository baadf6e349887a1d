"""`GET /api/replay/state`: the state of an execution up to any event."""

from typing import TYPE_CHECKING

from litestar import Response, get
from noetl_contract.http.executions.replay import ReplayAnswer
from noetl_contract.http.scalars import parse_moment

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import query_int, query_text
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal, bad_query
from noetl_api_gateway.upstream.services import body_of

if TYPE_CHECKING:
    from noetl_contract.json import JsonObject

_PROJECTIONS = ("execution", "stage", "frame", "command", "business_object", "loop", "all")
_MOST_EVENTS = 100_000
_DEFAULT_EVENTS = 10_000


@get(
    "/api/replay/state",
    summary="Fold the log of an execution up to an event",
    tags=["executions"],
    operation_class=documented(
        None,
        ReplayAnswer,
        query={
            "execution_id": (int, "whose log; required"),
            "as_of_event_id": (int, "fold up to this event, which is included"),
            "as_of_position": (int, "fold up to this position of the log, or event id"),
            "as_of_time": (str, "fold what was written up to this time (RFC 3339)"),
            "projection": (str, "echoed; every map is always filled"),
            "limit": (int, "events folded at most, up to 100000"),
            "tenant_id": (str, "echoed"),
            "organization_id": (str, "echoed"),
            "resolve_payloads": (bool, "without effect"),
        },
        errors={
            400: "Use only one replay cutoff: as_of_event_id, as_of_position, or as_of_time",
        },
    ),
)
async def replay_state(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Fold a log; one of three cutoffs may be named."""
    query = request.query_params
    execution_id = query_int(query, "execution_id")
    if execution_id is None:
        raise bad_query("missing field `execution_id`")
    event_id, position = query_int(query, "as_of_event_id"), query_int(query, "as_of_position")
    moment = query_text(query, "as_of_time")
    time = None if moment is None else parse_moment(moment)
    if moment is not None and time is None:
        raise bad_query("as_of_time: input contains invalid characters")
    limit = query_int(query, "limit")
    resolve = query_text(query, "resolve_payloads")
    if resolve not in {None, "true", "false"}:
        raise bad_query("resolve_payloads: provided string was not `true` or `false`")
    if sum(cut is not None for cut in (event_id, position, time)) > 1:
        raise Refusal(
            400, "Use only one replay cutoff: as_of_event_id, as_of_position, or as_of_time"
        )
    projection = query_text(query, "projection") or "all"
    if projection not in _PROJECTIONS:
        names = ", ".join(_PROJECTIONS)
        raise Refusal(400, f'unknown projection "{projection[:100]}"; expected one of: {names}')
    if position is not None and position >= _FIRST_EVENT_ID:
        event_id, position = position, None
    wanted: JsonObject = {
        "execution_id": execution_id,
        "tenant_id": query_text(query, "tenant_id") or "default",
        "organization_id": query_text(query, "organization_id") or "default",
        "projection": projection,
        "limit": _DEFAULT_EVENTS if limit is None else max(1, min(limit, _MOST_EVENTS)),
        "as_of_event_id": event_id,
        "as_of_position": position,
        "as_of_time": None if time is None else time.isoformat(),
    }
    reply = await gateway.services.projector("replay.state", wanted, execution_id=execution_id)
    return json_answer(request, body_of(reply))


_FIRST_EVENT_ID = 1 << 40
"""Above every position, below every id of the generators: the baseline takes ids for positions."""


ROUTES = [replay_state]
