"""One execution in memory: the engine's interface to the orchestrator."""

from collections.abc import Iterable, Mapping
from typing import assert_never

from noetl_contract.events import EventRow, ExecutionStatus
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
from noetl_contract.tools.results import Part, PartPath

from noetl_engine.decide.claim import decide_claim
from noetl_engine.decide.draft import Draft
from noetl_engine.decide.ends.followups import check_followups, followups_of
from noetl_engine.decide.finish import (
    decide_callback_timeout,
    decide_cancel,
    decide_deadline,
    decide_exhausted,
    decide_finalize,
    decide_recorded,
    decide_timeout,
)
from noetl_engine.decide.loop import continue_loops
from noetl_engine.decide.needs import check_rows
from noetl_engine.decide.start import decide_start
from noetl_engine.decide.waits.ends import decide_reminder, decide_wait_due
from noetl_engine.decide.waits.pauses import decide_pause, decide_resume
from noetl_engine.decide.waits.signals import decide_signal, take_kept_signals
from noetl_engine.decide.worker import decide_events, decide_outcome, decide_start_of_command
from noetl_engine.inputs import (
    CallbackTimedOut,
    Claimed,
    CommandExhausted,
    Continued,
    DeadlinePassed,
    Facts,
    Input,
    ReminderDue,
    ResultRecorded,
    StepTimedOut,
    WaitDue,
)
from noetl_engine.outputs import Answer, Decision, NeedRows, OriginNeed, Progress
from noetl_engine.playbook.model import Playbook
from noetl_engine.renders import Renders
from noetl_engine.restart.begin import begin_restart
from noetl_engine.restart.origin import OriginLog, OriginView
from noetl_engine.restart.take_over import check_origin, take_over
from noetl_engine.state.memory import Memory
from noetl_engine.state.model import State
from noetl_engine.state.snapshot import dump_state, load_state

_STATE_BYTES = 2000
_COMMAND_BYTES = 600


class Execution:
    """One execution, owned by one turn at a time.

    It changes in place as it decides. A decision that could not be committed makes the object
    worthless: drop it and restore from the log (docs/adr/0001).
    """

    def __init__(self, state: State) -> None:
        self._memory = Memory(state)
        self._origin: OriginView | None = None
        self._origin_log: OriginLog | None = None

    @classmethod
    def new(cls, execution_id: int) -> "Execution":
        """Return an execution before its start."""
        return cls(State(execution_id))

    @classmethod
    def restore(
        cls, execution_id: int, snapshot: bytes | None, tail: Iterable[EventRow]
    ) -> "Execution":
        """Fold the rows after a snapshot, or the whole log without one, in position order.

        Raises:
            ValueError: The snapshot has another format; restore from the whole log.
        """
        execution = cls(State(execution_id) if snapshot is None else load_state(snapshot))
        for row in tail:
            execution._memory.absorb(row)
        return execution

    def catch_up(self, rows: Iterable[EventRow]) -> None:
        """Fold rows that others have appended since, in position order."""
        for row in rows:
            self._memory.absorb(row)

    @property
    def state(self) -> State:
        """The fold of its log; read it, never change it."""
        return self._memory.state

    @property
    def position(self) -> int:
        """Position of the newest row; 0 before the start."""
        return self._memory.state.position

    @property
    def status(self) -> ExecutionStatus:
        """Its status by the log."""
        return self._memory.state.status

    @property
    def path(self) -> str:
        """The catalog path that was started."""
        return self._memory.state.path

    @property
    def pool(self) -> str | None:
        """The pool that its start asked for."""
        return self._memory.state.pool

    @property
    def progress(self) -> Progress:
        """The counters of the state row; a live object, copy it to keep it."""
        return self._memory.state.progress

    def decide(self, playbook: Playbook, message: Input, facts: Facts) -> Decision:
        """Decide on an input and fold the decision.

        The answer's ``fast`` of a claim over messages lacks the ``shard``, which the service
        adds.

        Raises:
            NeedRows: Values are missing; nothing was changed. Provide them and decide again.
            NeedResults: Results of the result store are missing, and this object is worthless.
            StartRefused: The start is refused; nothing was changed.
            MoreWork: Its templates go on in another turn; the execution is worthless until then.
        """
        memory = self._memory
        draft = Draft(memory, playbook, facts)
        if memory.state.position == 0 and not isinstance(message, ExecuteMessage):
            text = f"Execution not found: {self.state.execution_id}"
            draft.decision.answer = Answer(status=404, error=text)
            return draft.finish()
        check_rows(memory, message)
        check_followups(memory, playbook, facts)
        renders = facts.renders or Renders()
        most = facts.limits.template_work_per_decision
        with renders.within(most, position=memory.state.position):
            if not self._restart(draft, message):
                _dispatch(draft, message)
            take_kept_signals(draft)
        decision = draft.finish()
        if decision.ended is not None:
            decision.followups = followups_of(draft, decision)
        return decision

    def _restart(self, draft: Draft, message: Input) -> bool:
        """Decide the part that concerns the origin of a restarted execution."""
        state = self._memory.state
        if isinstance(message, ExecuteMessage) and message.restart is not None:
            if self._origin is None and not state.start_event_id:
                raise NeedRows(origin=OriginNeed(message.restart.execution_id))
            begin_restart(draft, message, self._origin)
            self._origin = None
            return True
        if not isinstance(message, Continued) or state.take_over is None or state.ended:
            return False
        if self._origin_log is None:
            self._origin_log = OriginLog(state.take_over)
        check_origin(state.take_over, self._origin_log)
        take_over(draft, self._origin_log)
        if state.take_over is None:
            self._origin_log = None
        return True

    def provide_origin(
        self,
        state: State | None,
        *,
        started: EventRow | None = None,
        ended: EventRow | None = None,
    ) -> None:
        """Take the state, the first and the terminal row of the execution to go on from.

        None says that there is none.
        """
        self._origin = OriginView(state, started, ended)

    def read_origin(self, rows: Iterable[EventRow], *, up_to: int) -> None:
        """Take the next rows of the log that a :class:`NeedRows` asked for, in order."""
        if self._origin_log is not None:
            self._origin_log.read(rows, up_to=up_to)

    def provide(
        self,
        rows: Iterable[EventRow],
        iterations: Mapping[tuple[str, int, int], list[EventRow]],
    ) -> None:
        """Take the rows a :class:`~noetl_engine.outputs.NeedRows` asked for."""
        values = self._memory.values
        for row in rows:
            values.take_row(row)
        for (step, first, _last), ended in iterations.items():
            values.provide_loop(first, ended)
            ref = self._memory.state.step(step).result
            if ref is not None and ref.kind == "loop" and ref.first == first:
                values.end_loop(ref)
                values.updates.pop(first, None)

    def provide_results(
        self,
        parts: Mapping[tuple[str, PartPath], Part],
        withheld: Mapping[tuple[str, PartPath], str],
    ) -> None:
        """Take the results that a :class:`~noetl_engine.outputs.NeedResults` asked for.

        Args:
            parts: parts of results by their references and paths.
            withheld: of the others, why they can't be had.
        """
        self._memory.values.stored.take(parts, withheld)

    def snapshot(self) -> bytes:
        """Return the state, without results: with the rows after it as good as the whole log."""
        return dump_state(self._memory.state)

    def memory_size(self) -> int:
        """Roughly how many bytes this takes in a cache."""
        state = self._memory.state
        small = len(state.steps) + len(state.commands) + len(state.variables)
        return _STATE_BYTES + small * _COMMAND_BYTES + self._memory.values.memory_size()


def _dispatch(draft: Draft, message: Input) -> None:  # noqa: C901, PLR0912 - one case per input
    match message:
        case ExecuteMessage():
            decide_start(draft, message)
        case EventsMessage():
            decide_events(draft, message)
        case CommandStartMessage():
            decide_start_of_command(draft, message)
        case CommandOutcomeMessage():
            decide_outcome(draft, message)
        case Claimed():
            decide_claim(draft, message)
        case CancelMessage():
            decide_cancel(draft, message)
        case FinalizeMessage():
            decide_finalize(draft, message)
        case SignalMessage():
            decide_signal(draft, message)
        case PauseMessage():
            decide_pause(draft, message)
        case ResumeMessage():
            decide_resume(draft, message)
        case CommandExhausted():
            decide_exhausted(draft, message)
        case ResultRecorded():
            decide_recorded(draft, message)
        case StepTimedOut():
            decide_timeout(draft, message)
        case CallbackTimedOut():
            decide_callback_timeout(draft, message)
        case DeadlinePassed():
            decide_deadline(draft)
        case WaitDue():
            decide_wait_due(draft, message)
        case ReminderDue():
            decide_reminder(draft, message)
        case Continued():
            continue_loops(draft)
        case _:
            assert_never(message)
