"""`POST /ingress/{listener}`: a delivery from outside is verified, then starts an execution."""

import base64
import binascii
from http import HTTPStatus
from typing import TYPE_CHECKING

from litestar import Response
from litestar.params import FromPath
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.access.principal import starting
from noetl_contract.access.rights import Right
from noetl_contract.http.executions.start import DedupWindow, ExecuteAnswer, ExecuteRequest
from noetl_contract.http.triggers import DeliveryAnswer, DeliveryBody, DeliveryRefusal
from noetl_contract.json import Json, JsonObject
from noetl_contract.subscriptions.directives import Directed, directed
from noetl_contract.subscriptions.document import SubscriptionSpec
from noetl_contract.subscriptions.messages import (
    Message,
    bounded_key,
    decoded_body,
    headers_of,
    workload_of,
)
from pydantic import ValidationError

from noetl_api_gateway.access.deliveries import SIGNATURE_HEADER, Rejected
from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import plain_answer
from noetl_api_gateway.http.bodies import MAX_DEPTH, AnyRequest, is_deeper, read_bytes, without_nul
from noetl_api_gateway.http.caller import as_the_edge
from noetl_api_gateway.http.fields import path_text
from noetl_api_gateway.http.rate_guard import RATES_STATE, RateGuard
from noetl_api_gateway.http.refusals import RETRY_AFTER, Refusal
from noetl_api_gateway.intake.peers import address_of
from noetl_api_gateway.metrics import DELIVERIES, DELIVERIES_DISPATCHED, DELIVERIES_REJECTED
from noetl_api_gateway.routes.executions.ownership import Subscriber
from noetl_api_gateway.routes.executions.start import begin
from noetl_api_gateway.routes.forwarding import Topic
from noetl_api_gateway.routes.ingress.notes import note_directives
from noetl_api_gateway.upstream.listeners import Listener, UnknownListener

TOPIC = Topic("triggers")

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = get_logger()

_UNKNOWN = "unknown"
_PRIVATE = frozenset({"authorization", "cookie", "proxy-authorization"})
_CLOSED = frozenset({"PAUSED", "DRAINING"})
_PAUSE_SECONDS = 30.0
_IDS = (
    "idempotency-key",
    "webhook-id",
    "x-github-delivery",
    "x-gitlab-event-uuid",
    "x-shopify-webhook-id",
    "x-delivery-id",
    "ce-id",
)
"""Headers in which senders identify a delivery, unless the subscription names another field."""


@TOPIC.route(
    "POST /ingress/{listener:str}",
    DeliveryAnswer,
    body=DeliveryBody,
    needs=Right.PUBLIC,
    bodies="delivery",
    summary="Deliver a message to a listener",
    status=202,
    others=dict.fromkeys((401, 403, 404), DeliveryRefusal),
)
async def deliver(
    request: AnyRequest, gateway: OpenGateway, listener: FromPath[str]
) -> Response[bytes]:
    """Start the playbook of a push subscription; answered once the start is stored.

    The login is what the subscription's `ingress.verify` asks for: a signature, a token, or an
    OIDC token. Nothing of a request is read before it is verified.
    """
    known = _UNKNOWN
    try:
        name = path_text(request, listener, name="listener")
        found = await _listener(request, gateway, name)
        known = found.name
        DELIVERIES.labels(known).inc()
        body = await read_bytes(request)
        headers = dict(request.headers.items())
        await gateway.deliveries.verify(found.verify, headers, body)
        # Authenticated from here on: guesses of tokens from the same address don't keep it out.
        request.scope["user"] = starting(None, found.path, name=_name(found))
        answer = await _dispatched(request, gateway, found, body)
    except Rejected as rejected:
        return _rejected(rejected, known)
    is_repetition = answer.status == "duplicate"
    DELIVERIES_DISPATCHED.labels(known, answer.status).inc()
    accepted: JsonObject = {"status": "accepted", "execution_id": answer.execution_id}
    if is_repetition:
        accepted["duplicate"] = True
    return plain_answer(accepted, HTTPStatus.ACCEPTED)


async def _listener(request: AnyRequest, gateway: Gateway, name: str) -> Listener:
    """Return the listener of a name.

    Raises:
        Rejected: the listener is unknown, or can't be looked up now.
    """
    if not gateway.listeners.knows(name):
        # Looking up costs the catalog much more than guessing names costs a stranger.
        _take(request, "deliveries", f"address:{address_of(request.scope)}")
    try:
        return await gateway.listeners.get(name)
    except UnknownListener as refusal:
        raise Rejected("unknown_listener", status=404, detail=refusal.text) from refusal
    except Refusal as refusal:
        if refusal.status >= 500:
            raise Rejected("config_error", status=502, wait=1) from refusal
        _log.warning("listener_misconfigured", listener=name[:100], reason=refusal.text)
        raise Rejected("misconfigured") from refusal


async def _dispatched(
    request: AnyRequest, gateway: Gateway, listener: Listener, body: bytes
) -> ExecuteAnswer:
    """Start the execution of a verified delivery.

    Raises:
        Rejected: it can't be started, or not now.
    """
    if listener.subscription.state in _CLOSED:
        raise Rejected("paused", status=503, wait=_PAUSE_SECONDS)
    spec = _spec(listener)
    _take(request, "deliveries", f"listener:{listener.name}")
    per_second = spec.limits.max_dispatch_per_sec
    if per_second and (wait := gateway.listeners.wait(listener.name, per_second=per_second)):
        raise Rejected("rate_limited", status=429, wait=wait)
    message = _message(request, gateway, listener, spec, body)
    chosen = directed(message, spec.dispatch, spec.headers)
    wanted = _start(listener, spec, message, chosen)
    below = Subscriber(listener.registrant, _name(listener))
    try:
        # A login beside the listener's own proof doesn't count here.
        with as_the_edge():
            answer = await begin(gateway, wanted, key=None, call=None, below=below)
    except (Refusal, NoetlError) as error:
        text = error.text if isinstance(error, Refusal) else error.message
        _log.warning("delivery_not_started", listener=listener.name, reason=text[:500])
        raise Rejected("dispatch_error", status=502, wait=1) from error
    if chosen.applied and answer.status == "started":
        await note_directives(gateway, listener, chosen, answer.execution_id)
    return answer


def _spec(listener: Listener) -> SubscriptionSpec:
    try:
        return SubscriptionSpec.model_validate(dict(listener.spec))
    except ValidationError as error:
        _log.warning("listener_misconfigured", listener=listener.name, reason=str(error)[:500])
        raise Rejected("misconfigured") from None


def _start(
    listener: Listener, spec: SubscriptionSpec, message: Message, chosen: Directed
) -> ExecuteRequest:
    dedup = None
    key = chosen.idempotency_key or message.id
    if spec.dedup.enabled and not key.startswith("delivery:"):
        dedup = DedupWindow(
            key=bounded_key(key), window_secs=spec.dedup.window_secs, scope=listener.path[:500]
        )
    return ExecuteRequest(
        path=chosen.playbook,
        payload=workload_of(
            message,
            subscription=listener.path,
            source=spec.source,
            payload_from=spec.dispatch.payload_from,
            idempotency_key=chosen.idempotency_key,
            content_type=chosen.content_type,
        ),
        parent_execution_id=int(listener.subscription.subscription_id),
        execution_pool=chosen.pool,
        trace=chosen.trace,
        dedup=dedup,
    )


def _message(
    request: AnyRequest,
    gateway: Gateway,
    listener: Listener,
    spec: SubscriptionSpec,
    body: bytes,
) -> Message:
    """Return a delivery as a message, without its proof."""
    hidden = {*_PRIVATE, listener.verify.get("header") or SIGNATURE_HEADER}
    pairs = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in request.scope["headers"]
        if name.decode("latin-1") not in hidden
    ]
    data, notes = decoded_body(body)
    if is_deeper(data, MAX_DEPTH):
        raise Rejected("dispatch_error", status=422, detail="recursion limit exceeded")
    message = Message(
        id="",
        data=without_nul(data),
        headers=headers_of(pairs),
        metadata={"source": spec.source, "mode": "push", **notes},
    )
    if spec.source == "pubsub" or listener.verify.get("type") == "pubsub_oidc":
        _unwrap(message)
    key = message.at(spec.dedup.key) if spec.dedup.key else None
    known = (message.last(name) for name in _IDS)
    found = key or message.id or next(filter(None, known), None)
    message.id = found or f"delivery:{gateway.ids.next()}"
    return message


def _unwrap(message: Message) -> None:
    """Take the message out of the envelope in which Pub/Sub pushes it."""
    envelope = message.data if isinstance(message.data, dict) else {}
    inner = envelope.get("message")
    if not isinstance(inner, dict):
        return
    message.data, notes = _body_of(inner)
    attributes = inner.get("attributes")
    message.attributes = attributes if isinstance(attributes, dict) else {}
    message.id = str(inner.get("messageId") or inner.get("message_id") or "")
    published = inner.get("publishTime") or inner.get("publish_time")
    about: Mapping[str, Json] = {
        "subscription": envelope.get("subscription"),
        "publish_time": published,
        "ordering_key": inner.get("orderingKey"),
    }
    message.metadata |= {name: value for name, value in about.items() if value} | notes


def _body_of(inner: JsonObject) -> tuple[Json, JsonObject]:
    try:
        data, notes = decoded_body(base64.b64decode(inner.get("data") or "", validate=True))
    except (TypeError, ValueError, binascii.Error):
        return inner.get("data"), {}
    if is_deeper(data, MAX_DEPTH):
        raise Rejected("dispatch_error", status=422, detail="recursion limit exceeded")
    return without_nul(data), notes


def _name(listener: Listener) -> str:
    return f"listener:{listener.path}"[:200]


def _take(request: AnyRequest, kind: str, client: str) -> None:
    guard: RateGuard | None = request.app.state.get(RATES_STATE)
    if guard is None:
        return
    try:
        guard.take(kind, client)
    except Refusal as refusal:
        wait = float(refusal.headers.get(RETRY_AFTER, 1))
        raise Rejected("rate_limited", status=429, wait=wait) from refusal


def _rejected(rejected: Rejected, listener: str) -> Response[bytes]:
    DELIVERIES_REJECTED.labels(listener, rejected.reason).inc()
    body: JsonObject = {"status": "rejected", "reason": rejected.reason}
    if rejected.detail is not None:
        body["detail"] = rejected.detail
    answer = plain_answer(body, rejected.status)
    if rejected.wait:
        answer.headers[RETRY_AFTER] = str(max(1, round(rejected.wait)))
    return answer


"""Routes whose bodies have a limit of their own."""
