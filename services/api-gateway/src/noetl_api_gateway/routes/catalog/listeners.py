"""`GET /api/internal/ingress/{listener}`: the configuration of a push listener."""

from typing import TYPE_CHECKING

from litestar import Response
from litestar.params import FromPath
from noetl_contract.access.rights import Right
from noetl_contract.http.system.internal import IngressAnswer

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import path_text
from noetl_api_gateway.http.token_guard import WRONG_TOKEN, internal_token_guard
from noetl_api_gateway.routes.forwarding import Topic
from noetl_api_gateway.upstream.listeners import as_map, as_word, find_listener

TOPIC = Topic("internal", guards=[internal_token_guard], errors=WRONG_TOKEN)

if TYPE_CHECKING:
    from noetl_contract.json import JsonObject


@TOPIC.route(
    "GET /api/internal/ingress/{listener:str}",
    IngressAnswer,
    needs=Right.INTERNAL_INGRESS,
    summary="Read how a push listener verifies and dispatches",
    errors={
        404: "No push subscription for ingress listener 'orders'",
        422: "dispatch.playbook missing",
    },
)
async def ingress_config(
    request: AnyRequest, gateway: OpenGateway, listener: FromPath[str]
) -> Response[bytes]:
    """Find the listener's subscription, and register it if it is not registered yet."""
    listener = path_text(request, listener, name="listener")
    found = await find_listener(gateway.services, gateway.ids, listener)
    spec = found.spec
    dispatch = as_map(spec.get("dispatch"))
    chosen: JsonObject = {
        "playbook": dispatch.get("playbook"),
        "payload_from": as_word(dispatch.get("payload_from")) or "message.json",
    }
    pool = as_word(dispatch.get("execution_pool"))
    if pool is not None:
        chosen["execution_pool"] = pool
    answer = IngressAnswer(
        listener=listener,
        catalog_path=found.path,
        source=as_word(spec.get("source")) or "webhook",
        subscription_id=found.subscription.subscription_id,
        verify=found.verify,
        dispatch=chosen,
    )
    headers = spec.get("headers")
    if headers is not None:
        answer = answer.model_copy(update={"directives": headers})
    return json_answer(request, answer)
