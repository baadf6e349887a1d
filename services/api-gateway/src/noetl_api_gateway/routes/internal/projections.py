"""Routes that advance or rebuild the read model (P3)."""

from litestar import Response
from noetl_contract.access.rights import Right
from noetl_contract.http.system.internal import (
    AdvanceAnswer,
    AdvanceRequest,
    RebuildAnswer,
    RebuildRequest,
)
from noetl_contract.rpc.projector import (
    PROJECTION_ADVANCE,
    PROJECTION_REBUILD,
    AdvanceExecutions,
    RebuildPage,
)

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.http.token_guard import WRONG_TOKEN, internal_token_guard
from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("internal", guards=[internal_token_guard], errors=WRONG_TOKEN)
_MOST_NAMED = 5000


@TOPIC.route(
    "POST /api/internal/projection/advance",
    AdvanceAnswer,
    body=AdvanceRequest,
    needs=Right.INTERNAL_PROJECTION,
    summary="Move rows of the read model to where their logs are",
)
async def advance_projection(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Advance the named executions; without names all that lag behind."""
    sent = await read_body(request, AdvanceRequest, unique_keys=False)
    limit = max(1, min(sent.limit, _MOST_NAMED))
    named = sent.execution_ids
    services, advanced, checked = gateway.services, 0, 0
    for shard in services.shards:
        own = None if named is None else [one for one in named if services.shard_of(one) == shard]
        wanted = AdvanceExecutions(execution_ids=own, limit=limit)
        done = await services.ask(PROJECTION_ADVANCE, wanted, shard=shard)
        advanced += done.advanced
        checked += done.checked
    return json_answer(request, AdvanceAnswer(advanced=advanced, checked=checked))


@TOPIC.route(
    "POST /api/internal/projection/rebuild",
    RebuildAnswer,
    body=RebuildRequest,
    needs=Right.INTERNAL_PROJECTION,
    summary="Write one page of the read model anew",
)
async def rebuild_projection(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Rewrite a page of executions after `after`; null in the answer means the end."""
    sent = await read_body(request, RebuildRequest, unique_keys=False)
    shard = sent.shard
    if shard not in gateway.services.shards:
        raise Refusal(422, f"There is no shard {shard}")
    wanted = RebuildPage(after=sent.after, limit=sent.limit)
    answer = await gateway.services.forward(
        PROJECTION_REBUILD, wanted, shard=shard, within=gateway.settings.result_patience_seconds
    )
    return json_answer(request, answer)
