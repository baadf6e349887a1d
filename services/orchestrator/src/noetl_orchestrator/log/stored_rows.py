"""Rows that the store returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from noetl_contract.json import Json

from noetl_orchestrator.log.keys import StoredEvent


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did.

    Attributes:
        kept: executions whose decisions are in the database now.
        checked: executions still at the position that an answer without rows rests on.
        clashes: (execution id, event id) → the row that has the id already.
    """

    kept: frozenset[int]
    checked: frozenset[int]
    clashes: Mapping[tuple[int, int], StoredEvent]
    now: datetime


@dataclass(frozen=True, slots=True)
class LoadedExecution:
    """A state row with its newest snapshot."""

    execution_id: int
    catalog_id: int
    parent_execution_id: int | None
    position: int
    snapshot_position: int
    snapshot: bytes | None


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """Who holds a request key, and what the request was answered."""

    execution_id: int
    answer: Json


@dataclass(frozen=True, slots=True)
class DueTimer:
    """A timer whose time has come."""

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


@dataclass(frozen=True, slots=True)
class Publication:
    """Where a notification was published."""

    status: str
    stream_created_at: datetime | None
    stream_sequence: int | None
