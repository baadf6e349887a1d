"""`POST /api/execute` (http-b 2.1)."""

import hashlib
from datetime import UTC, datetime
from typing import Any

import orjson
from litestar import Response, post
from noetl_common.logging import get_logger
from noetl_contract.http.execute import ExecuteAnswer, ExecuteRequest
from noetl_contract.rpc import RpcReply
from noetl_contract.sharding import shard_for

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest, read_json
from noetl_api_gateway.http.fields import (
    LONGEST_KEY,
    bounded_text,
    id_or_none,
    idempotency_key,
    require_object,
    text,
    text_or_none,
    wrong_type,
)
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal, bad_shape, unavailable
from noetl_api_gateway.http.shell import call_of
from noetl_api_gateway.metrics import EXECUTE_OUTCOMES
from noetl_api_gateway.upstream.homes import mint_at_home
from noetl_api_gateway.upstream.services import body_of
from noetl_api_gateway.upstream.writes import NoAnswerError, Patience

_log = get_logger()

type Json = Any
type Object = dict[str, Any]

_WINDOW_SECONDS = 300
_LONGEST_POOL = 128  # a token of a subject, and subjects share one line of the protocol
_AUDIT_SECONDS = 1.0
_LONGEST_WINDOW_SECONDS = 10 * 365 * 86400


@post(
    "/api/execute",
    status_code=200,
    summary="Start an execution",
    tags=["executions"],
    operation_class=documented(
        ExecuteRequest,
        ExecuteAnswer,
        errors={
            404: "Playbook not found: examples/nothing",
            422: "Either 'path' or 'catalog_id' must be provided",
        },
    ),
)
async def execute(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Pin the playbook's version, publish the start, answer after its commit."""
    wanted = read_start(await read_json(request, unique_keys=True))
    refuse_unnamed(wanted)
    key = idempotency_key(request)
    reply = await begin(gateway, wanted, key=key, call=call_of(request.scope))
    body = body_of(reply)
    EXECUTE_OUTCOMES.labels("single", outcome_of(body)).inc()
    return json_answer(request, body)


async def begin(
    gateway: Gateway, wanted: Object, *, key: str | None, call: tuple[int, int] | None
) -> RpcReply:
    """Start what was read, under an id of the shard that remembers its keys.

    Raises:
        Refusal: nothing was started, or nobody could say.
    """
    gateway.writer.refuse_overload()
    reply = await gateway.services.catalog(
        "resolve",
        wanted["look_up"],
        patience_seconds=gateway.settings.resolve_patience_seconds,
    )
    found = body_of(reply)
    message = {
        "type": "execute",
        "v": 1,
        "execution_id": _mint(gateway, wanted, key),
        "catalog_id": int(found["catalog_id"]),
        "path": found["path"],
        "version": int(found["version"]),
        "idempotency_key": key,
        **{name: value for name, value in wanted.items() if name not in {"look_up", "problem"}},
    }
    message |= await child_of(gateway, message, call)
    execution_id = message["execution_id"]
    reply = await start(gateway, orjson.dumps(message), execution_id=execution_id)
    if key is None and "dedup_key" in wanted and outcome_of(reply.body) == "duplicate":
        await _note_suppressed(gateway, message, int(reply.body["execution_id"]))
    return reply


def outcome_of(body: Json) -> str:
    """Return what a start came to, as the metric says it."""
    is_duplicate = isinstance(body, dict) and body.get("status") == "duplicate"
    return "duplicate" if is_duplicate else "new"


def refuse_unnamed(wanted: Object) -> None:
    """Refuse a start whose shape is right, but which names nothing to start.

    Raises:
        Refusal: 422 with the contract's text.
    """
    if wanted["problem"] is not None:
        raise Refusal(422, wanted["problem"])


def _mint(gateway: Gateway, wanted: Object, key: str | None) -> int:
    """Mint an execution id that lives where its keys are remembered.

    Equal keys must meet on one shard: the second request is answered by the row that the first
    has left there. A dedup key decides before an Idempotency-Key, which comes with the same
    body each time and so with the same dedup key.
    """
    dedup_key = wanted.get("dedup_key")
    if dedup_key is not None:
        home = f"dedup:{wanted['parent_execution_id'] or 0}:{dedup_key}"
    elif key is not None:
        home = f"execute:{key}"
    else:
        return gateway.ids.next()
    return mint_at_home(gateway.ids, home, shard_count=gateway.services.shard_count)


async def _note_suppressed(gateway: Gateway, message: Object, original: int) -> None:
    """Tell the subscription's log of a message that was not executed again (http-b 2.3)."""
    scope = message["parent_execution_id"]
    if scope is None:
        return
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    row = {
        "event_id": gateway.ids.next(),
        "execution_id": scope,
        "event_type": "subscription.message.deduplicated",
        "node_id": "subscription",
        "node_name": "ingress",
        "node_type": "subscription",
        "status": "DEDUPLICATED",
        "context": {
            "subscription_id": str(scope),
            "dedup_key": message["dedup_key"],
            "original_execution_id": str(original),
            "suppressed_execution_id": str(message["execution_id"]),
            "duplicate_suppressed": True,
        },
        "meta": {"emitted_at": now, "emitter": "control_plane"},
    }
    try:
        await gateway.services.orchestrator(
            "log.project",
            {"events": [row], "only_to_known": True},
            execution_id=scope,
            patience_seconds=_AUDIT_SECONDS,
        )
    except Refusal as refusal:
        _log.info("duplicate_not_noted", execution_id=scope, reason=refusal.text)


def read_start(body: Json, *, where: str = "") -> Object:
    """Check the shape of a request to start.

    Returns message fields, the catalog's `look_up`, and the `problem` of a request that is well
    formed but names nothing to start.

    Args:
        body: the decoded request.
        where: its place in a larger body, for the texts.

    Raises:
        Refusal: 422 with the contract's text.
    """
    source = require_object(body, name="ExecuteRequest", path=where)
    path = text_or_none(source, "path", path=where)
    pool = bounded_text(
        text_or_none(source, "execution_pool", path=where), _LONGEST_POOL, "execution_pool"
    )
    catalog_id = id_or_none(source, "catalog_id", path=where)
    version = _version(source.get("version"), path=_inner(where, "version"))
    wanted: Object = {
        "payload": _payload(source, where),
        "parent_execution_id": id_or_none(source, "parent_execution_id", path=where),
        "execution_pool": pool,
        "trace": source.get("trace"),
        **_dedup(source.get("dedup"), path=_inner(where, "dedup")),
    }
    wanted["problem"] = None
    look_up: Object = {"catalog_id": catalog_id, "path": path, "version": version}
    if catalog_id is not None:
        look_up = {"catalog_id": catalog_id}
    elif path is None:
        wanted["problem"] = "Either 'path' or 'catalog_id' must be provided"
    elif version == "bad":
        wanted["problem"] = "Invalid version number"
    wanted["look_up"] = {name: value for name, value in look_up.items() if value is not None}
    return wanted


async def child_of(gateway: Gateway, message: Object, call: tuple[int, int] | None) -> Object:
    """Ask the parent's shard which execution this start stands for (design L6).

    A command that is issued again gets the child it had started before; the start is then sent
    once more under that child's id, which has one effect. A child on another shard than its
    parent is noted there, so that a cancel reaches it, and takes over the parent's trace.

    ``call`` is the execution and event id of the command whose run calls, if it is one.

    Raises:
        Refusal: the command is over; 503 when the parent's shard can't be asked.
    """
    parent, event_id = call or (message["parent_execution_id"], None)
    shards = gateway.services.shard_count
    if parent is None:
        return {}
    child_id = message["execution_id"]
    is_near = shard_for(parent, shard_count=shards) == shard_for(child_id, shard_count=shards)
    if event_id is None and is_near:
        return {}
    payload = orjson.dumps(message["payload"], option=orjson.OPT_SORT_KEYS)
    asked = {
        "execution_id": parent,
        "event_id": event_id,
        "child_id": child_id,
        "path": message["path"],
        "payload_digest": hashlib.sha256(payload).hexdigest(),
    }
    patience = gateway.settings.resolve_patience_seconds
    reply = await gateway.services.orchestrator(
        "child", asked, execution_id=parent, patience_seconds=patience
    )
    found = body_of(reply)
    trace = message.get("trace")
    return {
        "execution_id": int(found["child_id"]),
        "trace": found.get("trace") if trace is None else trace,
    }


async def start(gateway: Gateway, message: bytes, *, execution_id: int) -> RpcReply:
    """Publish a start and find out what became of it (design W5).

    Raises:
        Refusal: 503 means that the execution was not started and will not be; 504 that nobody
            could say.
    """
    settings = gateway.settings
    patience = Patience(
        seconds=settings.start_patience_seconds,
        linger_seconds=settings.clock_allowance_seconds,
        early=True,
    )
    try:
        return await gateway.writer.send(message, execution_id=execution_id, patience=patience)
    except NoAnswerError:
        return await _what_became_of_it(gateway, execution_id)


async def _what_became_of_it(gateway: Gateway, execution_id: int) -> RpcReply:
    try:
        reply = await gateway.services.projector(
            "executions.exists",
            {"execution_id": execution_id},
            execution_id=execution_id,
            patience_seconds=gateway.settings.exists_patience_seconds,
        )
        known = body_of(reply)
    except Refusal as refusal:
        text = f"It is not known whether execution {execution_id} has started"
        raise Refusal(504, text) from refusal
    if not known["exists"]:
        raise unavailable("The execution was not started: no orchestrator answered in time")
    body = {
        "execution_id": str(execution_id),
        "status": "started",
        "commands_generated": known.get("commands_generated") or 0,
    }
    return RpcReply(status=200, body=body)


def _inner(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _payload(source: Object, where: str) -> Object:
    merged: Object = {}
    for name in ("workload", "payload"):  # the canonical name wins key by key
        if name not in source:
            continue
        value = source[name]
        if not isinstance(value, dict):
            raise wrong_type(value, expected="a map", path=_inner(where, name))
        merged |= value
    return merged


def _version(value: Json, *, path: str) -> int | str | None:
    """Return the version, None for the newest, "bad" for a text that is no number."""
    if value is None or value == "latest":
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise wrong_type(value, expected="a version number", path=path)
    if isinstance(value, int):
        return value
    digits = value.removeprefix("+")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else "bad"


def _dedup(value: Json, *, path: str) -> Object:
    if value is None:
        return {}
    source = require_object(value, name="DedupSpec", path=path)
    key = text(source, "key", path=path)
    bounded_text(key, LONGEST_KEY, "dedup.key")
    seconds = source.get("window_secs", _WINDOW_SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise wrong_type(seconds, expected="u64", path=f"{path}.window_secs")
    if seconds < 0:
        raise bad_shape(f"{path}.window_secs: invalid value: integer `{seconds}`, expected u64")
    return {"dedup_key": key, "dedup_window_seconds": min(seconds, _LONGEST_WINDOW_SECONDS)}
