"""Commands as they reach the worker: the notification, and what a claim answers."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from noetl_common.errors import Permanent

__all__ = [
    "Command",
    "FastPart",
    "Notification",
    "UndecodableClaim",
    "UndecodableNotification",
    "command_of",
    "decode_claim",
    "decode_notification",
]

_FAST_VERSION = 1


class UndecodableNotification(Permanent):
    """A message on the command subjects that is no notification."""

    template = "not a command notification: {reason}"


class UndecodableClaim(Permanent):
    """A granted claim without the command."""

    template = "the answer to the claim of {event_id} has no command: {reason}"


@dataclass(frozen=True, slots=True)
class FastPart:
    """The key of ours in a notification (worker 22.2)."""

    shard: int
    attempts: int
    until: float
    """Unix seconds; 0 when the command must be claimed."""
    command: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Notification:
    """The doorbell."""

    execution_id: int
    event_id: int
    command_id: str
    step: str
    server_url: str
    trace: dict[str, Any] | None
    fast: FastPart | None
    """None also for a version we don't know: such a command is claimed over HTTP."""


@dataclass(slots=True)
class Command:
    """What to run, and for whom."""

    execution_id: int
    event_id: int
    command_id: str
    step: str
    server_url: str
    action: str
    context: dict[str, Any]
    meta: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    shard: int = 0

    @property
    def timeout_seconds(self) -> float | None:
        """The step's own time limit, if it has one (worker 15.1)."""
        seconds = self.meta.get("timeout_seconds")
        if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0:
            return float(seconds)
        return None


def decode_notification(data: bytes) -> Notification:
    """Decode strictly where the reference is strict (worker 6.4).

    Raises:
        UndecodableNotification: it isn't one.
    """
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise UndecodableNotification(reason=str(error)) from error
    if not isinstance(body, dict):
        raise UndecodableNotification(reason="not an object")
    command_id = body.get("command_id")
    if _is_int(command_id):
        command_id = str(command_id)
    found = {
        "command_id": command_id,
        "step": body.get("step"),
        "server_url": body.get("server_url"),
    }
    for name, value in found.items():
        if not isinstance(value, str):
            raise UndecodableNotification(reason=f"`{name}` is not a string")
    for name in ("execution_id", "event_id"):
        if not _is_int(body.get(name)):
            raise UndecodableNotification(reason=f"`{name}` is not an integer")
    trace = body.get("trace")
    return Notification(
        execution_id=body["execution_id"],
        event_id=body["event_id"],
        command_id=str(command_id),
        step=body["step"],
        server_url=body["server_url"],
        trace=trace if isinstance(trace, dict) else None,
        fast=_decode_fast(body.get("fast")),
    )


def command_of(note: Notification) -> Command | None:
    """Return the command inside a notification, if it is there."""
    if note.fast is None or note.fast.command is None:
        return None
    body = note.fast.command
    action, context, meta = body.get("action"), body.get("context"), body.get("meta")
    if not isinstance(action, str):
        return None
    return Command(
        execution_id=note.execution_id,
        event_id=note.event_id,
        command_id=note.command_id,
        step=note.step,
        server_url=note.server_url,
        action=action,
        context=context if isinstance(context, dict) else {},
        meta=meta if isinstance(meta, dict) else {},
        attempts=note.fast.attempts,
        shard=note.fast.shard,
    )


def decode_claim(body: Any, note: Notification) -> Command:
    """Translate a granted claim (worker 7.2 and 7.5).

    Raises:
        UndecodableClaim: it is of another shape.
    """
    if not isinstance(body, dict):
        raise UndecodableClaim(event_id=note.event_id, reason="not an object")
    step, action = body.get("node_name"), body.get("action")
    if not isinstance(step, str) or not isinstance(action, str):
        raise UndecodableClaim(event_id=note.event_id, reason="no `node_name` or `action`")
    if not _is_int(body.get("execution_id")):
        raise UndecodableClaim(event_id=note.event_id, reason="`execution_id` is not an integer")
    context, meta, fast = body.get("context"), body.get("meta"), body.get("fast")
    if not isinstance(meta, dict):
        meta = {}
    command_id = meta.get("command_id")
    if not isinstance(command_id, str):
        known = _is_int(command_id)
        command_id = str(command_id) if known else f"{body['execution_id']}:{step}:unknown"
    attempts = fast.get("attempts") if isinstance(fast, dict) else meta.get("attempts")
    return Command(
        execution_id=body["execution_id"],
        event_id=note.event_id,
        command_id=command_id,
        step=step,
        server_url=note.server_url,
        action=action,
        context=context if isinstance(context, dict) else {},
        meta=meta,
        attempts=attempts if isinstance(attempts, int) else 0,
        shard=note.fast.shard if note.fast is not None else 0,
    )


def _decode_fast(value: Any) -> FastPart | None:
    if not isinstance(value, dict) or value.get("v") != _FAST_VERSION:
        return None
    shard, attempts = value.get("shard"), value.get("attempts")
    if not isinstance(shard, int) or not isinstance(attempts, int):
        return None
    command, until = value.get("command"), value.get("until")
    return FastPart(
        shard=shard,
        attempts=attempts,
        until=_unix_seconds(until) if isinstance(until, str) else 0.0,
        command=command if isinstance(command, dict) else None,
    )


def _unix_seconds(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
