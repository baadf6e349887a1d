"""`/api/subscriptions*` and the configuration of push listeners.

The edge keeps what is registered and in which state it is. Nothing here receives messages: that
is the business of the real worker's subscription pool and of the gateway.
"""

from litestar import Response, get, post
from noetl_contract.http.catalog.subscriptions import (
    SubscriptionBody,
    SubscriptionList,
    SubscriptionRequest,
)
from noetl_contract.json import JsonObject
from noetl_contract.rpc import orchestrator, projector

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.forwarding import Forward, forwarding
from noetl_api_gateway.upstream.id_placement import mint_on_shard_of
from noetl_api_gateway.upstream.services import body_of

_TAGS = ["subscriptions"]
_KIND = "subscription"


@get(
    "/api/subscriptions",
    summary="List subscriptions",
    tags=_TAGS,
    operation_class=documented(None, SubscriptionList),
)
async def list_subscriptions(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """List the subscriptions of all shards, each shard's by id."""
    found: list[JsonObject] = []
    for shard in range(gateway.services.shard_count):
        reply = await gateway.services.projector("subscription.list", {}, shard=shard)
        found += body_of(reply)["subscriptions"]
    return json_answer(request, {"subscriptions": found})


@post(
    ["/api/subscriptions", "/api/subscriptions/register"],
    status_code=200,
    summary="Register the subscription of a path",
    tags=_TAGS,
    operation_class=documented(
        SubscriptionRequest,
        SubscriptionBody,
        errors={
            404: "Subscription not found: subscriptions/orders",
            422: "Catalog entry 'a/b' is kind 'playbook', not 'subscription'",
        },
    ),
)
async def register_subscription(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Register the newest version of a path, or return the open registration."""
    path = (await read_body(request, SubscriptionRequest)).path
    return json_answer(request, await registered(gateway, path))


async def registered(gateway: Gateway, path: str) -> JsonObject:
    """Register a path; all registrations of one path meet on one shard.

    Raises:
        Refusal: no such entry, or it is of another kind.
    """
    reply = await gateway.services.catalog("resolve", {"path": path})
    if reply.status == 404:
        raise Refusal(404, f"Subscription not found: {path[:500]}")
    found = body_of(reply)
    if str(found["kind"]).lower() != _KIND:
        text_ = f"Catalog entry '{path[:500]}' is kind '{found['kind']}', not '{_KIND}'"
        raise Refusal(422, text_)
    subscription_id = mint_on_shard_of(
        gateway.ids, f"subscription:{path}", shard_count=gateway.services.shard_count
    )
    reply = await gateway.services.orchestrator(
        "subscription.register",
        {
            "subscription_id": subscription_id,
            "path": path,
            "catalog_id": int(found["catalog_id"]),
        },
        execution_id=subscription_id,
    )
    body: JsonObject = body_of(reply)
    return body


def _short_action(wanted: JsonObject) -> JsonObject:
    return wanted | {"action": wanted["action"][:100]}


ROUTES = [
    list_subscriptions,
    register_subscription,
    *forwarding(
        Forward(
            method="GET",
            path="/api/subscriptions/{subscription_id:str}",
            name="get_subscription",
            operation=projector.SUBSCRIPTION_GET,
            answer=SubscriptionBody,
            summary="Read a subscription",
            description="Read the state of a subscription.",
            tags=_TAGS,
            shard_by="subscription_id",
            errors={404: "Subscription 5 not registered"},
        ),
        Forward(
            method="POST",
            path="/api/subscriptions/{subscription_id:str}/{action:str}",
            name="change_subscription",
            operation=orchestrator.SUBSCRIPTION_CHANGE,
            prepare=_short_action,
            answer=SubscriptionBody,
            summary="Activate, pause, resume, drain or deactivate a subscription",
            description="Move a subscription on, if its state allows it.",
            tags=_TAGS,
            shard_by="subscription_id",
            errors={
                404: "Subscription 5 not registered",
                422: "Unknown subscription action 'resurrect'",
            },
        ),
    ),
]
