"""Routes that advance or rebuild the read model (P3)."""

from litestar import Response, post
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
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.http.token_guard import internal_token_guard

_WRONG_TOKEN = {403: "Invalid service-account token for /api/internal/*."}
_MOST_NAMED = 5000


@post(
    "/api/internal/projection/advance",
    opt={"needs": Right.INTERNAL_PROJECTION},
    status_code=200,
    guards=[internal_token_guard],
    summary="Move rows of the read model to where their logs are",
    tags=["internal"],
    operation_class=documented(AdvanceRequest, AdvanceAnswer, errors=_WRONG_TOKEN),
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


@post(
    "/api/internal/projection/rebuild",
    opt={"needs": Right.INTERNAL_PROJECTION},
    status_code=200,
    guards=[internal_token_guard],
    summary="Write one page of the read model anew",
    tags=["internal"],
    operation_class=documented(RebuildRequest, RebuildAnswer, errors=_WRONG_TOKEN),
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


ROUTES = [advance_projection, rebuild_projection]
