"""Messages of the ingress stream: everything accepted that must not be lost.

Headers: ``Nats-Msg-Id`` is the id of the attempt, never the event's; ``Noetl-Reply`` is the
subject that waits for the outcome and ``Noetl-Deadline`` (Unix milliseconds) the end of the
wait. ``Noetl-Again`` says that a copy went out before, which may have been committed.

A message above the broker's limit is kept in the result store first; a ``StoredMessage`` with
the header ``Noetl-Stored`` travels in its place (W13).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, field
from msgspec.json import Decoder, Encoder
from pydantic_core import from_json

from noetl_contract.access.principal import folder_of
from noetl_contract.commands import CommandNotification
from noetl_contract.failures.ended import AfterEnd
from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Struct, decode
from noetl_contract.subjects import WriteKind

REPLY_HEADER = "Noetl-Reply"
DEADLINE_HEADER = "Noetl-Deadline"
STORED_HEADER = "Noetl-Stored"
AGAIN_HEADER = "Noetl-Again"
NEXT_HEADER = "Noetl-Next"
FORWARDED_HEADER = "Noetl-Forwarded"
"""On what a replica has read from the stream for another: deliveries, sequence, time stored."""
NEXT_NAMED = "2"
"""Value of that header of a worker that reads commands which name their workload; else ``1``."""


class WireEvent(Struct):
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


class Restart(Struct):
    """Origin of a start: the ended execution of the same shard that it goes on from, and changes.

    Without ``from_step`` it is what failed; with ``iterations`` only these of that loop run again.
    """

    execution_id: int
    from_step: str | None = None
    iterations: list[int] | None = None
    input: JsonObject | None = None


class ExecuteMessage(Struct, tag_field="type", tag="execute"):
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

    v: Literal[1] = 1
    execution_id: int
    catalog_id: int
    path: str
    version: int
    payload: JsonObject = field(default_factory=dict)
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
    depth: Annotated[int, Meta(ge=0)] = 0
    restart: Restart | None = None
    after: AfterEnd | None = None
    timeout_seconds: Annotated[float, Meta(gt=0)] | None = None
    plugins: JsonObject | None = None


class Lineage(Struct):
    """Values that a child inherits from its parent; None where the log of that has none.

    Attributes:
        trace: its W3C context.
        owner: the principal whose rights it has.
        namespace: the path prefix which it stays in.
        root_execution_id: the execution that its family began with.
        depth: how many generations the child is below that.
    """

    trace: Json = None
    owner: str | None = None
    namespace: str | None = None
    root_execution_id: int | None = None
    depth: int = 0


def with_lineage(start: ExecuteMessage, parent: Lineage) -> ExecuteMessage:
    """Return the start of a child with what it takes over; what it has of its own it keeps.

    What a trigger starts has the rights of who registered the trigger, who was asked for them. Is
    that not known, it belongs to the trigger, and stays in the folder that it is in.
    """
    after = start.after
    if after is not None and after.is_trigger:
        folder = None if parent.namespace is None else folder_of(start.path)
        parent = parent.but(owner=f"trigger:{after.trigger}", namespace=folder)
    taken_over = {
        name: getattr(parent, name)
        for name in ("trace", "owner", "namespace")
        if getattr(start, name) is None
    }
    if start.root_execution_id is None and parent.root_execution_id is not None:
        taken_over |= {"root_execution_id": parent.root_execution_id, "depth": parent.depth}
    return start.but(**taken_over) if taken_over else start


class EventsMessage(Struct, tag_field="type", tag="events"):
    """Events posted over HTTP: one (``batch`` false) or a batch of one execution."""

    v: Literal[1] = 1
    execution_id: int
    events: list[WireEvent]
    batch: bool = False
    worker_id: str | None = None
    idempotency_key: str | None = None


class CancelMessage(Struct, tag_field="type", tag="cancel"):
    """Cancel an execution, with all descendants when ``cascade``.

    ``by_parent`` marks what an ended parent sends to a child, whose start it may overtake.
    """

    v: Literal[1] = 1
    execution_id: int
    reason: str | None = None
    cascade: bool = False
    by_parent: bool = False
    actor: str | None = None


class FinalizeMessage(Struct, tag_field="type", tag="finalize"):
    """Finish an execution from outside."""

    v: Literal[1] = 1
    execution_id: int
    status: Literal["COMPLETED", "FAILED"]
    error: str | None = None
    actor: str | None = None


class SignalMessage(Struct, tag_field="type", tag="signal"):
    """Something from outside that a wait waits for, or will.

    The same ``signal_id`` has one effect. ``step``, ``iteration`` and ``wait_id`` say which wait
    may take it; without them the oldest does.
    """

    v: Literal[1] = 1
    execution_id: int
    name: str
    signal_id: str
    payload: Json = None
    step: str | None = None
    iteration: int | None = None
    wait_id: int | None = None
    actor: str | None = None


class PauseMessage(Struct, tag_field="type", tag="pause"):
    """Let an execution issue no new command until it is resumed."""

    v: Literal[1] = 1
    execution_id: int
    reason: str | None = None
    actor: str | None = None


class ResumeMessage(Struct, tag_field="type", tag="resume"):
    """Let a paused execution go on."""

    v: Literal[1] = 1
    execution_id: int
    reason: str | None = None
    actor: str | None = None


class StoredMessage(Struct, tag_field="type", tag="stored"):
    """The place and size of the message that this one stands for."""

    v: Literal[1] = 1
    execution_id: int
    ref: str
    size: int


class Hold(Struct):
    """The run of a command by one process of a worker: the fence of the fast path.

    ``fence`` is the secret part of the command's capability, with the attempt of this run: it
    proves that the sender was given the command.
    """

    event_id: int
    command_id: str
    step: str
    attempts: int
    worker_id: str
    instance: str
    fence: str | None = None


class CommandStartMessage(Struct, tag_field="type", tag="command.start"):
    """A worker began a command over the fast path."""

    v: Literal[1] = 1
    execution_id: int
    hold: Hold
    events: list[WireEvent]


class CommandOutcomeMessage(Struct, tag_field="type", tag="command.outcome"):
    """A worker ended a command over the fast path."""

    v: Literal[1] = 1
    execution_id: int
    hold: Hold
    events: list[WireEvent]


class ClaimMessage(Struct):
    """A worker asks for a command; ``instance`` is absent over HTTP.

    Without ``execution_id`` the subject names ``event_id``. ``after_start`` says that a start over
    the fast path was published and is unanswered. ``fence`` is the secret part of the capability
    in the notification, of any attempt. ``known_workload`` is the log position of the workload
    that the worker has of the execution, 0 for none; without it the answer has whole contexts only.
    """

    execution_id: int | None = None
    event_id: int
    worker_id: str
    instance: str | None = None
    after_start: bool = False
    fence: str | None = None
    known_workload: int | None = None


class FastAnswer(Struct):
    """The answer to a start (``held`` or ``lost``) or an outcome (``ok`` or ``late``).

    ``next`` is the notification of a command that the worker may run at once, to an outcome whose
    sender has asked for one.
    """

    status: Literal["held", "lost", "ok", "late"]
    reason: str | None = None
    error: str | None = None
    next: CommandNotification | None = None


type IngressMessage = (
    ExecuteMessage
    | EventsMessage
    | CancelMessage
    | FinalizeMessage
    | SignalMessage
    | PauseMessage
    | ResumeMessage
    | CommandStartMessage
    | CommandOutcomeMessage
)
type WriteMessage = IngressMessage | ClaimMessage
"""Bodies of requests; a claim has no type, as its subject tells it from the others."""

_MOST_LEVELS = 200
_INGRESS: Decoder[IngressMessage] = Decoder(IngressMessage)
# Workers of other makes may write ids as texts.
_CLAIM: Decoder[ClaimMessage] = Decoder(ClaimMessage, strict=False)


def decode_claim(data: bytes) -> ClaimMessage:
    """Decode a claim.

    Raises:
        ValueError: it is none.
    """
    return decode(_CLAIM, data)


def decode_message(data: bytes) -> IngressMessage:
    """Decode the body of an ingress message.

    Raises:
        ValueError: it is none, or nested deeper than 200 levels; the text names the place and no
            value of it.
    """
    message = decode(_INGRESS, data)
    if data.count(b"{") + data.count(b"[") > _MOST_LEVELS:
        # What is written to the database and read from it may not be nested much deeper than that.
        # This parser refuses it, and no other does so without walking all values in Python.
        from_json(data)
    return message


def tag_of(message: IngressMessage) -> str:
    """Return the ``type`` that a message has in its body."""
    return str(message.__struct_config__.tag)


def kind_of(message: WriteMessage) -> WriteKind:
    """Return the kind that the subject of a message has to name."""
    return _KINDS[type(message)]


def place_of(message: WriteMessage) -> int:
    """Return the id that the subject of a message has to name."""
    if isinstance(message, ClaimMessage):
        return message.execution_id or message.event_id
    return message.execution_id


_KINDS: dict[type[Struct], WriteKind] = {
    ExecuteMessage: "execute",
    EventsMessage: "events",
    CancelMessage: "cancel",
    FinalizeMessage: "finalize",
    SignalMessage: "signal",
    PauseMessage: "pause",
    ResumeMessage: "resume",
    CommandStartMessage: "start",
    CommandOutcomeMessage: "outcome",
    ClaimMessage: "claim",
}


def deadline_of(headers: Mapping[str, str]) -> int | None:
    """Return the deadline of a message in Unix milliseconds, if it has a legible one."""
    text = headers.get(DEADLINE_HEADER, "")
    return int(text) if text.isdigit() else None


def encode_message(message: WriteMessage | StoredMessage) -> bytes:
    """Encode a message; free JSON may hold ``msgspec.Raw``, which is JSON already.

    Raises:
        ValueError: a text in it is not Unicode (a lone surrogate).
        TypeError: a value in it is not JSON.
    """
    return _ENCODER.encode(message)


_ENCODER = Encoder()
