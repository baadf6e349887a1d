"""One input of a turn, and whoever waits for its outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from noetl_engine.inputs import Input
from noetl_engine.outputs import Answer

from noetl_orchestrator.log.keys import RequestKey, StoredEvent


class Caller(Protocol):
    """Who is told what became of an input. Each input ends in exactly one of these calls."""

    @property
    def is_waiting(self) -> bool:
        """Whether anybody still wants the input worked on; asked right before the decision."""

    def taken(self) -> None:
        """The input is being decided: from here on it may be committed."""

    async def answered(self, answer: Answer) -> None:
        """It is committed, or needed no commit."""

    async def refused(self, reason: str, answer: Answer) -> None:
        """It can never be worked on; ``reason`` is for the dead letter."""

    async def given_back(self, delay_seconds: float) -> None:
        """Nothing was decided; somebody may try later."""


class NobodyWaits:
    """The caller of what the service asks of itself."""

    @property
    def is_waiting(self) -> bool:
        """Always."""
        return True

    def taken(self) -> None:
        """Nobody to tell."""

    async def answered(self, answer: Answer) -> None:
        """Nobody to tell."""

    async def refused(self, reason: str, answer: Answer) -> None:
        """Nobody to tell."""

    async def given_back(self, delay_seconds: float) -> None:
        """Nobody to tell; a row in the database brings it back."""


@dataclass(slots=True, eq=False)
class Work:
    """One input on its way through a turn.

    Attributes:
        deadline: a start past it is dropped (W5).
        keys: held by the execution that a start begins, or by the answer to events.
        timer_id: the timer row that this input does away with.
        parent_trace_of: the parent whose trace a start without one takes over.
        cascade: a cancel that goes on to the children.
        comes_early: a parent's cancel, whose child's start may still be on its way.
        is_overdue: a commit found the deadline over; unless it is stored already, it never will be.
        is_repeated: it may have been committed before, its answer lost (W8).
        attempts: decisions made in vain.
        stored: rows found under event ids that this input carries.
        answer_in_vain: the answer of the decision that those rows prevented.
    """

    execution_id: int
    input: Input
    caller: Caller
    deadline: datetime | None = None
    keys: tuple[RequestKey, ...] = ()
    timer_id: int | None = None
    parent_trace_of: int | None = None
    cascade: bool = False
    comes_early: bool = False
    is_overdue: bool = False
    is_repeated: bool = False
    attempts: int = 0
    stored: Mapping[int, StoredEvent] = field(default_factory=dict)
    answer_in_vain: Answer | None = None


@dataclass(slots=True, eq=False)
class Group:
    """The inputs of one execution in one turn, in their order."""

    execution_id: int
    works: list[Work]
