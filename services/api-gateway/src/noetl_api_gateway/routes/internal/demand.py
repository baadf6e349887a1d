"""`GET /api/internal/pools/{pool}/demand`: the number by which workers are started and stopped."""

from litestar import Response
from litestar.params import FromPath
from noetl_contract.access.rights import Right
from noetl_contract.http.system.internal import PoolDemandAnswer
from noetl_contract.rpc.orchestrator import PoolDemand
from noetl_contract.subjects import pool_of_workers

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import path_text
from noetl_api_gateway.http.token_guard import WRONG_TOKEN, internal_token_guard
from noetl_api_gateway.routes.forwarding import Topic
from noetl_api_gateway.upstream.demand import ask_demand

TOPIC = Topic("internal", guards=[internal_token_guard], errors=WRONG_TOKEN)


@TOPIC.route(
    "GET /api/internal/pools/{pool:str}/demand",
    PoolDemandAnswer,
    needs=Right.INTERNAL_DEMAND,
    summary="Count the commands of a pool that wait and that run",
)
async def pool_demand(
    request: AnyRequest, gateway: OpenGateway, pool: FromPath[str]
) -> Response[bytes]:
    """Add up the shards; an unknown pool has no demand."""
    name = pool_of_workers(path_text(request, pool, name="pool"))
    found = await ask_demand(gateway.services, pool=name)
    one = found.get(name, PoolDemand(pool=name, waiting=0, running=0))
    answer = PoolDemandAnswer(
        pool=name, waiting=one.waiting, running=one.running, total=one.waiting + one.running
    )
    return json_answer(request, answer)
