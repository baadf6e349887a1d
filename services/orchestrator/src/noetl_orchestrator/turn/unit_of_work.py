"""The decisions of one turn for one execution, until they are committed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from noetl_contract.events import TERMINAL_TYPES, EventRow
from noetl_contract.json import Json
from noetl_engine.inputs import (
    Cancelled,
    CommandOutcome,
    CommandStarted,
    EventsPosted,
    Facts,
    Finalized,
    Started,
)
from noetl_engine.outputs import Answer, CommandChange, Decision, NewCommand, NewTimer
from noetl_engine.playbook import Playbook

from noetl_orchestrator.log.keys import RequestKey, StoredEvent
from noetl_orchestrator.memory.cache import CachedExecution
from noetl_orchestrator.turn.duplicates import event_identity, fresh_ids, row_identity
from noetl_orchestrator.turn.inputs import Work

OPEN_STATES = frozenset({"PENDING", "CLAIMED", "RUNNING"})


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A request key with the answer to give to a repetition."""

    key: RequestKey
    answer: Json


@dataclass(slots=True, eq=False)
class Staged:
    """What one execution adds to the commit of a turn.

    Attributes:
        entry: the execution; it has moved on in memory already.
        expected: its position in the database; 0 for one that is to begin.
        is_fresh: it was read from the database in this turn.
        posted: event ids that came from outside and are about to be stored.
        seen: identities of the events stored in this turn, with the work that brought them.
        abandoned: commands open at the end, in whose children nobody is interested any more.
        end_event_id: the terminal event.
        most_events: with this many events the rest of the inputs is left for another turn.
        left: those inputs.
    """

    execution_id: int
    entry: CachedExecution
    playbook: Playbook
    works: Sequence[Work]
    is_fresh: bool
    expected: int = 0
    answers: list[tuple[Work, Answer]] = field(default_factory=list)
    events: list[EventRow] = field(default_factory=list)
    commands: dict[int, NewCommand] = field(default_factory=dict)
    changes: dict[int, CommandChange] = field(default_factory=dict)
    latest: dict[int, int] = field(default_factory=dict)
    timers: list[NewTimer] = field(default_factory=list)
    timers_done: list[int] = field(default_factory=list)
    keys: list[KeyRow] = field(default_factory=list)
    cancelled_with_children: list[tuple[Work, int]] = field(default_factory=list)
    abandoned: list[int] = field(default_factory=list)
    end_event_id: int = 0
    posted: list[int] = field(default_factory=list)
    seen: dict[int, tuple[StoredEvent, Work]] = field(default_factory=dict)
    start: Started | None = None
    deadline: datetime | None = None
    ended_at: datetime | None = None
    error: str | None = None
    cancel_open: bool = False
    continue_later: bool = False
    next_work: int = 0
    most_events: int = 1000
    left: list[Work] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.expected = self.entry.execution.position

    @property
    def writes(self) -> bool:
        """Whether a commit is needed; without one the answers rest on the position alone."""
        return bool(self.events)

    @property
    def has_children_to_cancel(self) -> bool:
        """Whether its end goes on to children, if there are any."""
        return bool(self.abandoned or self.cancelled_with_children)

    def decide(self, facts: Facts) -> None:
        """Decide the inputs that are left, one after the other.

        Raises:
            NeedRows: stored rows are needed first; call again when they were provided.
            StartRefused: the start can't be; nothing was decided.
        """
        while self.next_work < len(self.works):
            work = self.works[self.next_work]
            if work.caller.is_waiting:
                self._decide(work, facts)
            self.next_work += 1
            if len(self.events) >= self.most_events:
                # One execution must not fill the commit that others share (W9).
                self.left = list(self.works[self.next_work :])
                self.works = self.works[: self.next_work]

    def _decide(self, work: Work, facts: Facts) -> None:
        message = work.input
        if isinstance(message, EventsPosted | CommandStarted | CommandOutcome):
            known = self._known_answer(work, message)
            if known is not None:
                self.answers.append((work, known))
                return
            message = fresh_ids(message, self._taken_ids(work, message), facts.new_id)
        work.caller.taken()
        decision = self.entry.execution.decide(self.playbook, message, facts)
        work.input = message
        self._take(work, message, decision, facts)

    def _known_answer(
        self, work: Work, message: EventsPosted | CommandStarted | CommandOutcome
    ) -> Answer | None:
        """Answer a repetition like the first time (W4), be it stored or in this very turn."""
        for event in reversed(message.events):
            if event.event_id is None or (
                event.event_type == "command.started" and len(message.events) > 1
            ):
                continue  # an outcome brings the start along, stored or not
            identity = event_identity(event, message)
            stored = work.stored.get(event.event_id)
            if stored is not None and stored.is_same(identity):
                return stored_answer(work, message, event.event_id, late=stored.late)
            seen = self.seen.get(event.event_id)
            if seen is not None and seen[0].is_same(identity):
                return next(answer for first, answer in self.answers if first is seen[1])
        return None

    def _taken_ids(
        self, work: Work, message: EventsPosted | CommandStarted | CommandOutcome
    ) -> set[int]:
        """Return ids that belong to other events of this execution (W3)."""
        taken = set()
        for event in message.events:
            if event.event_id is None:
                continue
            seen = self.seen.get(event.event_id)
            stored = work.stored.get(event.event_id) or (seen[0] if seen else None)
            if stored is not None and not stored.is_same(event_identity(event, message)):
                taken.add(event.event_id)
        return taken

    def _take(self, work: Work, message: Any, decision: Decision, facts: Facts) -> None:
        if isinstance(message, EventsPosted | CommandStarted | CommandOutcome):
            self._note_posted(work, message, decision.events)
        elif isinstance(message, Started) and decision.events:
            self.start = message
            self.deadline = work.deadline
        elif isinstance(message, Cancelled) and decision.events and work.cascade:
            self.cancelled_with_children.append((work, decision.events[0].event_id))
        self.events += decision.events
        for command in decision.commands:
            self.commands[command.event_id] = command
        for change in decision.changes:
            self.changes[change.event_id] = change
        self.timers += decision.timers
        if work.timer_id is not None:
            self.timers_done.append(work.timer_id)
        if decision.cancel_open_commands:
            self._cancel_open(facts.now)
        if decision.ended is not None:
            self.ended_at = facts.now
            self.error = decision.error
            self.abandoned = decision.abandoned
            self.end_event_id = next(
                (row.event_id for row in decision.events if row.event_type in TERMINAL_TYPES), 0
            )
        self.continue_later = self.continue_later or decision.continue_later
        answer = repeated_answer(work, message, decision.answer)
        self.answers.append((work, answer))
        if decision.events:
            self.keys += [KeyRow(key, answer.body) for key in work.keys]

    def _note_posted(
        self,
        work: Work,
        message: EventsPosted | CommandStarted | CommandOutcome,
        events: Sequence[EventRow],
    ) -> None:
        outside = {event.event_id for event in message.events if event.event_id is not None}
        for row in events:
            if row.event_id in outside:
                self.posted.append(row.event_id)
                self.seen[row.event_id] = (row_identity(row), work)

    def _cancel_open(self, now: datetime) -> None:
        self.cancel_open = True
        for change in self.changes.values():
            if change.status in OPEN_STATES:
                change.status = "CANCELLED"
                change.ended_at = now
                change.lease_until = None
        for event_id in self.commands:
            if event_id not in self.changes:
                self.changes[event_id] = CommandChange(
                    event_id, "CANCELLED", None, None, 0, 0, None, None, ended_at=now
                )


def stored_answer(
    work: Work,
    message: EventsPosted | CommandStarted | CommandOutcome,
    event_id: int,
    *,
    late: bool,
) -> Answer:
    """Answer a message whose events are in the log already."""
    if isinstance(message, EventsPosted) and message.batch:
        # The edge has given every item its id, and all of them were stored at once.
        ids = [event.event_id for event in message.events]
        return Answer(body={"status": "ok", "event_ids": ids, "commands_generated": 0})
    if isinstance(message, EventsPosted):
        status = "late" if late else "ok"
        return Answer(body={"status": status, "event_id": event_id, "commands_generated": 0})
    if work.answer_in_vain is not None:
        return work.answer_in_vain
    if isinstance(message, CommandStarted):
        return Answer(body={"status": "held"})
    return Answer(body={"status": "late", "reason": "taken"} if late else {"status": "ok"})


def repeated_answer(work: Work, message: Any, answer: Answer) -> Answer:
    """Answer an end that was committed before, its answer lost, like the first time (W8)."""
    if not work.is_repeated:
        return answer
    found = answer.body if isinstance(answer.body, dict) else {}
    if isinstance(message, Cancelled) and "CANCELLED" in (answer.error or ""):
        return Answer(
            body={
                "execution_id": work.execution_id,
                "message": "Execution cancellation requested",
                "status": "cancelled",
                "cancelled_executions": [str(work.execution_id)],
            }
        )
    if isinstance(message, Finalized) and found.get("status") == message.status:
        return Answer(
            body={**found, "message": f"Execution finalized with status: {message.status}"}
        )
    return answer
