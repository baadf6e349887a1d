"""`/api/subscriptions*` and the configuration of push listeners.

The edge keeps registrations and their states. Messages are received by the
subscription runtime, a mode of the worker, and by the listeners in `routes/ingress`.
"""

from litestar import Response
from noetl_contract.access.rights import Right
from noetl_contract.http.catalog.subscriptions import (
    SubscriptionBody,
    SubscriptionList,
    SubscriptionRequest,
)
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.orchestrator import (
    SUBSCRIPTION_CHANGE,
    SubscriptionChange,
)
from noetl_contract.rpc.projector import SUBSCRIPTION_GET, SUBSCRIPTION_LIST, SubscriptionName

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.routes.forwarding import Needs, Topic
from noetl_api_gateway.upstream.registrations import registered

TOPIC = Topic("subscriptions")


@TOPIC.route(
    "GET /api/subscriptions",
    SubscriptionList,
    needs=Needs(Right.SUBSCRIPTIONS_READ, is_whole=True),
    summary="List subscriptions",
)
async def list_subscriptions(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """List the subscriptions of all shards, each shard's by id."""
    shards = await gateway.services.ask_all(SUBSCRIPTION_LIST, Nothing())
    found = [one for shard in shards for one in shard.subscriptions]
    return json_answer(request, SubscriptionList(subscriptions=found))


@TOPIC.route(
    "POST /api/subscriptions",
    SubscriptionBody,
    body=SubscriptionRequest,
    also="/api/subscriptions/register",
    needs=Right.SUBSCRIPTIONS_CHANGE,
    summary="Register the subscription of a path",
    errors={
        404: "Subscription not found: subscriptions/orders",
        422: "Catalog entry 'a/b' is kind 'playbook', not 'subscription'",
    },
)
async def register_subscription(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Register the newest version of a path, or return the open registration."""
    path = (await read_body(request, SubscriptionRequest)).path
    return json_answer(request, await registered(gateway.services, gateway.ids, path))


TOPIC.forward(
    "GET /api/subscriptions/{subscription_id:str}",
    SUBSCRIPTION_GET,
    lambda sent: SubscriptionName(subscription_id=sent.id("subscription_id")),
    name="get_subscription",
    needs=Needs(Right.SUBSCRIPTIONS_READ, is_whole=True),
    summary="Read a subscription",
    description="Read the state of a subscription.",
    errors={404: "Subscription 5 not registered"},
)
TOPIC.forward(
    "POST /api/subscriptions/{subscription_id:str}/{action:str}",
    SUBSCRIPTION_CHANGE,
    lambda sent: SubscriptionChange(
        subscription_id=sent.id("subscription_id"), action=sent.word("action")[:100]
    ),
    name="change_subscription",
    needs=Needs(Right.SUBSCRIPTIONS_CHANGE, is_whole=True),
    summary="Activate, pause, resume, drain or deactivate a subscription",
    description="Move a subscription on, if its state allows it.",
    errors={
        404: "Subscription 5 not registered",
        422: "Unknown subscription action 'resurrect'",
    },
)
