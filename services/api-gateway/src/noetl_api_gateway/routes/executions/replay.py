"""`GET /api/replay/state`: the state of an execution up to any event."""

from noetl_contract.access.rights import Right
from noetl_contract.http.scalars import parse_moment
from noetl_contract.rpc.projector import REPLAY_STATE, ReplayRequest
from pydantic import BaseModel

from noetl_api_gateway.http.fields import query_text
from noetl_api_gateway.http.refusals import Refusal, bad_query
from noetl_api_gateway.routes.forwarding import Sent, Topic

TOPIC = Topic("executions")
_PROJECTIONS = ("execution", "stage", "frame", "command", "business_object", "loop", "all")
_MOST_EVENTS = 100_000
_DEFAULT_EVENTS = 10_000
_FIRST_EVENT_ID = 1 << 40
"""Above every position, below every id of the generators: the baseline takes ids for positions."""
_CUTOFFS = "Use only one replay cutoff: as_of_event_id, as_of_position, or as_of_time"


def _replay(sent: Sent[BaseModel]) -> ReplayRequest:
    """Read which log to fold; one of three cutoffs may be named."""
    execution_id = sent.number("execution_id")
    if execution_id is None:
        raise bad_query("missing field `execution_id`")
    event_id, position = sent.number("as_of_event_id"), sent.number("as_of_position")
    moment = sent.text("as_of_time")
    time = None if moment is None else parse_moment(moment)
    if moment is not None and time is None:
        raise bad_query("as_of_time: input contains invalid characters")
    # Other spellings of a boolean are refused here.
    if query_text(sent.request.query_params, "resolve_payloads") not in {None, "true", "false"}:
        raise bad_query("resolve_payloads: provided string was not `true` or `false`")
    if sum(cut is not None for cut in (event_id, position, time)) > 1:
        raise Refusal(400, _CUTOFFS)
    projection = sent.text("projection") or "all"
    if projection not in _PROJECTIONS:
        names = ", ".join(_PROJECTIONS)
        raise Refusal(400, f'unknown projection "{projection[:100]}"; expected one of: {names}')
    if position is not None and position >= _FIRST_EVENT_ID:
        event_id, position = position, None
    return ReplayRequest(
        execution_id=execution_id,
        tenant_id=sent.text("tenant_id") or "default",
        organization_id=sent.text("organization_id") or "default",
        projection=projection,
        limit=max(1, min(sent.number("limit", _DEFAULT_EVENTS), _MOST_EVENTS)),
        as_of_event_id=event_id,
        as_of_position=position,
        as_of_time=None if time is None else time.isoformat(),
    )


TOPIC.forward(
    "GET /api/replay/state",
    REPLAY_STATE,
    _replay,
    name="replay_state",
    needs=Right.EXECUTIONS_READ,
    summary="Fold the log of an execution up to an event",
    description="Fold a log; one of three cutoffs may be named.",
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
    errors={400: _CUTOFFS},
)
