"""Outputs of decisions: rows to append, commands to issue or change, an answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from noetl_contract.events import EventRow, ExecutionStatus
from noetl_contract.failures.cause import Cause
from noetl_contract.json import Json, JsonObject
from noetl_contract.tools.results import PartPath


@dataclass(frozen=True, slots=True)
class ShortContext:
    """The context of a command that names the workload, and the size of that as JSON."""

    context: JsonObject
    workload_bytes: int


@dataclass(slots=True)
class NewCommand:
    """A ``command.issued`` of this decision, for its row and its notification.

    ``context`` is whole; the log has ``short`` in its place, if there is one.
    """

    event_id: int
    command_id: str
    step: str
    tool_kind: str
    pool: str
    context: Json
    meta: Json
    iteration_index: int | None = None
    trace: Json = None
    short: ShortContext | None = None


@dataclass(slots=True)
class CommandChange:
    """The new state of a command after this decision, whole: the last one of a turn wins.

    ``status`` is PENDING, CLAIMED, RUNNING, COMPLETED, FAILED or CANCELLED; ``attempts`` how
    often it was dispatched before the present holder; ``holds`` how often in all.
    """

    event_id: int
    status: str
    worker_id: str | None
    instance: str | None
    attempts: int
    holds: int
    claimed_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None = None
    lease_until: datetime | None = None
    error: str | None = None
    result_event_id: int | None = None
    """The ``call.done`` of this decision that has recorded the command's result."""


@dataclass(slots=True)
class NewTimer:
    """A timer row (W10)."""

    timer_id: int
    due_at: datetime
    kind: str
    payload: Json


@dataclass(slots=True)
class Answer:
    """The answer to the sender, given after the commit.

    ``status`` is the HTTP status; ``body`` the answer itself (also of fast-path messages, where
    it is the whole reply). With ``error`` set the edge builds the error body of it.
    ``hold_back_seconds`` asks the service to put the same claim again, ``final``, after that
    time instead of answering; nothing was decided.
    """

    status: int = 200
    body: Json = None
    error: str | None = None
    detail: Json = None
    hold_back_seconds: float | None = None


@dataclass(slots=True)
class Progress:
    """The counters of the state row."""

    total_steps: int = 0
    completed_steps: int = 0
    running_steps: int = 0
    failed_steps: int = 0
    soft_errors: int = 0
    current_step: str | None = None


@dataclass(frozen=True, slots=True)
class Followup:
    """A start that the end of an execution causes.

    Attributes:
        trigger: whose: ``on_failure`` of a path, or the path of a trigger.
        kind: ``playbook`` or ``webhook``; a trigger may have both.
        path: of the playbook; with ``version`` one version of it.
        handles: all triggers that led there, this one last.
        is_trigger: a document of kind Trigger.
        owner: whose rights the execution has; None: not known, or those of the one that ended.
        namespace: path prefix that its children stay in; None: as for the owner.
    """

    trigger: str
    kind: str
    path: str
    version: int | None
    payload: JsonObject
    handles: tuple[str, ...] = ()
    is_trigger: bool = False
    owner: str | None = None
    namespace: str | None = None


@dataclass(slots=True)
class Decision:
    """Everything one input causes; it commits whole or not at all."""

    events: list[EventRow] = field(default_factory=list)
    commands: list[NewCommand] = field(default_factory=list)
    changes: list[CommandChange] = field(default_factory=list)
    timers: list[NewTimer] = field(default_factory=list)
    timers_done: list[int] = field(default_factory=list)
    """Timer rows that are no longer needed; they go in the same commit."""
    answer: Answer = field(default_factory=Answer)
    ended: ExecutionStatus | None = None
    error: str | None = None
    cause: Cause | None = None
    """The first cause, when this decision failed a step for good or ended the execution."""
    soft_error: Cause | None = None
    """The first soft error of the execution, when this decision brought it."""
    abandoned: list[int] = field(default_factory=list)
    """Commands that ended without their worker; children they waited for are cancelled (R8)."""
    followups: list[Followup] = field(default_factory=list)
    """Starts that the end of the execution causes."""
    over: list[tuple[int, int]] = field(default_factory=list)
    """Runs that came to an end without their worker: the command, and the attempts of the run."""
    cut_off: bool = False
    """The execution is over although commands of it were open: none of them is begun any more."""
    continue_later: bool = False
    """Work is left: put :class:`~noetl_engine.inputs.Continued` for this execution (W9)."""


@dataclass(frozen=True, slots=True)
class OriginNeed:
    """Data of the original execution that a restarted execution needs.

    Attributes:
        execution_id: The origin.
        after: Its log is read up to here; None asks for its state, first and terminal row.
        up_to: Position at which its log ends for the restart.
    """

    execution_id: int
    after: int | None = None
    up_to: int = 0


class NeedResults(Exception):
    """The decision needs results that are kept in the result store.

    Unlike with :class:`NeedRows` it was under way, so the execution is worth nothing any more:
    drop it, read it again, provide the results, and decide again.

    Attributes:
        results: references and paths of the parts to read, each with whether the whole part is
            needed, or its outline will do.
    """

    def __init__(self, results: Mapping[tuple[str, PartPath], bool]) -> None:
        super().__init__(f"results are needed: {', '.join(ref for ref, _ in results)}")
        self.results = dict(results)


class NeedRows(Exception):
    """The decision needs stored rows that are not in memory: a question, nothing has changed.

    Attributes:
        positions: log positions of whole rows to provide.
        iterations: ``(step, first position, last position)``: every ``call.done`` row of that
            step in the range, late ones excluded.
        origin: rows of another execution, which go to ``provide_origin`` and ``read_origin``.
    """

    def __init__(
        self,
        *,
        positions: frozenset[int] = frozenset(),
        iterations: tuple[tuple[str, int, int], ...] = (),
        origin: OriginNeed | None = None,
    ) -> None:
        super().__init__(
            f"rows {sorted(positions)} and iterations {iterations} are needed, origin {origin}"
        )
        self.positions = positions
        self.iterations = iterations
        self.origin = origin
