"""Rows that the store reads, as dataclasses: held commands, due timers, loaded executions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from noetl_contract.ingress import Lineage
from noetl_contract.json import Json

from noetl_orchestrator.log.keys import EventIdentity


@dataclass(frozen=True, slots=True)
class Committed:
    """The result of a commit.

    Attributes:
        kept: executions whose decisions were committed.
        checked: executions without new rows that are still at their expected position.
        clashes: identity of the stored row by (execution id, event id).
    """

    kept: frozenset[int]
    checked: frozenset[int]
    clashes: Mapping[tuple[int, int], EventIdentity]
    now: datetime


@dataclass(frozen=True, slots=True)
class UnfoldedEnd:
    """A failure that was committed without the fold (W2).

    Attributes:
        pool: of the commands that were open; None without any.
        held: those that workers have had.
    """

    pool: str | None
    held: Sequence[int]


@dataclass(frozen=True, slots=True)
class LoadedExecution:
    """A state row with its newest snapshot, and the chain of its log as far as it goes."""

    execution_id: int
    catalog_id: int
    parent_execution_id: int | None
    position: int
    snapshot_position: int
    snapshot: bytes | None
    digest_position: int | None = None
    digest: bytes | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """The family that a start belongs to.

    Attributes:
        lineage: values that the start inherits.
        executions: executions of the family on this shard, the root left out; 0 if the start was
            not counted.
    """

    lineage: Lineage
    executions: int


@dataclass(frozen=True, slots=True)
class RequestKeyHolder:
    """The holder of a request key, with the answer to its request."""

    execution_id: int
    answer: Json


@dataclass(frozen=True, slots=True)
class DueTimer:
    """A timer that is due."""

    timer_id: int
    execution_id: int
    kind: str
    payload: Json


@dataclass(frozen=True, slots=True)
class HeldCommand:
    """A command row as a sweep sees it."""

    execution_id: int
    event_id: int
    step: str
    worker_id: str | None
    instance: str | None
    attempts: int
    holds: int
    claimed_at: datetime | None
    started_at: datetime | None
    updated_at: datetime
    pool: str
    meta: Mapping[str, Json]
    notifications: int
    path: str | None = None
    has_result: bool = False
    """The log has the result of its run."""
    was_handed: bool = False
    """It went to a worker with an answer, and is in no queue."""


@dataclass(frozen=True, slots=True)
class Publication:
    """The stream position of a published notification."""

    status: str
    stream_created_at: datetime | None
    stream_sequence: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NextLooks:
    """When the loops over timers and commands have something to do next.

    Attributes:
        now: its time.
        timer: when the first timer is due; None without any.
        lease: when the first lease of a held command ends; None if none is held.
        pending: since when the oldest unclaimed command is there; None without any.
    """

    now: datetime
    timer: datetime | None
    lease: datetime | None
    pending: datetime | None
