"""Hints over core NATS: they save time when they arrive and cost nothing when they are lost.

They are typed dictionaries, not models: one is built and one is read for every commit.
"""

from typing import Final, Literal, NotRequired, TypedDict

from noetl_contract.json import Json

EVERY_RUN: Final = (1 << 31) - 1
"""In the place of attempts: the command itself has ended, so every run of it is over."""

type OutboxKind = Literal["event", "commit", "command", "message"]


class CommittedEvents(TypedDict):
    """The payload of an outbox row of kind ``commit``.

    Attributes:
        first, last: the positions that the commit wrote to the log of its execution.
        trace: the W3C context that goes on to readers of the commit, where the execution has one.
    """

    first: int
    last: int
    trace: NotRequired[Json]


class PublishAcknowledgement(TypedDict):
    """The broker's answer to a publish, on ``noetl_hint.published.…``.

    With an `error` in it nothing was stored.

    Attributes:
        seq: its number in the stream.
        duplicate: it had been stored before.
    """

    stream: str
    seq: int
    duplicate: NotRequired[bool]


ReplicaMoves = TypedDict(
    "ReplicaMoves",
    {
        "from": str,
        "moved": list[tuple[int, int]],
        "takes": NotRequired[bool],
        "leaves": NotRequired[bool],
        "wanted": NotRequired[float],
        "spare": NotRequired[bool],
        "active": NotRequired[list[str]],
        "names": NotRequired[bool],
        "buckets": NotRequired[bool],
    },
)
"""The body on ``noetl_hint.moved.<shard>``: the sender, and executions with their new positions.

Without positions it tells that the sender is there. ``buckets``: it takes the writes of its buckets
as requests; the release before said ``takes``, and had them handed over. ``leaves``: it is about to
end.
``wanted``: the part of a core that it wants. ``spare``: whether its machine has cores to spare.
``active``: the replicas that own executions; what the oldest tells counts.
``names``: it reads commands that name their workload, which the release before did not.
"""


class RunsOverHint(TypedDict):
    """The body on ``noetl_control.<pool>``: runs that ended without their worker.

    Each is the event id of its command with its attempts; runs of fewer attempts are over as well.
    A command that waited for a callback is told with ``EVERY_RUN``: its container is to go.
    A heartbeat asks for the same, so a lost hint costs time only.

    With ``ended`` the execution is over although commands of it were open: all runs of it are, and
    none is begun any more, wherever its notification is.
    """

    execution_id: int
    over: list[tuple[int, int]]
    ended: NotRequired[bool]


class PauseHint(TypedDict):
    """The body on ``noetl_hint.pauses``: pauses of paths or pools have changed, ask for them."""

    changed: bool


class AccessHint(TypedDict):
    """The body on ``noetl_hint.access``: API keys that hold no longer; empty: forget all.

    Whoever remembers principals forgets them at once; without the hint they are forgotten when
    their time is over.
    """

    revoked: list[str]


class ScheduleHint(TypedDict):
    """The body on ``noetl_hint.schedules``: schedules were changed, so look at once."""

    changed: bool


class TriggerHint(TypedDict):
    """The body on ``noetl_hint.triggers``: triggers were changed, ask for them."""

    changed: bool


class WatchHint(TypedDict):
    """The body on ``noetl_hint.watch``: executions whose output somebody watches at an edge.

    Repeated while that is so; workers forget what is not repeated.

    Attributes:
        fresh: those of them that want what their runs have printed so far.
    """

    executions: list[int]
    fresh: list[int]
