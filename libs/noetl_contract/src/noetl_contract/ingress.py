"""Messages of the ingress stream: everything accepted that must not be lost.

Headers: ``Nats-Msg-Id`` is the id of the attempt, never the event's; ``Noetl-Reply`` is the
subject that waits for the outcome and ``Noetl-Deadline`` (Unix milliseconds) the end of the
wait. ``Noetl-Again`` says that a copy went out before, which may have been committed.

A message above the broker's limit is kept in the result store first; a ``StoredMessage`` with
the header ``Noetl-Stored`` travels in its place (W13).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal, NotRequired, TypedDict

import orjson
from pydantic import BaseModel, Field, TypeAdapter

from noetl_contract.commands import CommandNotification
from noetl_contract.failures.ended import AfterEnd
from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Model
from noetl_contract.subjects import IngressKind

REPLY_HEADER = "Noetl-Reply"
DEADLINE_HEADER = "Noetl-Deadline"
STORED_HEADER = "Noetl-Stored"
AGAIN_HEADER = "Noetl-Again"
NEXT_HEADER = "Noetl-Next"
NEXT_NAMED = "2"
"""Value of that header of a worker that reads commands which name their workload; else ``1``."""


class WireEvent(Model):
    """One worker event after the edge normalised it."""

    event_type: str
    step: str
    event_id: int | None = None
    status: str | None = None
    context: Json = None
    meta: Json = None
    worker_id: str | None = None
    result_kind: str = "data"
    result_uri: str | None = None
    event_ids: list[int] | None = None
    actionable: bool = True
    informative: bool = True
    created_at: datetime | None = None


class Restart(Model):
    """What a start goes on from: the execution of the same shard that ended, and what is changed.

    Without ``from_step`` it is what failed; with ``iterations`` only these of that loop run again.
    """

    execution_id: int
    from_step: str | None = None
    iterations: list[int] | None = None
    input: JsonObject | None = None


class ExecuteMessage(Model):
    """Start an execution whose id exists already; the playbook version is pinned (S5).

    A start past the deadline of its headers is dropped (W5). ``owner`` is the principal whose
    rights the execution has, ``actor`` the one that asked, ``namespace`` the path prefix which
    its children stay in; all of them go into the first event's ``meta``. ``dedup_scope`` is the
    path below which the key counts, in place of the parent. A child on another shard
    than its parent brings the execution that its family began with, and how many generations it is
    below that; the others are looked up. ``after`` is the end that caused the start; it names its
    playbook by path, with ``catalog_id`` 0, and ``version`` 0 is the newest. ``timeout_seconds``
    is the deadline that the caller asks for, if it is shorter than the playbook's. ``plugins`` are
    the versions of plug-ins that the execution keeps, by the names in its playbook; the
    orchestrator asks for them.
    """

    type: Literal["execute"] = "execute"
    v: Literal[1] = 1
    execution_id: int
    catalog_id: int
    path: str
    version: int
    payload: JsonObject = Field(default_factory=dict)
    parent_execution_id: int | None = None
    execution_pool: str | None = None
    trace: Json = None
    dedup_key: str | None = None
    dedup_window_seconds: int = 300
    dedup_scope: str | None = None
    idempotency_key: str | None = None
    owner: str | None = None
    actor: str | None = None
    namespace: str | None = None
    root_execution_id: int | None = None
    depth: int = Field(default=0, ge=0)
    restart: Restart | None = None
    after: AfterEnd | None = None
    timeout_seconds: float | None = Field(default=None, gt=0)
    plugins: JsonObject | None = None


class EventsMessage(Model):
    """Events posted over HTTP: one (``batch`` false) or a batch of one execution."""

    type: Literal["events"] = "events"
    v: Literal[1] = 1
    execution_id: int
    events: list[WireEvent]
    batch: bool = False
    worker_id: str | None = None
    idempotency_key: str | None = None


class CancelMessage(Model):
    """Cancel an execution, with all descendants when ``cascade``.

    ``by_parent`` marks what an ended parent sends to a child, whose start it may overtake.
    """

    type: Literal["cancel"] = "cancel"
    v: Literal[1] = 1
    execution_id: int
    reason: str | None = None
    cascade: bool = False
    by_parent: bool = False
    actor: str | None = None


class FinalizeMessage(Model):
    """Finish an execution from outside."""

    type: Literal["finalize"] = "finalize"
    v: Literal[1] = 1
    execution_id: int
    status: Literal["COMPLETED", "FAILED"]
    error: str | None = None
    actor: str | None = None


class SignalMessage(Model):
    """Something from outside that a wait waits for, or will.

    The same ``signal_id`` has one effect. ``step``, ``iteration`` and ``wait_id`` say which wait
    may take it; without them the oldest does.
    """

    type: Literal["signal"] = "signal"
    v: Literal[1] = 1
    execution_id: int
    name: str
    signal_id: str
    payload: Json = None
    step: str | None = None
    iteration: int | None = None
    wait_id: int | None = None
    actor: str | None = None


class PauseMessage(Model):
    """Let an execution issue no new command until it is resumed."""

    type: Literal["pause"] = "pause"
    v: Literal[1] = 1
    execution_id: int
    reason: str | None = None
    actor: str | None = None


class ResumeMessage(Model):
    """Let a paused execution go on."""

    type: Literal["resume"] = "resume"
    v: Literal[1] = 1
    execution_id: int
    reason: str | None = None
    actor: str | None = None


class StoredMessage(Model):
    """The place and size of the message that this one stands for."""

    type: Literal["stored"] = "stored"
    v: Literal[1] = 1
    execution_id: int
    ref: str
    size: int


class Hold(Model):
    """The run of a command by one process of a worker: the fence of the fast path.

    ``fence`` is the secret part of the command's capability, with the attempt of this run: it
    proves that the sender was given the command. The release before sends none.
    """

    event_id: int
    command_id: str
    step: str
    attempts: int
    worker_id: str
    instance: str
    fence: str | None = None


class CommandStartMessage(Model):
    """A worker began a command over the fast path."""

    type: Literal["command.start"] = "command.start"
    v: Literal[1] = 1
    execution_id: int
    hold: Hold
    events: list[WireEvent]


class CommandOutcomeMessage(Model):
    """A worker ended a command over the fast path."""

    type: Literal["command.outcome"] = "command.outcome"
    v: Literal[1] = 1
    execution_id: int
    hold: Hold
    events: list[WireEvent]


class HoldFields(TypedDict):
    """`Hold` as a worker writes it: making models would take ten times as long."""

    event_id: int
    command_id: str
    step: str
    attempts: int
    worker_id: str
    instance: str
    fence: NotRequired[str]


class EventFields(TypedDict):
    """The fields of `WireEvent` that a worker writes."""

    event_type: str
    step: str
    event_id: int
    status: str
    context: JsonObject
    meta: JsonObject
    worker_id: str
    created_at: str


class CommandMessageFields(TypedDict):
    """`CommandStartMessage` or `CommandOutcomeMessage` as a worker writes it."""

    type: Literal["command.start", "command.outcome"]
    v: Literal[1]
    execution_id: int
    hold: HoldFields
    events: list[EventFields]


class FastAnswer(Model):
    """The answer to a start (``held`` or ``lost``) or an outcome (``ok`` or ``late``).

    ``next`` is the notification of a command that the worker may run at once, to an outcome whose
    sender has asked for one.
    """

    status: Literal["held", "lost", "ok", "late"]
    reason: str | None = None
    error: str | None = None
    next: CommandNotification | None = None


type IngressMessage = Annotated[
    ExecuteMessage
    | EventsMessage
    | CancelMessage
    | FinalizeMessage
    | SignalMessage
    | PauseMessage
    | ResumeMessage
    | CommandStartMessage
    | CommandOutcomeMessage,
    Field(discriminator="type"),
]

INGRESS: TypeAdapter[IngressMessage] = TypeAdapter(IngressMessage)
"""Decodes an ingress body: ``INGRESS.validate_json(data)``."""


def kind_of(message: IngressMessage) -> IngressKind:
    """Return the kind that the subject of a message has to name."""
    match message.type:
        case "command.start":
            return "start"
        case "command.outcome":
            return "outcome"
        case other:
            return other


def deadline_of(headers: Mapping[str, str]) -> int | None:
    """Return the deadline of a message in Unix milliseconds, if it has a legible one."""
    text = headers.get(DEADLINE_HEADER, "")
    return int(text) if text.isdigit() else None


def encode_message(message: IngressMessage | StoredMessage) -> bytes:
    """Encode a message with all its fields; free JSON may hold ``orjson.Fragment``.

    Raises:
        ValueError: a value of it is not JSON.
    """
    try:
        return orjson.dumps(message, default=_fields)
    except TypeError:
        return message.model_dump_json().encode()


def _fields(value: object) -> JsonObject:
    if isinstance(value, BaseModel):
        return value.__dict__
    raise TypeError(f"{type(value).__name__} is not JSON")
