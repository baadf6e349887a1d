"""Messages of the ingress stream: everything accepted that must not be lost.

Headers: ``Nats-Msg-Id`` is the id of the attempt, never the event's (design 3.1);
``Noetl-Reply`` is the subject that waits for the outcome and ``Noetl-Deadline`` (Unix
milliseconds) the moment after which nobody waits any more.

A message above the broker's limit is kept in the result store first; what travels in its place
is a ``StoredMessage``, told by the header ``Noetl-Stored`` (design W13).
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

__all__ = [
    "DEADLINE_HEADER",
    "INGRESS",
    "REPLY_HEADER",
    "STORED_HEADER",
    "CancelMessage",
    "CommandOutcomeMessage",
    "CommandStartMessage",
    "EventsMessage",
    "ExecuteMessage",
    "FinalizeMessage",
    "Hold",
    "IngressMessage",
    "StoredMessage",
    "WireEvent",
]

REPLY_HEADER = "Noetl-Reply"
DEADLINE_HEADER = "Noetl-Deadline"
STORED_HEADER = "Noetl-Stored"

_MODEL = ConfigDict(frozen=True, extra="ignore")


class WireEvent(BaseModel):
    """One worker event after the edge normalised it (http-b 3.1)."""

    model_config = _MODEL

    event_type: str
    step: str
    event_id: int | None = None
    status: str | None = None
    context: Any = None
    meta: Any = None
    worker_id: str | None = None
    result_kind: str = "data"
    result_uri: str | None = None
    event_ids: list[int] | None = None
    actionable: bool = True
    informative: bool = True
    created_at: datetime | None = None


class ExecuteMessage(BaseModel):
    """Start an execution whose id exists already; the playbook version is pinned (S5).

    A start past the deadline of its headers is dropped (W5).
    """

    model_config = _MODEL

    type: Literal["execute"] = "execute"
    v: Literal[1] = 1
    execution_id: int
    catalog_id: int
    path: str
    version: int
    payload: dict[str, Any] = Field(default_factory=dict)
    parent_execution_id: int | None = None
    execution_pool: str | None = None
    trace: Any = None
    dedup_key: str | None = None
    dedup_window_seconds: int = 300
    idempotency_key: str | None = None


class EventsMessage(BaseModel):
    """Events posted over HTTP: one (``batch`` false) or a batch of one execution."""

    model_config = _MODEL

    type: Literal["events"] = "events"
    v: Literal[1] = 1
    execution_id: int
    events: list[WireEvent]
    batch: bool = False
    worker_id: str | None = None
    idempotency_key: str | None = None


class CancelMessage(BaseModel):
    """Cancel an execution, with all descendants when ``cascade``.

    ``by_parent`` marks what an ended parent sends to a child, whose start it may overtake.
    """

    model_config = _MODEL

    type: Literal["cancel"] = "cancel"
    v: Literal[1] = 1
    execution_id: int
    reason: str | None = None
    cascade: bool = False
    by_parent: bool = False


class FinalizeMessage(BaseModel):
    """Finish an execution from outside (http-b 5)."""

    model_config = _MODEL

    type: Literal["finalize"] = "finalize"
    v: Literal[1] = 1
    execution_id: int
    status: Literal["COMPLETED", "FAILED"]
    error: str | None = None


class StoredMessage(BaseModel):
    """Where the message is that this one stands for, and how long it is there."""

    model_config = _MODEL

    type: Literal["stored"] = "stored"
    v: Literal[1] = 1
    execution_id: int
    ref: str
    size: int


class Hold(BaseModel):
    """Who runs which command: the fence of the fast path (worker 22.2)."""

    model_config = _MODEL

    event_id: int
    command_id: str
    step: str
    attempts: int
    worker_id: str
    instance: str


class CommandStartMessage(BaseModel):
    """A worker began a command over the fast path."""

    model_config = _MODEL

    type: Literal["command.start"] = "command.start"
    v: Literal[1] = 1
    execution_id: int
    hold: Hold
    events: list[WireEvent]


class CommandOutcomeMessage(BaseModel):
    """A worker ended a command over the fast path."""

    model_config = _MODEL

    type: Literal["command.outcome"] = "command.outcome"
    v: Literal[1] = 1
    execution_id: int
    hold: Hold
    events: list[WireEvent]


type IngressMessage = Annotated[
    ExecuteMessage
    | EventsMessage
    | CancelMessage
    | FinalizeMessage
    | CommandStartMessage
    | CommandOutcomeMessage,
    Field(discriminator="type"),
]

INGRESS: TypeAdapter[IngressMessage] = TypeAdapter(IngressMessage)
"""Decodes an ingress body: ``INGRESS.validate_json(data)``."""
