"""Hints over core NATS: they save time when they arrive and cost nothing when they are lost.

The subject says what a hint is, so none has a tag. A reader takes one that it can't read for lost.
"""

from typing import Final, Literal

from msgspec import field

from noetl_contract.json import Json
from noetl_contract.model import Struct

EVERY_RUN: Final = (1 << 31) - 1
"""In the place of attempts: the command itself has ended, so every run of it is over."""

type OutboxKind = Literal["event", "commit", "command", "message"]


class CommittedEvents(Struct):
    """The payload of an outbox row of kind ``commit``.

    Attributes:
        first, last: the positions that the commit wrote to the log of its execution.
        trace: the W3C context that goes on to readers of the commit, where the execution has one.
    """

    first: int
    last: int
    trace: Json = None


class PublishRefusal(Struct):
    """Why the broker has not stored a message: HTTP-like code, its own number, text."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class PubAck(Struct):
    """The broker's answer to a publish, also on ``noetl_hint.published.…``.

    With an `error` in it nothing was stored.

    Attributes:
        sequence: its number in the stream.
        duplicate: it had been stored before.
    """

    stream: str = ""
    sequence: int = field(name="seq", default=0)
    duplicate: bool = False
    error: PublishRefusal | None = None


class ReplicaMoves(Struct):
    """The body on ``noetl_hint.moved.<shard>``: executions with their new positions.

    Without positions it tells that the sender is there.

    Attributes:
        sender: name of an orchestrator.
        leaves: it is about to end.
        wanted: the part of a core that it wants.
        spare: whether its machine has cores to spare.
        active: the replicas that own executions; what the oldest tells counts.
        away: its database does not answer it.
        reaches: its database has just answered it.
    """

    sender: str = field(name="from")
    moved: list[tuple[int, int]]
    leaves: bool = False
    wanted: float | None = None
    spare: bool = True
    active: list[str] | None = None
    away: bool = False
    reaches: bool = False


class RunsOverHint(Struct):
    """The body on ``noetl_control.<pool>``: runs that ended without their worker.

    Each is the event id of its command with its attempts; runs of fewer attempts are over as well.
    A command that waited for a callback is told with ``EVERY_RUN``: its container is to go.
    A heartbeat asks for the same, so a lost hint costs time only.

    With ``ended`` the execution is over although commands of it were open: all runs of it are, and
    none is begun any more, wherever its notification is.
    """

    execution_id: int
    over: list[tuple[int, int]]
    ended: bool = False


class ChangeHint(Struct):
    """The body on ``noetl_hint.pauses``, ``….schedules`` and ``….triggers``.

    They were changed: ask for them at once.
    """

    changed: bool = True


class AccessHint(Struct):
    """The body on ``noetl_hint.access``: API keys that hold no longer; empty: forget all.

    Whoever remembers principals forgets them at once; without the hint they are forgotten when
    their time is over.
    """

    revoked: list[str]


class WatchHint(Struct):
    """The body on ``noetl_hint.watch``: executions whose output somebody watches at an edge.

    Repeated while that is so; workers forget what is not repeated.

    Attributes:
        fresh: those of them that want what their runs have printed so far.
    """

    executions: list[int]
    fresh: list[int]
