"""`/api/pauses`: paths and pools whose commands are withheld."""

from noetl_contract.access.rights import Right
from noetl_contract.http.workers.pauses import PausePut, PauseTarget, PauseWish
from noetl_contract.rpc.catalog import PAUSE_LIFT, PAUSE_LIST, PAUSE_PUT
from noetl_contract.rpc.models import Nothing
from pydantic import BaseModel, ValidationError

from noetl_api_gateway.http.refusals import bad_query
from noetl_api_gateway.routes.forwarding import Needs, Sent, Topic

TOPIC = Topic("workers")
# Callers that clean up executions of all namespaces may pause them too.
_CHANGE: Needs[PauseWish] = Needs(Right.EXECUTIONS_CLEANUP, is_whole=True)
_LIFT: Needs[BaseModel] = Needs(Right.EXECUTIONS_CLEANUP, is_whole=True)
_READ: Needs[BaseModel] = Needs(Right.WORKERS_READ)


def _target(sent: Sent[BaseModel]) -> PauseTarget:
    try:
        return PauseTarget.model_validate({"kind": sent.word("kind"), "name": sent.word("name")})
    except ValidationError as error:
        raise bad_query("kind: expected path or pool, with a name") from error


TOPIC.forward(
    "POST /api/pauses",
    PAUSE_PUT,
    lambda sent: PausePut(**sent.body.model_dump(exclude_unset=True)),
    body=PauseWish,
    name="put_pause",
    needs=_CHANGE,
    summary="Pause a path or a worker pool",
    description="Withhold new commands of a path of playbooks, with all below it, or of a"
    " worker pool; what runs goes on.",
    errors={422: "There are 1000 pauses already"},
)
TOPIC.forward(
    "DELETE /api/pauses",
    PAUSE_LIFT,
    _target,
    name="lift_pause",
    needs=_LIFT,
    summary="Take a pause back",
    description="Hand out what was withheld for a path or a pool.",
    query={"kind": (str, "`path` or `pool`"), "name": (str, "as it was paused")},
    errors={400: "Failed to deserialize query string: kind: expected path or pool, with a name"},
)
TOPIC.forward(
    "GET /api/pauses",
    PAUSE_LIST,
    lambda _sent: Nothing(),
    name="list_pauses",
    needs=_READ,
    summary="List paused paths and pools",
)
