"""Inputs of decisions: events that concern an execution, and the facts around them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from noetl_contract.failures.ended import EndedTrigger
from noetl_contract.ingress import (
    CancelMessage,
    CommandOutcomeMessage,
    CommandStartMessage,
    EventsMessage,
    ExecuteMessage,
    FinalizeMessage,
    PauseMessage,
    ResumeMessage,
    SignalMessage,
)

from noetl_engine.renders import Renders


@dataclass(frozen=True, slots=True)
class Claimed:
    """A worker asks for a command; over HTTP ``instance`` is None."""

    event_id: int
    worker_id: str
    instance: str | None
    after_start: bool = False
    withheld: bool = False
    """Commands of its path or pool are paused; only one that a worker had before is given."""
    final: bool = False
    """The two seconds of a held-back repeated claim are over."""
    known_workload: int | None = None
    """Position of the workload that its worker knows of the execution, 0 for none; None: it can't
    read a command that names one."""


@dataclass(frozen=True, slots=True)
class CommandExhausted:
    """The sweep found a command whose holder is gone and whose attempts are used up."""

    event_id: int
    attempts: int
    """The holder's attempts as the sweep saw them; a decision for another holder is none."""


@dataclass(frozen=True, slots=True)
class ResultRecorded:
    """The sweep found a command whose run has reported its result, and nothing since."""

    event_id: int
    attempts: int
    """The holder's attempts as the sweep saw them; a decision for another holder is none."""


@dataclass(frozen=True, slots=True)
class StepTimedOut:
    """A timer row of kind ``step_timeout`` is due."""

    event_id: int
    holds: int | None = None
    """The hold of the command that the timer was set for; rows of old don't say."""


@dataclass(frozen=True, slots=True)
class CallbackTimedOut:
    """A timer row of kind ``callback_timeout`` is due."""

    event_id: int


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The timer row of kind ``deadline`` is due."""


@dataclass(frozen=True, slots=True)
class WaitDue:
    """The timer row of a wait is due: it ends by its time, not by a signal."""

    event_id: int


@dataclass(frozen=True, slots=True)
class ReminderDue:
    """The timer row of a wait's next reminder is due."""

    event_id: int
    number: int
    """Number of the reminders before."""


@dataclass(frozen=True, slots=True)
class Continued:
    """Go on with a fan-out that was larger than one commit (W9)."""


type Input = (
    ExecuteMessage
    | EventsMessage
    | CommandStartMessage
    | CommandOutcomeMessage
    | CancelMessage
    | FinalizeMessage
    | SignalMessage
    | PauseMessage
    | ResumeMessage
    | Claimed
    | CommandExhausted
    | ResultRecorded
    | StepTimedOut
    | CallbackTimedOut
    | DeadlinePassed
    | WaitDue
    | ReminderDue
    | Continued
)
"""The messages of the ingress stream, and what the service itself has to say."""


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker as the catalog knows it; all times are the cluster database's.

    ``heard_since`` is since when it could be heard without a break, None if that was always so:
    no earlier silence counts (L3). ``left_at`` is when a process of its name has last left in
    order, also if another came since.
    """

    heartbeat_at: datetime
    process_since: datetime
    instance: str | None
    deregistered_at: datetime | None = None
    heard_since: datetime | None = None
    left_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one decision; each is a setting of the orchestrator."""

    max_attempts: int = 3
    heartbeat_stale_seconds: float = 60.0
    start_grace_seconds: float = 30.0
    hard_timeout_seconds: float = 1800.0
    lease_seconds: float = 60.0
    result_seconds: float = 1.5
    clock_allowance_seconds: float = 5.0
    fast_path_seconds: float = 30.0
    commands_per_decision: int = 200
    command_bytes_per_decision: int = 16 << 20
    repeated_workload_bytes: int = 4096
    """Commands name a workload that is larger; 0: they repeat any."""
    iterations_in_flight: int = 10_000
    loop_window: int = 256
    rounds_per_decision: int = 1000
    steps_per_execution: int = 1_000_000
    template_work_per_decision: int = 400_000
    callback_seconds: float = 21_600.0
    once: frozenset[str] = frozenset()
    """Kinds of tools whose lost runs are not run again, beside those that say so themselves."""
    signal_bytes: int = 65_536
    signals_kept: int = 100
    signals_kept_bytes: int = 262_144


@dataclass(slots=True)
class Facts:
    """Everything a decision may know besides playbook, state and input.

    ``workers`` is None while the path of heartbeats is down: then nobody is judged (L3).
    ``heard_since`` is what counts for workers that are not among them.
    ``triggers`` are what ends of executions start.
    ``renders`` are those of an earlier turn, of a decision that goes on.
    ``new_id`` hands out fresh snowflakes; ``now`` is the database's clock.
    """

    now: datetime
    new_id: Callable[[], int]
    workers: Mapping[str, WorkerSeen] | None = None
    limits: Limits = field(default_factory=Limits)
    triggers: Sequence[EndedTrigger] = ()
    heard_since: datetime | None = None
    renders: Renders | None = None
