"""`TurnInput`: one input with its execution, deadline and waiting caller, and its group."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from noetl_contract.ingress import (
    NEXT_NAMED,
    CancelMessage,
    FinalizeMessage,
    PauseMessage,
    ResumeMessage,
)
from noetl_engine.inputs import Input
from noetl_engine.outputs import Answer
from noetl_engine.renders import Renders

from noetl_orchestrator.log.keys import EventIdentity, RequestKey
from noetl_orchestrator.result_store import ReadResults
from noetl_orchestrator.traces import Arrival

_URGENT = (CancelMessage, FinalizeMessage, PauseMessage, ResumeMessage)


class Caller:
    """Receive the result of one input, here to ignore it: rows in the database cause other tries.

    Exactly one of the last three methods is called.
    """

    @property
    def is_waiting(self) -> bool:
        """Return whether the result is still wanted; asked right before the decision."""
        return True

    def taken(self) -> None:
        """Note that the input is being decided: from now on it may be committed."""

    async def answered(self, answer: Answer) -> None:
        """Take the answer; the input is committed, or needed no commit."""

    async def refused(self, reason: str, answer: Answer) -> None:
        """Take the answer to an input that is never decided; ``reason`` is for the dead letter."""

    async def given_back(self, delay_seconds: float) -> None:
        """Take the input back undecided, for another try after the delay."""


@dataclass(slots=True, eq=False)
class TurnInput:
    """One input on its way through a turn.

    Attributes:
        message: the engine's input.
        deadline: a start past its deadline is dropped (W5).
        request_keys: keys of the execution that a start begins, or of the answer to events.
        timer_id: the timer row that this input deletes.
        is_child: a start that names a parent, whose family has not been asked for yet.
        may_precede_start: a parent's cancel; the start of the child may arrive later.
        is_overdue: a commit found the deadline passed, so the start is stored by now or never.
        wanted_next: of an outcome whose worker has room for a command: what its message says of it.
        is_repeated: it may have been committed before, its answer lost (W8).
        attempts: decisions that were not committed.
        stored_events: rows found under event ids of this input.
        discarded_answer: the answer of the decision that those rows prevented.
        results: what was read of the result store for its decision.
        arrival: where and when it came from, while spans are recorded.
        watch: key that counts turns of this input that did not end; None for an input that
            nothing speaks against.
        renders: of a decision that goes on in this turn (W28).
    """

    execution_id: int
    message: Input
    caller: Caller
    deadline: datetime | None = None
    request_keys: tuple[RequestKey, ...] = ()
    timer_id: int | None = None
    is_child: bool = False
    may_precede_start: bool = False
    is_overdue: bool = False
    wanted_next: str | None = None
    is_repeated: bool = False
    attempts: int = 0
    stored_events: Mapping[int, EventIdentity] = field(default_factory=dict)
    discarded_answer: Answer | None = None
    results: ReadResults | None = None
    arrival: Arrival | None = None
    watch: str | None = None
    renders: Renders | None = None

    @property
    def takes_named(self) -> bool:
        """Whether the command may name its workload."""
        return self.wanted_next == NEXT_NAMED

    @property
    def is_urgent(self) -> bool:
        """Return whether it is a word of people, which waits for no work of its execution (W27)."""
        return isinstance(self.message, _URGENT)


@dataclass(slots=True, eq=False)
class Group:
    """The inputs of one execution in one turn, in their order.

    Attributes:
        waits_for: what has to be done before they are decided again; never raises.
    """

    execution_id: int
    inputs: list[TurnInput]
    waits_for: Callable[[], Awaitable[None]] | None = None
