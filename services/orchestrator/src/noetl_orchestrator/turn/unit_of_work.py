"""The unit of work: the decisions of one turn for one execution, until they are committed."""

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from noetl_contract.events import TERMINAL_TYPES, EventRow
from noetl_contract.failures.cause import Cause
from noetl_contract.ingress import (
    CancelMessage,
    CommandOutcomeMessage,
    CommandStartMessage,
    EventsMessage,
    ExecuteMessage,
)
from noetl_contract.json import Json
from noetl_engine.commands.build import pool_of
from noetl_engine.inputs import Facts, Input
from noetl_engine.outputs import Answer, Decision, NeedRows
from noetl_engine.playbook import Playbook

from noetl_orchestrator.log.commit_parameters import NewRows
from noetl_orchestrator.memory.cache import CachedExecution
from noetl_orchestrator.memory.loader import RowRequest
from noetl_orchestrator.publishing.effects import Effects
from noetl_orchestrator.traces import TurnSpans, UnitSpans
from noetl_orchestrator.turn.duplicates import (
    EventDuplicates,
    PostedEvents,
    fresh_ids,
    repeated_answer,
)
from noetl_orchestrator.turn.inputs import Group, TurnInput


@dataclass(frozen=True, slots=True)
class ExecutionEnd:
    """An end that the unit of work commits."""

    at: datetime
    error: str | None


@dataclass(frozen=True, slots=True)
class Written:
    """Facts about what a unit of work has written, for after its commit.

    Attributes:
        event_bytes: size of the new events.
        snapshot_bytes: size of a new snapshot, if one was due.
        continue_timer: the timer that lets the execution go on, if it has to.
    """

    event_bytes: int = 0
    snapshot_bytes: int | None = None
    continue_timer: int | None = None


@dataclass(slots=True, eq=False)
class UnitOfWork:
    """Decide the inputs of one execution, and collect the rows and answers.

    Attributes:
        entry: the execution; in memory it has moved on already.
        expected: its position in the database; 0 for an execution that is to begin.
        is_fresh: it was read from the database in this turn.
        left: inputs that are left for the next turn.
        rows: what is written.
        effects: what follows the commit.
        start: a start that the unit commits, dropped if its deadline passes before.
        cause: what failed first for good, if that was now.
        soft_error: the first soft error, if it came now.
        spans: what is recorded of it, where its execution is traced.
    """

    execution_id: int
    entry: CachedExecution
    playbook: Playbook
    inputs: Sequence[TurnInput]
    is_fresh: bool
    expected: int = 0
    next_input: int = 0
    left: list[TurnInput] = field(default_factory=list)
    answers: list[tuple[TurnInput, Answer]] = field(default_factory=list)
    rows: NewRows = field(default_factory=NewRows)
    effects: Effects = field(default_factory=Effects)
    duplicates: EventDuplicates = field(default_factory=EventDuplicates)
    start: ExecuteMessage | None = None
    deadline: datetime | None = None
    end: ExecutionEnd | None = None
    cause: Cause | None = None
    soft_error: Cause | None = None
    continues_later: bool = False
    written: Written = Written()
    spans: UnitSpans | None = None

    def __post_init__(self) -> None:
        self.expected = self.entry.execution.position

    @property
    def writes(self) -> bool:
        """Return whether a commit is needed; without one the answers need the position only."""
        return bool(self.rows.events)

    @property
    def path(self) -> str:
        """Return the catalog path that was started."""
        return self.entry.execution.path

    @property
    def trace(self) -> Json:
        """Return the W3C context that the execution was started with, if there was one."""
        return self.entry.execution.state.trace

    @property
    def pool(self) -> str:
        """Return the pool whose workers run the commands."""
        return pool_of(self.playbook, self.entry.execution.pool)

    def group(self) -> Group:
        """Return the inputs as a group, to be decided again."""
        return Group(self.execution_id, list(self.inputs))

    def request(self, need: NeedRows) -> RowRequest:
        """Return the request for rows that a decision needs."""
        return RowRequest(
            self.execution_id, self.entry.execution, need, self.expected, self.rows.events
        )

    def repeated_outcomes(self) -> list[int]:
        """Return the commands whose outcome was answered before, as it seems: with the last answer.

        What went to a worker with that answer may not have arrived. The outcome of another run,
        which is late, had no command with its answer.
        """
        handed_for = set(self.entry.handed.values())
        return [
            turn_input.message.hold.event_id
            for turn_input, answer in self.answers
            if isinstance(turn_input.message, CommandOutcomeMessage)
            and _is_ok(answer)
            and (
                turn_input.is_repeated
                or turn_input.stored_events
                or turn_input.message.hold.event_id in handed_for
            )
        ]

    def decide(self, facts: Facts, is_over: Callable[[], bool], max_events: int) -> None:
        """Decide the inputs that are left, one after the other, until the turn's time is over.

        With ``max_events`` events the other inputs are left for the next turn.

        Raises:
            NeedRows: stored rows are needed first; provide them and call again.
            NeedResults: results have to be read for the next input; this unit is worthless.
            StartRefused: the start is impossible; nothing was decided.
            MoreWork: the decision goes on in another turn; drop the unit.
        """
        while self.next_input < len(self.inputs):
            turn_input = self.inputs[self.next_input]
            if turn_input.caller.is_waiting:
                self._decide(turn_input, facts)
            self.next_input += 1
            if self.next_input == len(self.inputs):
                return
            is_last_urgent = turn_input.is_urgent and not self.inputs[self.next_input].is_urgent
            if len(self.rows.events) >= max_events or is_over() or is_last_urgent:
                # One execution must not fill the commit that others share (W9), and people
                # don't wait for what its work has to say (W27).
                self.leave_rest()

    def leave_rest(self) -> None:
        """Leave the inputs that are not decided yet to the next turn."""
        self.left = list(self.inputs[self.next_input :])
        self.inputs = self.inputs[: self.next_input]

    def _decide(self, turn_input: TurnInput, facts: Facts) -> None:
        message = turn_input.message
        if isinstance(message, EventsMessage | CommandStartMessage | CommandOutcomeMessage):
            known = self.duplicates.known_answer(turn_input, message, self.answers)
            if known is not None:
                self.answers.append((turn_input, known))
                return
            taken = self.duplicates.taken_ids(turn_input, message)
            message = fresh_ids(message, taken, facts.new_id)
        turn_input.caller.taken()
        if turn_input.renders is not None:
            facts = replace(facts, renders=turn_input.renders)
        execution, read = self.entry.execution, turn_input.results
        if read is not None:
            execution.provide_results(read.parts, read.withheld)
        decision = execution.decide(self.playbook, message, facts)
        if read is not None and read.withheld:
            execution.provide_results({}, {})  # another input may get them
        turn_input.message = message
        self._add(turn_input, message, decision, facts.now)

    def _add(
        self, turn_input: TurnInput, message: Input, decision: Decision, now: datetime
    ) -> None:
        if isinstance(message, EventsMessage | CommandStartMessage | CommandOutcomeMessage):
            self._note_posted(turn_input, message, decision.events)
            if decision.events:
                self._note_wish(turn_input, message, decision.answer)
        elif isinstance(message, ExecuteMessage) and decision.events:
            self.start, self.deadline = message, turn_input.deadline
        elif isinstance(message, CancelMessage) and decision.events and message.cascade:
            self.effects.cascades = True
        self._add_rows(turn_input, decision)
        self._add_effects(decision)
        if decision.ended is not None:
            self.end = ExecutionEnd(now, decision.error)
        self.cause = self.cause or decision.cause
        self.soft_error = self.soft_error or decision.soft_error
        self.continues_later = self.continues_later or decision.continue_later
        answer = repeated_answer(turn_input, message, decision.answer)
        self.answers.append((turn_input, answer))
        if decision.events:
            self.rows.request_keys += [
                (key, key.answer_to_keep(answer.body)) for key in turn_input.request_keys
            ]

    def _add_rows(self, turn_input: TurnInput, decision: Decision) -> None:
        rows = self.rows
        rows.events += decision.events
        for command in decision.commands:
            rows.commands[command.event_id] = command
        for change in decision.changes:
            rows.changes[change.event_id] = change
        rows.timers += decision.timers
        if decision.timers_done:
            # One of an earlier decision of this turn is not there yet to be deleted.
            done = set(decision.timers_done)
            rows.timers = [timer for timer in rows.timers if timer.timer_id not in done]
            rows.timers_done += decision.timers_done
        if turn_input.timer_id is not None:
            rows.timers_done.append(turn_input.timer_id)

    def _add_effects(self, decision: Decision) -> None:
        effects = self.effects
        effects.over += decision.over
        effects.cut_off = effects.cut_off or decision.cut_off
        effects.abandoned += decision.abandoned
        effects.followups += decision.followups
        if decision.ended is not None:
            effects.ended_by = next(
                (row.event_id for row in decision.events if row.event_type in TERMINAL_TYPES), 0
            )

    def _note_wish(self, turn_input: TurnInput, message: PostedEvents, answer: Answer) -> None:
        """Note an outcome whose worker wants a command.

        A command of an execution is of the pool of its others, so it may go to any of them. An
        outcome that may have been committed before wants none: what went with it is released. So
        does a copy without effect: its sender has given it up, and another copy was answered.
        """
        if (
            turn_input.wanted_next is not None
            and isinstance(message, CommandOutcomeMessage)
            and not turn_input.is_repeated
            and not turn_input.stored_events
            and isinstance(answer.body, dict)
            and answer.body.get("status") == "ok"
        ):
            self.effects.wishes.setdefault(message.hold.event_id, turn_input)

    def _note_posted(
        self, turn_input: TurnInput, message: PostedEvents, events: Sequence[EventRow]
    ) -> None:
        outside = {event.event_id for event in message.events if event.event_id is not None}
        for row in events:
            if row.event_id in outside:
                self.rows.posted_ids.append(row.event_id)
                self.duplicates.note(row, turn_input)


def _is_ok(answer: Answer) -> bool:
    return isinstance(answer.body, dict) and answer.body.get("status") == "ok"


def begin_spans(units: Iterable[UnitOfWork], spans: TurnSpans) -> None:
    """Record what the units of a turn write, each in the trace of its execution."""
    for unit in units:
        if unit.writes:
            arrivals = [turn_input.arrival for turn_input in unit.inputs]
            unit.spans = spans.of_unit(unit.execution_id, unit.trace, arrivals)


def end_spans(units: Iterable[UnitOfWork], kept: Container[int], spans: TurnSpans) -> None:
    """End the spans of units whose executions were committed."""
    for unit in units:
        if unit.spans is not None and unit.execution_id in kept:
            unit.spans.end(spans)
