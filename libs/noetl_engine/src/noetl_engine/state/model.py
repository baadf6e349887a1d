"""State of an execution between two events: the fold of its log, without any results.

The state is changed in place by :mod:`noetl_engine.state.fold` and by nothing else. It keeps the
log positions of the rows that hold results, variables and collections, never the values
themselves, so its size depends on the playbook and on open work, not on the past.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from noetl_contract.events import ExecutionStatus
from noetl_contract.failures.cause import Cause
from noetl_contract.json import Json, JsonObject

from noetl_engine.outputs import Progress
from noetl_engine.state.waiting import KeptSignal, Wait


class Phase(StrEnum):
    """Phase of a step for routing; a cycle puts done steps back to pending."""

    PENDING = "p"
    RUNNING = "r"
    COMPLETED = "c"
    FAILED = "f"
    SKIPPED = "s"


@dataclass(frozen=True, slots=True)
class ResultRef:
    """Place of a step's result in the log.

    Attributes:
        kind: ``row``: the result of the row at ``last``. ``loop``: the iterations' ``call.done``
            rows between ``first`` and ``last``. ``empty``: an empty collection. ``cursor``: a
            drained cursor, ``total`` frames of which had rows.
        bare: Positions of ``command.completed`` rows of iterations that sent no ``call.done``.
    """

    kind: str
    first: int = 0
    last: int = 0
    total: int = 0
    bare: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Arrival:
    """A token that waits at a join: the arc it came over and its variables' row, if any."""

    source: str
    arc: int
    set_position: int | None = None


@dataclass(slots=True)
class LoopState:
    """The iterations of the present run of a loop step.

    Attributes:
        entered: Position of the ``step.enter`` whose note holds the collection.
        limit: Most iterations in flight, ``None`` for all.
        own: Positions of the ``ctx.updated`` rows whose values lie on top of the context.
        frame: Number of the present frame; only a cursor loop has frames, and the counters
            are those of the frame.
        rows_at: Position of the ``call.done`` that brought the frame's rows.
    """

    entered: int
    total: int
    limit: int | None = None
    issued: int = 0
    finished: int = 0
    failed: int = 0
    own: tuple[int, ...] = ()
    bare: list[int] = field(default_factory=list)
    frame: int | None = None
    rows_at: int = 0
    holes: list[int] = field(default_factory=list)
    """Iterations that are still to be issued before the highest one that is; after a restart."""

    @property
    def run_at(self) -> int:
        """The position that names this run, or this frame, among the outcomes kept."""
        return self.rows_at or self.entered

    def begin_frame(self, frame: int, *, rows_at: int = 0, total: int = 0) -> None:
        """Count anew: the frame is being claimed, or its rows have come."""
        self.frame, self.rows_at, self.total = frame, rows_at, total
        self.issued = self.finished = 0
        self.bare = []
        self.holes = []

    def begin_iteration(self, index: int | None) -> None:
        """Count an iteration that is issued; those that it leaves out are to be issued yet."""
        following = self.issued + len(self.holes)
        if index is not None and index > following:
            self.holes += range(following, index)
        elif self.holes and index in self.holes:
            self.holes.remove(index)
        self.issued += 1

    def next_iterations(self, count: int) -> list[int]:
        """Return the next iterations to issue."""
        following = self.issued + len(self.holes)
        return [*self.holes[:count], *range(following, following + count - len(self.holes))]

    def is_to_issue(self, index: int) -> bool:
        """Return whether an iteration was not issued yet."""
        return index in self.holes or self.issued + len(self.holes) <= index < self.total

    @property
    def in_flight(self) -> int:
        """Iterations issued and not ended."""
        return self.issued - self.finished - self.failed

    @property
    def may_issue(self) -> bool:
        """Whether another iteration may be issued now."""
        if self.failed or self.issued >= self.total:
            return False
        return self.limit is None or self.in_flight < self.limit


@dataclass(frozen=True, slots=True)
class Queued:
    """A plain step that is entered, its command to be issued by a later part (W9).

    Attributes:
        entered: Position of its ``step.enter``.
        own: Positions of the ``ctx.updated`` rows whose values lie on top of the context.
    """

    entered: int
    own: tuple[int, ...] = ()


@dataclass(slots=True)
class StepState:
    """One step that an event has named."""

    name: str
    phase: Phase = Phase.PENDING
    runs: int = 0
    outcome: Phase = Phase.PENDING
    """Standing of the newest run, for the progress counters; resets don't touch it."""
    open: int = 0
    command: int | None = None
    """The open command of a plain step."""
    loop: LoopState | None = None
    result: ResultRef | None = None
    arrivals: tuple[Arrival, ...] = ()
    error: str | None = None
    """Of the present or last run: the first hard failure."""
    queued: Queued | None = None


@dataclass(slots=True)
class CommandState:
    """An open command and its holder."""

    event_id: int
    command_id: str
    step: str
    issued: int
    """Position of its ``command.issued``."""
    issued_at: datetime
    index: int | None = None
    timeout_seconds: float | None = None
    worker_id: str | None = None
    instance: str | None = None
    attempts: int = 0
    holds: int = 0
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    heard_at: datetime | None = None
    call: int | None = None
    """Position of this run's ``call.done``."""
    error: str | None = None
    claims: bool = False
    """It claims the rows of a cursor loop's frame."""
    awaits: bool = False
    """Its tool waits for the end of a child execution."""
    parks: bool = False
    """Its tool kind leaves the result to a callback."""
    callback_seconds: float | None = None
    """Seconds that its tool wants to be waited for, once parked."""
    parked: int | None = None
    """Position of the ``command.completed`` since which it waits for a callback."""
    callback: int | None = None
    """Position of a callback that came before the ``command.completed``."""
    once: bool = False
    """It doesn't run again when its worker is lost."""
    given_back: int = 0
    """Of its holds, those whose worker left in order before it was done: no attempts."""
    wait: Wait | None = None
    """The wait of a step that the engine ends itself: it has no command and no holder."""

    @property
    def timers(self) -> list[int]:
        """Timer rows that end with it; those of a command of a worker are left to come."""
        if self.wait is None:
            return []
        reminder = self.wait.reminder
        return [self.event_id] if reminder is None else [self.event_id, reminder]


@dataclass(frozen=True, slots=True)
class Given:
    """The input of a restart: values of the workload that restarted steps see on top of all else.

    Attributes:
        keys: Their names.
        steps: The visit of a step that is meant, and its iterations; None for all that run.
    """

    keys: tuple[str, ...]
    steps: dict[str, tuple[int, list[int] | None]]

    def is_for(self, step: str, visit: int, index: int | None) -> bool:
        """Return whether a run of a step sees it."""
        meant, iterations = self.steps.get(step, (None, None))
        return visit == meant and (iterations is None or index in iterations)

    def dump(self) -> JsonObject:
        """Return it as notes and snapshots keep it."""
        return {"keys": list(self.keys), "steps": self.steps}

    @classmethod
    def load(cls, kept: JsonObject) -> "Given":
        """Read the form that :meth:`dump` wrote."""
        steps = {name: (visit, indexes) for name, (visit, indexes) in kept["steps"].items()}
        return cls(tuple(kept["keys"]), steps)


@dataclass(slots=True)
class TakeOver:
    """Work that a restarted execution has left: the runs to take over from its origin.

    Attributes:
        execution_id: The origin.
        upto: Position of the last row of its log that counts.
        again: Steps that run again, with the visit that is meant.
        whole: Those of them whose every iteration runs again, not the failed ones alone.
        iterations: Iterations of a step that run again although they were good.
        input: Values of the workload that count from then on.
        signals: Positions of signals that it has kept.
        cause: Event at which the origin could not decide any more; 0 for another end.
        position: How far its log was taken over.
        taken: How many runs were taken over.
        left_out: Steps with runs that have no place here.
    """

    execution_id: int
    upto: int
    again: dict[str, int] = field(default_factory=dict)
    whole: list[str] = field(default_factory=list)
    iterations: dict[str, list[int]] = field(default_factory=dict)
    input: JsonObject = field(default_factory=dict)
    cause: int = 0
    position: int = 0
    taken: int = 0
    left_out: list[str] = field(default_factory=list)
    signals: list[int] = field(default_factory=list)

    @property
    def given(self) -> Given:
        """The steps that see the input: the step that was asked for, else those that failed."""
        names = [*self.whole, *self.iterations] or list(self.again)
        steps = {name: (self.again[name], self.iterations.get(name)) for name in names}
        return Given(tuple(self.input), steps)


@dataclass(slots=True)
class State:
    """One execution; ``position`` is that of the newest row folded.

    Snapshots hold the records of this module as lists of their fields in this order.
    """

    execution_id: int
    position: int = 0
    status: ExecutionStatus = ExecutionStatus.RUNNING
    catalog_id: int = 0
    path: str = ""
    version: int = 0
    parent_execution_id: int | None = None
    pool: str | None = None
    trace: Json = None
    start_event_id: int = 0
    start_commands: int = 0
    workload: int = 0
    error: str | None = None
    steps: dict[str, StepState] = field(default_factory=dict)
    running: dict[str, None] = field(default_factory=dict)
    waiting: dict[str, None] = field(default_factory=dict)
    """Joins that hold arrivals."""
    failed: list[str] = field(default_factory=list)
    """Steps with an unhandled failure, in order of failure."""
    commands: dict[int, CommandState] = field(default_factory=dict)
    variables: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    """Row of a durable variable; with a key: an entry of a pipeline's ``_context_updates``."""
    recent: dict[int, int] = field(default_factory=dict)
    """Event id as sent → fingerprint of the newest worker events (R15, W3)."""
    renamed: dict[str, int] = field(default_factory=dict)
    """``id:fingerprint`` as sent → id under which a colliding event was stored."""
    progress: Progress = field(default_factory=Progress)
    deadline: tuple[int, float] | None = None
    """The timer of the execution's deadline, and its seconds from the start."""
    signals: list[KeptSignal] = field(default_factory=list)
    """Signals that no wait has taken yet, the oldest first."""
    causes: dict[str, Cause] = field(default_factory=dict)
    """Failures of the present or last run of steps, of each the first."""
    handles: list[str] = field(default_factory=list)
    """Triggers whose end of another execution led to this one; none of them counts again."""
    soft: Cause | None = None
    """The first soft error."""
    answered: dict[int, Cause] = field(default_factory=dict)
    """Soft errors in the results of open commands."""
    take_over: TakeOver | None = None
    """Of a restarted execution, until all runs of its origin are taken over."""
    given: Given | None = None
    """The input of a restart that was given to steps."""
    end: int = 0
    """Position of the row that ended it; 0 while it runs."""
    pause: int | None = None
    """Id of the pause's row among the timers, by which readers find it; it is never due."""
    plugins: JsonObject = field(default_factory=dict)
    """The versions of plug-ins that it keeps, by the names in its playbook."""
    context_version: int = 0
    """Moves whenever a result or variable changes; not part of the snapshot."""

    @property
    def ended(self) -> bool:
        """Whether the execution is terminal."""
        return self.status is not ExecutionStatus.RUNNING

    @property
    def paused(self) -> bool:
        """Whether no new command is issued."""
        return self.pause is not None

    @property
    def timers(self) -> list[int]:
        """Timer rows of the execution itself, which go with its end."""
        own = [] if self.deadline is None else [self.deadline[0]]
        return own if self.pause is None else [*own, self.pause]

    def step(self, name: str) -> StepState:
        """Return the step's state, made on first use."""
        step = self.steps.get(name)
        if step is None:
            step = self.steps[name] = StepState(name)
        return step

    def set_outcome(self, step: StepState, outcome: Phase) -> None:
        """Move the progress counters with the newest run of a step."""
        progress = self.progress
        if step.outcome is Phase.PENDING:
            progress.total_steps += 1
        elif step.outcome is Phase.RUNNING:
            progress.running_steps -= 1
        elif step.outcome is Phase.COMPLETED:
            progress.completed_steps -= 1
        else:
            progress.failed_steps -= 1
        step.outcome = outcome
        if outcome is Phase.RUNNING:
            progress.running_steps += 1
        elif outcome is Phase.COMPLETED:
            progress.completed_steps += 1
        else:
            progress.failed_steps += 1

    def phase(self, name: str) -> Phase:
        """Return the phase of a step, pending when no event has named it."""
        step = self.steps.get(name)
        return Phase.PENDING if step is None else step.phase
