"""Repetitions: of events by their ids (W3, R15), of requests by their keys (W5).

They are answered like the first time (W4, W8).
"""

from collections.abc import Callable, Mapping, Sequence

from noetl_contract.events import EventRow
from noetl_contract.ingress import (
    CancelMessage,
    CommandOutcomeMessage,
    CommandStartMessage,
    EventsMessage,
    ExecuteMessage,
    FinalizeMessage,
    WireEvent,
)
from noetl_contract.json import Json
from noetl_engine.inputs import Input
from noetl_engine.outputs import Answer

from noetl_orchestrator.log.keys import EventIdentity
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import RequestKeyHolder
from noetl_orchestrator.turn.inputs import Group, TurnInput

_OTHER = "Idempotency-Key was used for another request: path, payload, pool or parent differ"

type PostedEvents = EventsMessage | CommandStartMessage | CommandOutcomeMessage
"""The messages that carry events from outside."""


class EventDuplicates:
    """Remember the events that one execution stores in a turn."""

    def __init__(self) -> None:
        self._new: dict[int, tuple[EventRow, TurnInput]] = {}

    def note(self, row: EventRow, turn_input: TurnInput) -> None:
        """Remember an event from outside that this turn stores."""
        self._new[row.event_id] = (row, turn_input)

    def _may_know(self, turn_input: TurnInput) -> bool:
        """Return whether any id is known: what arrives first has none to compare."""
        return bool(self._new or turn_input.stored_events)

    def known_answer(
        self,
        turn_input: TurnInput,
        message: PostedEvents,
        answers: Sequence[tuple[TurnInput, Answer]],
    ) -> Answer | None:
        """Return the first answer of a repetition, stored before or in this turn; else None."""
        if not self._may_know(turn_input):
            return None
        for event in reversed(message.events):
            if event.event_id is None or (
                event.event_type == "command.started" and len(message.events) > 1
            ):
                continue  # an outcome repeats the start, stored or not
            stored = turn_input.stored_events.get(event.event_id)
            if stored is not None and stored.is_same(event_identity(event, message)):
                return stored_answer(turn_input, message, event.event_id, late=stored.late)
            new = self._new.get(event.event_id)
            if new is not None and row_identity(new[0]).is_same(event_identity(event, message)):
                return next(answer for first, answer in answers if first is new[1])
        return None

    def taken_ids(self, turn_input: TurnInput, message: PostedEvents) -> set[int]:
        """Return ids that belong to other events of this execution (W3)."""
        taken: set[int] = set()
        if not self._may_know(turn_input):
            return taken
        for event in message.events:
            if event.event_id is None:
                continue
            known = turn_input.stored_events.get(event.event_id)
            if known is None and event.event_id in self._new:
                known = row_identity(self._new[event.event_id][0])
            if known is not None and not known.is_same(event_identity(event, message)):
                taken.add(event.event_id)
        return taken


def event_identity(event: WireEvent, message: PostedEvents) -> EventIdentity:
    """Return the identity of a posted event; a repetition has the same one."""
    worker_id = event.worker_id
    if worker_id is None and not isinstance(message, EventsMessage):
        worker_id = message.hold.worker_id
    if worker_id is None:
        worker_id = _text(event.meta, "worker_id")
    command_id = _text(event.context, "command_id") or _text(event.meta, "command_id")
    return EventIdentity(event.event_type, command_id, worker_id)


def row_identity(row: EventRow) -> EventIdentity:
    """Return the identity of a row of the log."""
    context = row.result.get("context") if isinstance(row.result, dict) else None
    return EventIdentity(
        row.event_type,
        _text(context, "command_id") or _text(row.meta, "command_id"),
        row.worker_id or _text(row.meta, "worker_id"),
        late=isinstance(row.meta, dict) and row.meta.get("late") is True,
    )


def fresh_ids(message: PostedEvents, taken: set[int], new_id: Callable[[], int]) -> PostedEvents:
    """Return the message with new ids for events whose ids are taken."""
    if not taken:
        return message
    events = [
        event.but(event_id=new_id()) if event.event_id in taken else event
        for event in message.events
    ]
    return message.but(events=events)


def stored_answer(
    turn_input: TurnInput, message: PostedEvents, event_id: int, *, late: bool
) -> Answer:
    """Answer a message whose events are in the log already."""
    if isinstance(message, EventsMessage) and message.batch:
        # The edge gave every item its id, and all of them were stored at once.
        ids = [event.event_id for event in message.events]
        return Answer(body={"status": "ok", "event_ids": ids, "commands_generated": 0})
    if isinstance(message, EventsMessage):
        status = "late" if late else "ok"
        return Answer(body={"status": status, "event_id": event_id, "commands_generated": 0})
    if turn_input.discarded_answer is not None:
        return turn_input.discarded_answer
    if isinstance(message, CommandStartMessage):
        return Answer(body={"status": "held"})
    return Answer(body={"status": "late", "reason": "taken"} if late else {"status": "ok"})


def repeated_answer(turn_input: TurnInput, message: Input, answer: Answer) -> Answer:
    """Answer an end that was committed before, its answer lost, like the first time (W8)."""
    if not turn_input.is_repeated:
        return answer
    found = answer.body if isinstance(answer.body, dict) else {}
    if isinstance(message, CancelMessage) and "CANCELLED" in (answer.error or ""):
        return Answer(
            body={
                "execution_id": turn_input.execution_id,
                "message": "Execution cancellation requested",
                "status": "cancelled",
                "cancelled_executions": [str(turn_input.execution_id)],
            }
        )
    if isinstance(message, FinalizeMessage) and found.get("status") == message.status:
        return Answer(
            body={**found, "message": f"Execution finalized with status: {message.status}"}
        )
    return answer


async def answer_repetitions(
    store: Store, groups: list[Group], settled: list[tuple[TurnInput, Answer]]
) -> list[Group]:
    """Answer inputs whose keys are held (W5); return the groups that are left to decide.

    Two inputs of one turn with the same key fail the commit. Repeated one at a time, the second
    finds the key of the first.
    """
    keys = [key for group in groups for one in group.inputs for key in one.request_keys]
    if not keys:
        return groups
    holders = await store.find_request_keys(keys)
    left = []
    for group in groups:
        undecided = []
        for turn_input in group.inputs:
            answer = _held_answer(turn_input, holders)
            if answer is None:
                undecided.append(turn_input)
            else:
                settled.append((turn_input, answer))
        if undecided:
            left.append(Group(group.execution_id, undecided))
    return left


def _held_answer(
    turn_input: TurnInput, holders: Mapping[tuple[str, str], RequestKeyHolder]
) -> Answer | None:
    """Return the answer to a repeated request; None for a new one, or the holder itself."""
    for key in turn_input.request_keys:
        holder = holders.get((key.scope, key.key))
        if holder is None:
            continue
        if not isinstance(turn_input.message, ExecuteMessage):
            return Answer(body=holder.answer)
        if key.is_of_another(holder.answer):
            return Answer(422, error=_OTHER)
        if holder.execution_id != turn_input.execution_id:
            return Answer(
                body={
                    "execution_id": str(holder.execution_id),
                    "status": "duplicate",
                    "commands_generated": 0,
                }
            )
    return None


def _text(owner: Json, name: str) -> str | None:
    value = owner.get(name) if isinstance(owner, dict) else None
    return value if isinstance(value, str) else None
