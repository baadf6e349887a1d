"""`/api/system`, `/api/dead-letters`: states of the services, and messages that were given up."""

import asyncio

from litestar import Response
from msgspec.structs import asdict
from noetl_contract.access.rights import Right
from noetl_contract.http.system.state import (
    GivenUpList,
    PoolLoad,
    ServiceState,
    SilentService,
    SystemAnswer,
)
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.operation import Operation
from noetl_contract.rpc.states import (
    CATALOG_STATE,
    GIVEN_UP,
    ORCHESTRATOR_STATE,
    OUTBOX_STATE,
    PROJECTOR_STATE,
    GivenUpQuery,
)
from noetl_service.state import state_of

from noetl_api_gateway.gateway import OpenGateway, TheProcess
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import query_int
from noetl_api_gateway.http.refusals import Refusal, bad_query
from noetl_api_gateway.routes.forwarding import Needs, Topic
from noetl_api_gateway.upstream.demand import ask_demand
from noetl_api_gateway.upstream.services import Services

TOPIC = Topic("system")
_SECONDS = 3.0
"""Timeout of a service's answer: it may ask the broker and its database for a second each."""
_MOST = 100
_OF_SHARDS = (ORCHESTRATOR_STATE, OUTBOX_STATE, PROJECTOR_STATE)


@TOPIC.route(
    "GET /api/system",
    SystemAnswer,
    needs=Needs(Right.SYSTEM_READ, is_whole=True),
    summary="How each service is: version, readiness, queues, backlog, settings without secrets",
)
async def system_state(
    request: AnyRequest, gateway: OpenGateway, service: TheProcess
) -> Response[bytes]:
    """Ask one process of each service for its state; those that don't answer are named."""
    services = gateway.services
    own, pools, *answers = await asyncio.gather(
        state_of(service),
        _pools(services),
        _state(services, CATALOG_STATE, None),
        *(_state(services, one, shard) for shard in services.shards for one in _OF_SHARDS),
    )
    found = [own, *(one for one in answers if isinstance(one, ServiceState))]
    silent = [one for one in answers if isinstance(one, SilentService)]
    return json_answer(request, SystemAnswer(services=found, silent=silent, pools=pools))


async def _state(
    services: Services, operation: Operation[Nothing, ServiceState], shard: int | None
) -> ServiceState | SilentService:
    try:
        return await services.ask(operation, Nothing(), shard=shard or 0, within=_SECONDS)
    except Refusal as refusal:
        return SilentService(service=operation.service, shard=shard, reason=refusal.text)


async def _pools(services: Services) -> list[PoolLoad] | None:
    try:
        found = await ask_demand(services, within=_SECONDS)
    except Refusal:
        return None
    return [PoolLoad(**asdict(one)) for one in found.values()]


@TOPIC.route(
    "GET /api/dead-letters",
    GivenUpList,
    needs=Needs(Right.SYSTEM_READ, is_whole=True),
    summary="List what was given up, newest first, with the command that puts it back",
    query={
        "limit": (int, "of each kind; at most 100, 20 if absent"),
        "before": (int, "`before` of the page before: only older letters follow"),
    },
)
async def dead_letters(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Ask the first shard's outbox for letters, and each shard's for its parked rows."""
    query, services = request.query_params, gateway.services
    asked = query_int(query, "limit")
    if asked is not None and asked < 1:
        raise bad_query("limit: a number from 1 on is wanted")
    if "after" in query:
        raise bad_query("after: unknown here, the list goes on with `before`")
    limit = min(20 if asked is None else asked, _MOST)
    wanted = GivenUpQuery(limit=limit, before=query_int(query, "before"))
    first, *others = await asyncio.gather(
        *(
            services.ask(
                GIVEN_UP,
                wanted.but(with_letters=shard == 0),
                shard=shard,
                within=_SECONDS,
            )
            for shard in services.shards
        )
    )
    rows = [row for one in (first, *others) for row in one.rows]
    rows.sort(key=lambda one: one.given_up_at, reverse=True)
    return json_answer(request, first.model_copy(update={"rows": rows[:limit]}))
