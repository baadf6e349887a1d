"""Reports of workers: events over HTTP, start and outcome over the fast path."""

from collections.abc import Sequence

from noetl_contract.events import TERMINAL_TYPES, EventRow, EventType
from noetl_contract.ingress import (
    CommandOutcomeMessage,
    CommandStartMessage,
    EventsMessage,
    Hold,
    WireEvent,
)

from noetl_engine.decide.callback import find_awaiting, is_of_a_job, parks
from noetl_engine.decide.draft import Draft
from noetl_engine.decide.loop import after_claim, after_iteration
from noetl_engine.decide.route import route_completion, route_failure
from noetl_engine.decide.rows import (
    attempts_of,
    command_id_of_event,
    recall,
    refused,
    worker_id_of,
    worker_row,
)
from noetl_engine.lease import NEVER_BEGAN, NOBODY, UNNAMED, fits, may_be_given_back
from noetl_engine.outputs import Answer
from noetl_engine.state.failures import is_failure, is_soft_error
from noetl_engine.state.fold import ENGINE_TYPES
from noetl_engine.state.identity import command_number
from noetl_engine.state.memory import RUN_ENDS
from noetl_engine.state.model import CommandState

_RUN_TYPES = RUN_ENDS | {EventType.COMMAND_STARTED, EventType.CALL_DONE, EventType.CALL_ERROR}

# What the engine says, or a request, but never what a run of a tool reports.
_NOT_OF_A_RUN = ENGINE_TYPES | TERMINAL_TYPES | {EventType.COMMAND_CLAIMED}


def decide_events(draft: Draft, message: EventsMessage) -> None:
    """Take posted events one after the other; each is decided before the next (R1)."""
    ids: list[int] = []
    answer = draft.decision.answer
    for event in message.events:
        taken = _take_event(draft, event, batch=message.batch)
        if isinstance(taken, Answer):
            draft.decision.answer = taken
            return
        event_id, late = taken
        ids.append(event_id)
        if not message.batch:
            status = "late" if late else "ok"
            answer.body = {"status": status, "event_id": event_id, "commands_generated": 0}
    if message.batch:
        answer.body = {"status": "ok", "event_ids": ids, "commands_generated": 0}


def _take_event(draft: Draft, event: WireEvent, *, batch: bool) -> Answer | tuple[int, bool]:
    """Store one event and decide; return its id in the log, and whether it was late."""
    known = recall(draft, event)
    if known is not None:
        return known.event_id, known.late
    if event.event_type == EventType.COMMAND_CLAIMED:
        return _take_claim(draft, event, batch=batch)
    awaiting = find_awaiting(draft.state, event)
    if awaiting is not None:
        return _take_callback(draft, event, awaiting)
    # A container's callback that nothing waits for is no report of a run either.
    command = None if is_of_a_job(event) else find_command(draft, event)
    if command is not None and event.event_type not in ENGINE_TYPES:
        return _take_run_event(draft, event, command, batch=batch)
    late = _is_late(draft, event)
    row = worker_row(draft, event, command=None, batch=batch, late=late)
    if event.event_type in TERMINAL_TYPES and not draft.state.ended:
        row.note = None  # an outsider's word for the end counts like any other (R8)
    return draft.append(row).event_id, late


def _take_run_event(
    draft: Draft, event: WireEvent, command: CommandState, *, batch: bool
) -> tuple[int, bool]:
    attempts = attempts_of(event)
    is_over = command.parked is not None and event.event_type in _RUN_TYPES
    if is_over or not fits(
        command, worker_id=worker_id_of(event), instance=None, attempts=attempts
    ):
        row = worker_row(draft, event, command=None, batch=batch, late=True)
        return draft.append(row).event_id, True
    held = command.holds
    row = worker_row(draft, event, command=command, batch=batch)
    _append_run_row(draft, row, command, first=not held)
    return row.event_id, False


def _append_run_row(
    draft: Draft, row: EventRow, command: CommandState, *, first: bool = False
) -> None:
    """Append an event of the present run, and decide when it ends the run."""
    if parks(row, command):
        row.note = {**(row.note or {}), "parked": True}
    draft.append(row)
    if first:
        draft.begin_time_limit(command)
    if command.parked is not None:
        draft.begin_wait(command)
    elif row.event_type in RUN_ENDS:
        after_end(draft, row, command)


def _take_callback(draft: Draft, event: WireEvent, command: CommandState) -> tuple[int, bool]:
    """Take the result of a job that a step has left behind."""
    row = worker_row(draft, event, command=command)
    row.meta = event.meta
    ends = command.parked is not None
    note = {**(row.note or {}), "callback": "ends" if ends else "early"}
    if command.index is not None:
        note |= {"index": command.index, "command_id": command.command_id}
    row.note = note
    draft.append(row)
    if ends:
        after_end(draft, row, command)
    return row.event_id, False


def _is_late(draft: Draft, event: WireEvent) -> bool:
    """Return whether an event reports on a command that is closed."""
    if event.event_type not in _RUN_TYPES or event.step not in draft.state.steps:
        return draft.state.ended and event.event_type in TERMINAL_TYPES
    return command_id_of_event(event) is not None


def _take_claim(draft: Draft, event: WireEvent, *, batch: bool) -> Answer | tuple[int, bool]:
    """Take a posted ``command.claimed``: a claim that needs no answer."""
    command = find_command(draft, event)
    worker_id = worker_id_of(event)
    if command is None or worker_id is None or draft.state.ended:
        return draft.append(worker_row(draft, event, command=None, batch=batch)).event_id, False
    if command.holds:
        if command.worker_id == worker_id:
            return 0, False
        return refused(f"Command already claimed by {command.worker_id}", "active_claim")
    row = worker_row(draft, event, command=command, batch=batch)
    draft.begin_hold(command, worker_id=worker_id, instance=None, row=row)
    return row.event_id, False


def find_command(draft: Draft, event: WireEvent) -> CommandState | None:
    """Return the open command an event speaks of.

    Without a command id it is the only open command of a plain step (R2).
    """
    state = draft.state
    command_id = command_id_of_event(event)
    if command_id is not None:
        command = state.commands.get(command_number(command_id) or 0)
        is_named = command is not None and command.command_id == command_id
        return command if is_named and command is not None and command.wait is None else None
    if event.event_type not in _RUN_TYPES:
        return None
    step = state.steps.get(event.step)
    if step is None or step.command is None:
        return None
    command = state.commands.get(step.command)
    return None if command is None or command.wait is not None else command


def decide_start_of_command(draft: Draft, message: CommandStartMessage) -> None:
    """Decide on the start of a command: ``held``, or ``lost`` with nothing written."""
    hold, answer = message.hold, draft.decision.answer
    command = _held_command(draft, hold)
    if command is not None and not draft.state.ended:
        _append_start(draft, command, hold, message.events)
        answer.body = {"status": "held"}
    elif command is None and any(_is_known(draft, event) for event in message.events):
        answer.body = {"status": "held"}  # finished by this very run
    else:
        answer.body = {"status": "lost", "reason": _why_lost(draft, hold)}


def decide_outcome(draft: Draft, message: CommandOutcomeMessage) -> None:
    """Decide on the outcome of a command: its remaining rows, then their routing.

    An outcome with events that no run reports is refused, with nothing written.
    """
    hold, answer = message.hold, draft.decision.answer
    refusal = _not_a_report(message)
    if refusal is not None:
        answer.body = {"status": 422, "error": refusal}
        return
    command = _held_command(draft, hold)
    if command is None:
        _take_late_outcome(draft, message)
        return
    answer.body = {"status": "ok"}
    _append_start(draft, command, hold, message.events)
    error = None if draft.state.ended else _never_began(message)
    if error is not None and may_be_given_back(command):
        draft.begin_hold(command, worker_id=NOBODY, instance=None, reason=NEVER_BEGAN, error=error)
        answer.body = {"status": "late", "reason": "given_back"}
        return
    for event in message.events:
        if event.event_type == EventType.COMMAND_STARTED or _is_known(draft, event):
            continue
        _append_run_row(draft, worker_row(draft, event, command=command), command)
        if event.event_type in RUN_ENDS:
            return


def _not_a_report(message: CommandOutcomeMessage) -> str | None:
    """Return why an outcome can't be a worker's: it reports engine events, or on another step."""
    for event in message.events:
        if event.event_type in _NOT_OF_A_RUN:
            return f"An outcome can't report {event.event_type}"
        if event.step != message.hold.step:
            return f"An outcome of step {message.hold.step} can't report on step {event.step}"
    return None


def _never_began(message: CommandOutcomeMessage) -> str | None:
    """Return why a worker could not begin the tool, None if it could."""
    for event in message.events:
        meta, said = event.meta, event.context
        if (
            event.event_type == EventType.COMMAND_FAILED
            and isinstance(meta, dict)
            and meta.get("never_began") is True
        ):
            return str(said.get("error", "")) if isinstance(said, dict) else ""
    return None


def _take_late_outcome(draft: Draft, message: CommandOutcomeMessage) -> None:
    """Repeated: nothing. Another run's: kept for the record, once, without effect."""
    late = False
    for event in message.events:
        if event.event_type == EventType.COMMAND_STARTED:
            continue
        known = recall(draft, event)
        if known is None:
            draft.append(worker_row(draft, event, command=None, late=True))
        late = late or known is None or known.late
    answer = draft.decision.answer
    if late:
        reason = "taken" if _is_open(draft, message.hold) else "finished"
        answer.body = {"status": "late", "reason": reason}
    else:
        answer.body = {"status": "ok"}


def _held_command(draft: Draft, hold: Hold) -> CommandState | None:
    """Return the open command, if the hold is its present one or begins the first."""
    command = draft.state.commands.get(hold.event_id)
    if command is None or command.command_id != hold.command_id or command.parked is not None:
        return None
    if command.step != hold.step or command.wait is not None:
        return None
    fitting = fits(
        command,
        worker_id=hold.worker_id or UNNAMED,
        instance=hold.instance,
        attempts=hold.attempts,
    )
    return command if fitting else None


def _append_start(
    draft: Draft, command: CommandState, hold: Hold, events: Sequence[WireEvent]
) -> None:
    """Append the claim and the start, where they are missing."""
    if not command.holds:
        draft.begin_hold(command, worker_id=hold.worker_id or UNNAMED, instance=hold.instance)
    if command.started_at is None:
        for event in events:
            if event.event_type == EventType.COMMAND_STARTED:
                draft.append(worker_row(draft, event, command=command))
                return


def _why_lost(draft: Draft, hold: Hold) -> str:
    if draft.state.status == "CANCELLED":
        return "cancelled"
    return "finished" if draft.state.ended or not _is_open(draft, hold) else "taken"


def _is_open(draft: Draft, hold: Hold) -> bool:
    """Return whether some run of the command is still under way."""
    command = draft.state.commands.get(hold.event_id)
    return command is not None and command.parked is None


def _is_known(draft: Draft, event: WireEvent) -> bool:
    return recall(draft, event) is not None


def after_end(draft: Draft, row: EventRow, command: CommandState) -> None:
    """Decide after the end of a command; ``row`` is its trigger."""
    if draft.state.ended:
        return
    draft.trigger = row.event_id
    failed = is_failure(row)
    if command.claims:
        after_claim(draft, command, failed=failed, error=is_soft_error(row))
    elif command.index is not None:
        after_iteration(draft, command, failed=failed)
    elif failed:
        route_failure(draft, command.step, command.error or "", ended=True)
    else:
        route_completion(draft, command.step)
