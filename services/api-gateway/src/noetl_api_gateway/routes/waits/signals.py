"""`POST /api/executions/{execution_id}/signals/{signal}` and `GET /api/waits`."""

import secrets

from litestar import Response
from litestar.params import FromPath
from noetl_bus.writes.exchange import NoAnswer, WriteTimeout
from noetl_contract.access.rights import Right
from noetl_contract.http.executions.waits import SignalAnswer, SignalRequest, WaitList
from noetl_contract.http.scalars import parse_i64
from noetl_contract.ingress import SignalMessage
from noetl_contract.rpc.projector import WAITS_LIST, WaitsPage

from noetl_api_gateway.access.gatekeeper import principal_of
from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest, decode, read_bytes
from noetl_api_gateway.http.decoding import validated
from noetl_api_gateway.http.fields import idempotency_key, path_id, path_text, query_int, query_text
from noetl_api_gateway.http.refusals import Refusal, bad_query, unavailable
from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("waits")
_LONGEST_NAME = 128
_KINDS = ("wait", "sleep")


@TOPIC.route(
    "POST /api/executions/{execution_id:str}/signals/{signal:str}",
    SignalAnswer,
    body=SignalRequest,
    is_body_required=False,
    needs=Right.EXECUTIONS_SIGNAL,
    summary="Send a signal, which ends the oldest wait for it or is kept for the next",
    errors={
        404: "No step waits for signal 'aprove'; the signals are approve",
        409: "Cannot signal execution in COMPLETED state",
        422: "The payload doesn't fit the form of signal 'approve': decision: it is required",
    },
)
async def send_signal(
    request: AnyRequest, gateway: OpenGateway, execution_id: FromPath[str], signal: FromPath[str]
) -> Response[bytes]:
    """Send a signal; the same id again has no second effect and the same answer."""
    number = path_id(execution_id, index=0)
    name = path_text(request, signal, name="signal")
    content = await read_bytes(request)
    sent = validated(SignalRequest, decode(content) if content.strip() else {})
    principal = principal_of(request)
    message = SignalMessage(
        execution_id=number,
        name=name[:_LONGEST_NAME],
        signal_id=sent.id or idempotency_key(request) or secrets.token_hex(16),
        payload=sent.payload,
        step=sent.step,
        iteration=sent.iteration,
        wait_id=_wait_id(sent.wait_id),
        actor=None if principal is None else principal.name,
    )
    return json_answer(request, await signalled(gateway, message))


async def signalled(gateway: Gateway, message: SignalMessage) -> SignalAnswer:
    """Publish a signal and return the answer to its commit.

    Raises:
        Refusal: the orchestrator's, or 503 when no answer came in time.
    """
    wait = WriteTimeout(seconds=gateway.settings.event_patience_seconds)
    try:
        return SignalAnswer.model_validate_json(await gateway.writer.send(message, wait=wait))
    except NoAnswer as error:
        text = "The signal was not committed in time; send it again with the same id"
        raise unavailable(text) from error


def _wait_id(value: int | str | None) -> int | None:
    if value is None or isinstance(value, int):
        return value
    number = parse_i64(value)
    if number is None:
        raise Refusal(422, f"wait_id '{value[:50]}' is no id")
    return number


@TOPIC.route(
    "GET /api/waits",
    WaitList,
    needs=Right.EXECUTIONS_READ,
    summary="List what waits: for a signal, with its form, or for a time",
    query={
        "path": (str, "path of the playbook, or a part of it from the left"),
        "execution_id": (int, "of one execution"),
        "signal": (str, "name of the signal"),
        "kind": (str, "`wait` or `sleep`; `wait` if absent, `all` for both"),
        "limit": (int, "at most 500, 100 if absent"),
        "after": (str, "`next` of the page before"),
    },
)
async def list_waits(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """List the open waits of all shards, the oldest first."""
    query = request.query_params
    kind = query_text(query, "kind") or "wait"
    if kind not in {*_KINDS, "all"}:
        raise bad_query(f"kind: '{kind[:50]}' is none of wait, sleep, all")
    limit = query_int(query, "limit", bits=32)
    page = WaitsPage(
        path=query_text(query, "path"),
        execution_id=query_int(query, "execution_id"),
        signal=query_text(query, "signal"),
        kind=None if kind == "all" else kind,
        limit=100 if limit is None else max(1, min(limit, 500)),
        after=query_int(query, "after") or 0,
    )
    return json_answer(request, await waits_of(gateway, page))


async def waits_of(gateway: Gateway, page: WaitsPage) -> WaitList:
    """Return a page of open waits, merged from the shards that may have some."""
    if page.execution_id is not None:
        return await gateway.services.ask(WAITS_LIST, page, execution_id=page.execution_id)
    if gateway.services.shard_count == 1:
        return await gateway.services.ask(WAITS_LIST, page)
    shards = await gateway.services.ask_all(WAITS_LIST, page)
    found = sorted(
        (one for shard in shards for one in shard.waits), key=lambda one: int(one.wait_id)
    )
    is_more = len(found) > page.limit or any(shard.next is not None for shard in shards)
    waits = found[: page.limit]
    return WaitList(waits=waits, next=waits[-1].wait_id if is_more and waits else None)
