"""`GET /api/internal/ingress/{listener}`: how a push listener is configured."""

from collections.abc import Mapping

from litestar import Response, get
from litestar.params import FromPath
from noetl_contract.access.principal import is_below
from noetl_contract.access.rights import Right
from noetl_contract.http.secrets.credentials import CredentialRead
from noetl_contract.http.system.internal import IngressAnswer
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc.catalog import CREDENTIAL_GET, SUBSCRIPTION_LISTENER, ListenerRequest

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.caller import as_the_edge
from noetl_api_gateway.http.fields import path_text
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.http.token_guard import internal_token_guard
from noetl_api_gateway.routes.catalog.subscriptions import registered

_VERIFY_TYPES = ("hmac_sha256", "bearer", "pubsub_oidc")
_WITH_SECRET = frozenset({"hmac_sha256", "bearer"})
_SECRET_FIELDS = ("secret", "token", "value", "key", "password")


@get(
    "/api/internal/ingress/{listener:str}",
    opt={"needs": Right.INTERNAL_INGRESS},
    guards=[internal_token_guard],
    summary="Read how a push listener verifies and dispatches",
    tags=["internal"],
    operation_class=documented(
        None,
        IngressAnswer,
        errors={
            403: "Invalid service-account token for /api/internal/*.",
            404: "No push subscription for ingress listener 'orders'",
            422: "dispatch.playbook missing",
        },
    ),
)
async def ingress_config(
    request: AnyRequest, gateway: OpenGateway, listener: FromPath[str]
) -> Response[bytes]:
    """Find the subscription that listens there, and register it if it is not yet."""
    listener = path_text(request, listener, name="listener")
    found = await gateway.services.ask(SUBSCRIPTION_LISTENER, ListenerRequest(listener=listener))
    spec = found.spec
    verify = await _verify(gateway, _map(spec.get("ingress")).get("verify"), path=found.path)
    dispatch = _map(spec.get("dispatch"))
    playbook = dispatch.get("playbook")
    if not isinstance(playbook, str) or not playbook:
        raise Refusal(422, "dispatch.playbook missing")
    chosen: JsonObject = {
        "playbook": playbook,
        "payload_from": _word(dispatch.get("payload_from")) or "message.json",
    }
    pool = _word(dispatch.get("execution_pool"))
    if pool is not None:
        chosen["execution_pool"] = pool
    subscription = await registered(gateway, found.path)
    answer = IngressAnswer(
        listener=listener,
        catalog_path=found.path,
        source=_word(spec.get("source")) or "webhook",
        subscription_id=subscription.subscription_id,
        verify=verify,
        dispatch=chosen,
    )
    headers = spec.get("headers")
    if headers is not None:
        answer = answer.model_copy(update={"directives": headers})
    return json_answer(request, answer)


async def _verify(gateway: Gateway, wanted: Json, *, path: str) -> JsonObject:
    if not isinstance(wanted, dict):
        raise Refusal(422, "ingress.verify is required")
    kind = wanted.get("type")
    if kind not in _VERIFY_TYPES:
        raise Refusal(422, f"unsupported ingress.verify.type '{str(kind)[:100]}'")
    found: JsonObject = {"type": kind}
    header = _word(wanted.get("header"))
    if header is not None:
        found["header"] = header.lower()
    if kind in _WITH_SECRET:
        alias = _word(wanted.get("secret"))
        if alias is None:
            raise Refusal(422, "ingress.verify.secret (a credential alias) is required")
        found["secret"] = await _secret(gateway, alias, path=path)
    for name in ("audience", "service_account"):
        value = _word(wanted.get(name))
        if value is not None:
            found[name] = value
    return found


async def _secret(gateway: Gateway, alias: str, *, path: str) -> str:
    """Return the secret behind a credential's alias, which the subscription's path may use."""
    wanted = CredentialRead(identifier=alias, include_data=True)
    # The edge verifies with it; the caller, a gateway, need not be able to read credentials.
    with as_the_edge():
        credential = await gateway.services.ask(CREDENTIAL_GET, wanted)
    paths = credential.allowed_paths
    if paths is not None and not any(is_below(path, one) for one in paths):
        raise Refusal(403, f"Credential '{alias[:200]}' may not be used in '{path}'")
    data: Json = credential.data
    if isinstance(data, str):
        return data
    for name in _SECRET_FIELDS:
        value = _map(data).get(name)
        if isinstance(value, str) and value:
            return value
    raise Refusal(422, f"credential '{alias[:200]}' holds no secret for ingress.verify")


def _map(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def _word(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None


ROUTES = [ingress_config]
