"""Commands as they reach the worker: by notification, or as the answer to a claim."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from noetl_common.errors import Permanent
from noetl_contract import commands
from noetl_contract.commands import CommandNotification, FastPath, named_position, whole_context
from noetl_contract.json import Json, JsonObject

from noetl_worker.workloads import KnownWorkload, Workloads


class UndecodableNotification(Permanent):
    """A message on the command subjects that is no notification."""

    template = "not a command notification: {reason}"


class UndecodableClaim(Permanent):
    """A granted claim without the command."""

    template = "the answer to the claim of {event_id} has no command: {reason}"


@dataclass(slots=True)
class Command:
    """A command with everything its run needs."""

    execution_id: int
    event_id: int
    command_id: str
    step: str
    server_url: str
    action: str
    context: JsonObject
    meta: JsonObject = field(default_factory=dict)
    attempts: int = 0
    shard: int = 0
    fence: str = ""
    """Secret of the run, shown with its start and outcome; empty if the control plane has none."""
    may_move: bool = False
    """Whether another worker may have it if its tool can't begin here."""

    @property
    def timeout_seconds(self) -> float | None:
        """The step's own time limit, if it has one."""
        seconds = self.meta.get("timeout_seconds")
        if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0:
            return float(seconds)
        return None


def decode_notification(data: bytes) -> CommandNotification:
    """Decode as strictly as the original worker, which ends on data that is refused here.

    Raises:
        UndecodableNotification: it is no notification.
    """
    try:
        return commands.decode_notification(data)
    except ValueError as error:
        raise UndecodableNotification(reason=str(error)) from error


def command_of(note: CommandNotification, workloads: Workloads | None = None) -> Command | None:
    """Return the command inside a notification, if it is there and its workload is known."""
    fast = note.fast
    carried = None if fast is None else fast.command or fast.named
    if fast is None or carried is None:
        return None
    context, meta = carried.context, carried.meta
    position = named_position(context)
    if position is not None:
        known = _known(note, position, workloads)
        if known is None:
            return None
        context = whole_context(context, known.workload)
    return Command(
        execution_id=note.execution_id,
        event_id=note.event_id,
        command_id=note.command_id,
        step=note.step,
        server_url=note.server_url,
        action=carried.action,
        context=context if isinstance(context, dict) else {},
        meta=meta if isinstance(meta, dict) else {},
        attempts=fast.attempts,
        shard=fast.shard,
        fence=secret_in(note.server_url),
    )


def secret_in(server_url: str) -> str:
    """Return the secret part of a command's capability in its address; empty if there is none."""
    login, at, _ = server_url.partition("://")[2].partition("/")[0].rpartition("@")
    return login.partition(":")[2] if at else ""


def fresh_until(fast: FastPath) -> float:
    """Return the Unix seconds until which a command may start unclaimed; 0 means never."""
    if fast.until is None:
        return 0.0
    try:
        moment = datetime.fromisoformat(fast.until)
    except ValueError:
        return 0.0
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def decode_claim(
    body: Json, note: CommandNotification, workloads: Workloads | None = None
) -> Command:
    """Translate a granted claim; keep the workload that it brings.

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
    context = _whole(context, body, note, workloads)
    command_id = meta.get("command_id")
    if not isinstance(command_id, str):
        known = _is_int(command_id)
        command_id = str(command_id) if known else f"{body['execution_id']}:{step}:unknown"
    attempts = fast.get("attempts") if isinstance(fast, dict) else meta.get("attempts")
    fence = fast.get("fence") if isinstance(fast, dict) else None
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
        fence=fence if isinstance(fence, str) else secret_in(note.server_url),
    )


def _whole(
    context: Json, body: JsonObject, note: CommandNotification, workloads: Workloads | None
) -> Json:
    """Return a claim's context, with its workload if it names one.

    Raises:
        UndecodableClaim: that was not brought, and is not known.
    """
    position = named_position(context)
    if position is None:
        return context
    brought = body.get("workload")
    if isinstance(brought, dict):
        if workloads is not None:
            workloads.keep(note.execution_id, KnownWorkload(position, brought))
        return whole_context(context, brought)
    known = _known(note, position, workloads)
    if known is None:
        raise UndecodableClaim(event_id=note.event_id, reason="its workload is missing")
    return whole_context(context, known.workload)


def _known(
    note: CommandNotification, position: int, workloads: Workloads | None
) -> KnownWorkload | None:
    known = None if workloads is None else workloads.find(note.execution_id)
    return known if known is not None and known.position == position else None


def _is_int(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
