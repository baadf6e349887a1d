"""Routes that advance or rebuild the read model (P3)."""

from typing import TYPE_CHECKING

from litestar import Response, post
from noetl_contract.http.system.internal import (
    AdvanceAnswer,
    AdvanceRequest,
    RebuildAnswer,
    RebuildRequest,
)

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.http.token_guard import internal_token_guard
from noetl_api_gateway.upstream.services import body_of

if TYPE_CHECKING:
    from noetl_contract.json import JsonObject

_WRONG_TOKEN = {403: "Invalid service-account token for /api/internal/*."}
_MOST_NAMED = 5000


@post(
    "/api/internal/projection/advance",
    status_code=200,
    guards=[internal_token_guard],
    summary="Move rows of the read model to where their logs are",
    tags=["internal"],
    operation_class=documented(AdvanceRequest, AdvanceAnswer, errors=_WRONG_TOKEN),
)
async def advance_projection(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Advance the named executions, or without names all that lag behind."""
    sent = await read_body(request, AdvanceRequest, unique_keys=False)
    limit = max(1, min(sent.limit, _MOST_NAMED))
    named = sent.execution_ids
    body = {"advanced": 0, "checked": 0}
    for shard in range(gateway.services.shard_count):
        wanted: JsonObject = {"limit": limit}
        if named is not None:
            wanted["execution_ids"] = [
                one for one in named if gateway.services.shard_of(one) == shard
            ]
        done = body_of(await gateway.services.projector("projection.advance", wanted, shard=shard))
        body = {name: body[name] + done[name] for name in body}
    return json_answer(request, body)


@post(
    "/api/internal/projection/rebuild",
    status_code=200,
    guards=[internal_token_guard],
    summary="Write one page of the read model anew",
    tags=["internal"],
    operation_class=documented(RebuildRequest, RebuildAnswer, errors=_WRONG_TOKEN),
)
async def rebuild_projection(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Rewrite executions behind `after`; `after` of the answer is null when the walk is over."""
    sent = await read_body(request, RebuildRequest, unique_keys=False)
    shard = sent.shard
    if not 0 <= shard < max(gateway.services.shard_count, 1):
        raise Refusal(422, f"There is no shard {shard}")
    wanted = {"after": sent.after, "limit": sent.limit}
    reply = await gateway.services.projector(
        "projection.rebuild",
        wanted,
        shard=shard,
        timeout_seconds=gateway.settings.result_patience_seconds,
    )
    return json_answer(request, body_of(reply))


ROUTES = [advance_projection, rebuild_projection]
