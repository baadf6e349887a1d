"""Decode ingress messages into inputs of turns."""

import hashlib
import json
import re
from datetime import UTC, datetime

import orjson
from msgspec.structs import asdict
from noetl_bus.consumers.delivery import Delivery
from noetl_common.errors import Permanent
from noetl_contract.ingress import (
    AGAIN_HEADER,
    NEXT_HEADER,
    CancelMessage,
    CommandOutcomeMessage,
    CommandStartMessage,
    EventsMessage,
    ExecuteMessage,
    IngressMessage,
    SignalMessage,
    deadline_of,
    decode_message,
    kind_of,
    tag_of,
)
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import ingress_subject

from noetl_orchestrator.log.keys import RequestKey
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.traces import arrival_of, with_root
from noetl_orchestrator.turn.inputs import Caller, TurnInput

_LONGEST_REASON = 500
# Deliveries of a parent's cancel of an unknown child; together longer than a start can take.
_CANCEL_DELIVERIES = 8
# A message of more deliveries may be why processes died, so it is decided alone (W14).
_CALM_DELIVERIES = 2
# A NUL as JSON escapes it, with the even number of backslashes before it that are not its own.
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


class Undecodable(Permanent):
    """The body is not an ingress message."""

    template = "the message can't be read: {reason}"


class WrongShard(Permanent):
    """The message belongs to another shard; here it would begin a second log (S4)."""

    template = "subject {subject} is not that of execution {execution_id}, {expected}"


class WrongKind(Permanent):
    """The subject names another kind than the body, whose sender may not publish that kind."""

    template = "subject {subject} is not that of a message {kind}"


def read_input(delivery: Delivery, data: bytes, caller: Caller, settings: Settings) -> TurnInput:
    """Return the input of a message, whose body was delivered or fetched.

    Raises:
        Undecodable, WrongShard, WrongKind: no later try can succeed.
    """
    message = with_root(_decode(delivery, data, settings))
    turn_input = _input_of(message, delivery, caller, settings.request_key_seconds)
    turn_input.arrival = arrival_of(delivery)
    return turn_input


def _decode(delivery: Delivery, data: bytes, settings: Settings) -> IngressMessage:
    """Decode a message, and check that its subject names its shard, execution and kind.

    The database refuses NUL characters. The edge replaces them; messages from elsewhere are
    treated the same here.
    """
    try:
        if b"\\u0000" in data:
            data = _NUL.sub(rb"\1\\ufffd", data)
        message = decode_message(data)
    except ValueError as error:
        raise Undecodable(reason=str(error)[:_LONGEST_REASON]) from error
    execution_id = message.execution_id
    shard = shard_for(execution_id, shard_count=settings.shard_count)
    kind = kind_of(message)
    expected = ingress_subject(shard, execution_id=execution_id, kind=kind)
    if delivery.subject == expected and shard == settings.shard_index:
        return message
    place = expected.removesuffix(kind)
    if shard == settings.shard_index and delivery.subject.startswith(place):
        raise WrongKind(subject=delivery.subject, kind=kind)
    raise WrongShard(subject=delivery.subject, execution_id=execution_id, expected=expected)


def _input_of(
    message: IngressMessage, delivery: Delivery, caller: Caller, idempotency_seconds: float
) -> TurnInput:
    turn_input = TurnInput(
        message.execution_id,
        _with_senders(message) if isinstance(message, EventsMessage) else message,
        caller,
        is_repeated=delivery.num_delivered > 1 or AGAIN_HEADER in delivery.headers,
    )
    if isinstance(message, CommandOutcomeMessage) and not turn_input.is_repeated:
        turn_input.wanted_next = delivery.headers.get(NEXT_HEADER)
    if delivery.num_delivered > _CALM_DELIVERIES:
        turn_input.watch = f"{message.execution_id}:{_sameness(message, delivery)}"
    if isinstance(message, ExecuteMessage):
        deadline = deadline_of(delivery.headers)
        if deadline is not None:
            turn_input.deadline = datetime.fromtimestamp(deadline / 1000, UTC)
        turn_input.request_keys = _start_keys(message, idempotency_seconds)
        turn_input.is_child = message.parent_execution_id is not None
    elif isinstance(message, EventsMessage) and message.idempotency_key:
        scope = f"events:{message.execution_id}"
        key = RequestKey(scope, message.idempotency_key, idempotency_seconds)
        turn_input.request_keys = (key,)
    elif isinstance(message, SignalMessage):
        scope = f"signal:{message.execution_id}"
        key = RequestKey(scope, f"{message.name}:{message.signal_id}", idempotency_seconds)
        turn_input.request_keys = (key,)
    elif isinstance(message, CancelMessage):
        turn_input.may_precede_start = (
            message.by_parent and delivery.num_delivered <= _CANCEL_DELIVERIES
        )
    return turn_input


def _sameness(message: IngressMessage, delivery: Delivery) -> str:
    """Return what a message has in common with its repetitions."""
    if isinstance(message, CommandStartMessage | CommandOutcomeMessage):
        return f"{tag_of(message)}:{message.hold.event_id}"  # sent again while unanswered (W6)
    return delivery.stored_at_ns


def _with_senders(message: EventsMessage) -> EventsMessage:
    """Return the message with its sender in every event that names none."""
    if message.worker_id is None or all(event.worker_id is not None for event in message.events):
        return message
    events = [
        event if event.worker_id is not None else event.but(worker_id=message.worker_id)
        for event in message.events
    ]
    return message.but(events=events)


def _start_keys(message: ExecuteMessage, idempotency_seconds: float) -> tuple[RequestKey, ...]:
    keys = []
    caller = message.actor
    if message.idempotency_key:
        # Where callers are known nobody meets the keys of others, nor his own of another path.
        scope = "execute" if caller is None else f"execute:{caller}:{message.path}"
        key = message.idempotency_key
        keys.append(RequestKey(scope, key, idempotency_seconds, _fingerprint(message)))
    if message.dedup_key:
        # Of a subscription the messages count, whoever brings them.
        parent = message.parent_execution_id
        scope = f"dedup:{parent or 0}"
        if message.dedup_scope is not None:
            scope = f"dedup:{_digest(message.dedup_scope)}"
        elif caller is not None and parent is None:
            scope = f"dedup:0:{caller}"
        keys.append(RequestKey(scope, message.dedup_key, float(message.dedup_window_seconds)))
    return tuple(keys)


def _digest(path: str) -> str:
    """Return what stands for a path in a key: an index takes no long texts."""
    return hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _fingerprint(message: ExecuteMessage) -> str:
    """Return a digest of all that decides what a start runs, but for the version."""
    asked = [
        message.path,
        message.payload,
        message.parent_execution_id,
        message.execution_pool,
    ]
    if message.restart is not None:
        asked.append(asdict(message.restart))
    try:
        said = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers beyond 64 bits
        said = json.dumps(asked, sort_keys=True).encode()
    return hashlib.sha256(said).hexdigest()
