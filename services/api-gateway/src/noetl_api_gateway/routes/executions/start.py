"""`POST /api/execute`."""

import hashlib
import re
from contextlib import nullcontext
from datetime import UTC, datetime

import orjson
from litestar import Response
from noetl_bus.writes.exchange import NoAnswer, WriteTimeout
from noetl_common.ids import mint_beside, mint_on_shard_of
from noetl_common.logging import get_logger
from noetl_contract.access.rights import Right
from noetl_contract.http.executions.start import ExecuteAnswer, ExecuteRequest
from noetl_contract.ingress import ExecuteMessage, Restart, with_lineage
from noetl_contract.rpc.catalog import RESOLVE, EntryName
from noetl_contract.rpc.orchestrator import (
    CHILD,
    LOG_PROJECT,
    ChildRequest,
    LogEnvelope,
    ProjectRows,
)
from noetl_contract.rpc.projector import EXECUTIONS_EXISTS, ExecutionName
from noetl_contract.sharding import shard_for

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.caller import as_the_edge, caller
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import idempotency_key
from noetl_api_gateway.http.refusals import Refusal, unavailable
from noetl_api_gateway.http.shell import call_of, chosen_execution
from noetl_api_gateway.metrics import EXECUTE_OUTCOMES
from noetl_api_gateway.routes.executions.ownership import (
    Subscriber,
    caller_s_key,
    handed_on,
    own_call,
    owned,
    subscriber_of,
)
from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("executions")

_log = get_logger()


_WINDOW_SECONDS = 300
_AUDIT_SECONDS = 1.0
_LONGEST_WINDOW_SECONDS = 10 * 365 * 86400


@TOPIC.route(
    "POST /api/execute",
    ExecuteAnswer,
    body=ExecuteRequest,
    needs=Right.EXECUTIONS_START,
    summary="Start an execution",
    errors={
        404: "Playbook not found: examples/nothing",
        422: "Either 'path' or 'catalog_id' must be provided",
    },
)
async def execute(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Pin the playbook's version, publish the start, answer after its commit."""
    wanted = await read_body(request, ExecuteRequest)
    entry_of(wanted)
    key = idempotency_key(request)
    answer = await begin(
        gateway,
        wanted,
        key=key,
        call=call_of(request.scope),
        chosen=chosen_execution(request.scope),
    )
    EXECUTE_OUTCOMES.labels("single", outcome_of(answer)).inc()
    return json_answer(request, answer)


async def begin(
    gateway: Gateway,
    wanted: ExecuteRequest,
    *,
    key: str | None,
    call: tuple[int, int] | None,
    restart: Restart | None = None,
    chosen: int | None = None,
    below: Subscriber | None = None,
) -> ExecuteAnswer:
    """Start an execution, under the chosen id or one of the shard that remembers its keys.

    One below a subscription has the rights of who registered that.

    Raises:
        Refusal: nothing was started, or it is not known whether.
    """
    gateway.writer.refuse_overload()
    who = caller()
    # What a command may start is decided by its parent's owner, below.
    with as_the_edge() if who is not None and who.kind == "capability" else nullcontext():
        found = await gateway.services.ask_together(
            RESOLVE, entry_of(wanted), within=gateway.settings.resolve_patience_seconds
        )
    key = caller_s_key(key, found.path)
    dedup = wanted.dedup
    window = _WINDOW_SECONDS if dedup is None else dedup.window_secs
    message = ExecuteMessage(
        execution_id=_mint(gateway, wanted, key, restart) if chosen is None else chosen,
        catalog_id=found.catalog_id,
        path=found.path,
        version=found.version,
        payload={**wanted.workload, **wanted.payload},
        parent_execution_id=wanted.parent_execution_id,
        execution_pool=wanted.execution_pool or None,
        trace=wanted.trace,
        dedup_key=None if dedup is None else dedup.key,
        dedup_window_seconds=min(window, _LONGEST_WINDOW_SECONDS),
        dedup_scope=_scope_of(wanted),
        idempotency_key=key,
        restart=restart,
        timeout_seconds=wanted.timeout,
    )
    below = below or await subscriber_of(gateway, wanted.parent_execution_id, call)
    message = await owned(gateway, message, below)
    message = await _as_child(gateway, message, await own_call(gateway, call))
    answer = await _committed(gateway, message)
    if key is None and dedup is not None and answer.status == "duplicate":
        await _note_suppressed(gateway, message, answer.execution_id)
    return answer


def outcome_of(answer: ExecuteAnswer) -> str:
    """Return the outcome of a start, as the metric's label."""
    return "duplicate" if answer.status == "duplicate" else "new"


def entry_of(wanted: ExecuteRequest) -> EntryName:
    """Return the fields by which the catalog looks the playbook up.

    Raises:
        Refusal: 422, neither a playbook nor a valid version is named.
    """
    if wanted.catalog_id is not None:
        return EntryName(catalog_id=wanted.catalog_id)
    if wanted.path is None:
        raise Refusal(422, "Either 'path' or 'catalog_id' must be provided")
    return EntryName(path=wanted.path, version=_version_number(wanted.version))


_AUTHORS_VERSION = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){1,3}", re.ASCII)


def _version_number(version: int | str | None) -> int | None:
    """Return the version, None for the newest.

    A text like `1.0` is the version that an author gave the document, which pins none of ours.
    """
    if version is None or version == "latest":
        return None
    if isinstance(version, int):
        return version
    if _AUTHORS_VERSION.fullmatch(version):
        return None
    digits = version.removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise Refusal(422, "Invalid version number")
    return int(digits)


def _scope_of(wanted: ExecuteRequest) -> str | None:
    """Return the path below which a dedup key counts.

    Raises:
        Refusal: 403, its keys are those of others.
    """
    scope = None if wanted.dedup is None else wanted.dedup.scope
    who = caller()
    if scope and who is not None and not who.reaches(scope):
        raise Refusal(403, f"'{scope[:200]}' is outside of the namespaces of {who.name}")
    return scope or None


def _mint(
    gateway: Gateway, wanted: ExecuteRequest, key: str | None, restart: Restart | None
) -> int:
    """Mint an execution id that lives where its keys are remembered, and its origin.

    Equal keys must meet on one shard: the second request is answered by the row that the first
    has left there. A dedup key decides before an Idempotency-Key, which comes with the same
    body each time and so with the same dedup key.
    """
    shards = gateway.services.shard_count
    if restart is not None:
        return mint_beside(gateway.ids, restart.execution_id, shard_count=shards)
    if wanted.dedup is not None:
        place = wanted.dedup.scope or wanted.parent_execution_id or 0
        home = f"dedup:{place}:{wanted.dedup.key}"
    elif key is not None:
        home = f"execute:{key}"
    else:
        return gateway.ids.next()
    return mint_on_shard_of(gateway.ids, home, shard_count=shards)


async def _note_suppressed(gateway: Gateway, message: ExecuteMessage, original: str) -> None:
    """Note a suppressed duplicate in the log of its subscription."""
    scope = message.parent_execution_id
    if scope is None:
        return
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    row = LogEnvelope(
        event_id=gateway.ids.next(),
        execution_id=scope,
        event_type="subscription.message.deduplicated",
        node_id="subscription",
        node_name="ingress",
        node_type="subscription",
        status="DEDUPLICATED",
        context={
            "subscription_id": str(scope),
            "dedup_key": message.dedup_key,
            "original_execution_id": original,
            "suppressed_execution_id": str(message.execution_id),
            "duplicate_suppressed": True,
        },
        meta={"emitted_at": now, "emitter": "control_plane"},
    )
    wanted = ProjectRows(events=[row], only_to_known=True)
    try:
        await gateway.services.forward(
            LOG_PROJECT, wanted, execution_id=scope, within=_AUDIT_SECONDS
        )
    except Refusal as refusal:
        _log.info("duplicate_not_noted", execution_id=scope, reason=refusal.text)


async def _as_child(
    gateway: Gateway, message: ExecuteMessage, call: tuple[int, int] | None
) -> ExecuteMessage:
    """Return the start under the id that the parent's shard has for it (L6).

    A command that is issued again gets the child it had started before; the start is then sent
    once more under that child's id, which has one effect. A child on another shard than its
    parent is noted there, so that a cancel reaches it, and takes over the parent's trace.

    ``call`` is the execution and event id of the command whose run calls, if it is one.

    Raises:
        Refusal: the command is over; 503 when the parent's shard can't be asked.
    """
    parent, event_id = call or (message.parent_execution_id, None)
    shards = gateway.services.shard_count
    if parent is None:
        return message
    child_id = message.execution_id
    is_near = shard_for(parent, shard_count=shards) == shard_for(child_id, shard_count=shards)
    who = caller()
    if event_id is None and is_near and (who is None or who.kind != "capability"):
        return message
    payload = orjson.dumps(message.payload, option=orjson.OPT_SORT_KEYS)
    asked = ChildRequest(
        execution_id=parent,
        event_id=event_id,
        child_id=child_id,
        path=message.path,
        payload_digest=hashlib.sha256(payload).hexdigest(),
    )
    wait = gateway.settings.resolve_patience_seconds
    found = await gateway.services.ask(CHILD, asked, execution_id=parent, within=wait)
    message = with_lineage(message, await handed_on(gateway, message, found))
    return message.but(execution_id=found.child_id)


async def _committed(gateway: Gateway, message: ExecuteMessage) -> ExecuteAnswer:
    """Publish a start and return its outcome, from the log where no answer came (W5).

    Raises:
        Refusal: 503 means that the execution was not started and will not be; 504 that it is
            not known.
    """
    settings = gateway.settings
    wait = WriteTimeout(
        seconds=settings.start_patience_seconds,
        linger_seconds=settings.clock_allowance_seconds,
        early=True,
    )
    try:
        return ExecuteAnswer.model_validate_json(await gateway.writer.send(message, wait=wait))
    except NoAnswer:
        return await _outcome_in_log(gateway, message.execution_id)


async def _outcome_in_log(gateway: Gateway, execution_id: int) -> ExecuteAnswer:
    try:
        known = await gateway.services.ask(
            EXECUTIONS_EXISTS,
            ExecutionName(execution_id=execution_id),
            execution_id=execution_id,
            within=gateway.settings.exists_patience_seconds,
        )
    except Refusal as refusal:
        text = f"It is not known whether execution {execution_id} has started"
        raise Refusal(504, text) from refusal
    if not known.exists:
        raise unavailable("The execution was not started: no orchestrator answered in time")
    return ExecuteAnswer(
        execution_id=str(execution_id),
        status="started",
        commands_generated=known.commands_generated,
    )
