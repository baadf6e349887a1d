"""Evolve: one row at a time, in place. Never fails, never decides (docs/adr/0001).

Facts that the contract's columns don't show are in the row's ``note``:

``command``, ``at``, ``sent``
    A worker row that belongs to an open command: the ``command.issued`` id, the database's time
    (microseconds), and the id as sent when it differs from the stored one (W3).
    Worker rows without it, and every row with ``inert``, change nothing but the position.
``instance``, ``attempts``, ``holds``
    Of a ``command.claimed``: the rest of the hold.
``deadline``
    Of a ``playbook_started``: the timer of the execution's deadline, and its seconds.
``collection``, ``limit``, ``own``, ``args``
    Of a loop's ``step.enter``: the parts of its iterations.
``queued``
    Of a plain ``step.enter``: its command comes with a later part of the fan-out.
``awaits``, ``patience``, ``once``
    Of a ``command.issued``: its tool waits for a child; its timeout of a callback in seconds; it
    doesn't run again when its worker is lost.
``parked``
    Of a ``command.completed``: the command stays open until its callback.
``fails``
    Of the end of a run that answered with an error, or whose result is in no store: its step
    fails; for the first of these because the playbook asks for it.
``callback``, ``index``
    Of a callback's ``call.done``: ``ends`` the parked command or comes ``early``; which iteration.
``wait``
    Of a ``wait.started``: what ends it.
``reminder``, ``reminders``
    Of a ``wait.reminder``: the timer of the next one; how many there were.
``pause``
    Of an ``execution.paused``: its row among the timers.
``kept``
    Of a ``signal.received`` that nothing waited for: name, size, and who may take it.
``took``
    Of a wait's ``call.done``: the position of the kept signal that ended it.
``restart``, ``workload``, ``over``
    Of a restarted execution: what it takes over, of its first row; of its ``execution.restored``,
    that the workload is changed, and that it has taken over all.
``given``
    Of that ``execution.restored``: the steps that see the input on top of all else.
``ops``
    Applied after the row itself, in order: arrivals, resets of a cycle, unhandled failures.
"""

from collections.abc import Callable, Mapping

from noetl_contract.events import (
    CANCELLED_TYPES,
    COMPLETED_TYPES,
    FAILED_TYPES,
    TERMINAL_TYPES,
    EventRow,
    EventType,
    ExecutionStatus,
)
from noetl_contract.json import Json

from noetl_engine.state.failures import (
    count_soft_error,
    error_of,
    note_answer,
    note_failure,
    note_undecided,
)
from noetl_engine.state.identity import moment_of, remember, worker_of
from noetl_engine.state.model import (
    CommandState,
    Given,
    LoopState,
    Phase,
    Queued,
    ResultRef,
    State,
    StepState,
    TakeOver,
)
from noetl_engine.state.routing_changes import apply_operations, drop_arrivals
from noetl_engine.state.wait_effects import on_reminder, on_signal
from noetl_engine.state.waiting import Wait

_NO_NOTE: Mapping[str, Json] = {}
# Types of the engine's own rows; posted from outside they must change nothing.
ENGINE_TYPES = frozenset(
    {
        EventType.PLAYBOOK_STARTED,
        EventType.STEP_ENTER,
        EventType.STEP_EXIT,
        EventType.STEP_SKIPPED,
        EventType.CTX_UPDATED,
        EventType.COMMAND_ISSUED,
        EventType.WAIT_STARTED,
        EventType.WAIT_REMINDER,
        EventType.SIGNAL_RECEIVED,
        EventType.EXECUTION_RESTORED,
        EventType.EXECUTION_PAUSED,
        EventType.EXECUTION_RESUMED,
    }
)
PARKING_KINDS = frozenset({"container", "script"})


def fold(state: State, row: EventRow) -> None:
    """Apply a row. A row at or below the state's position was applied before: nothing happens."""
    if row.position <= state.position:
        return
    state.position = row.position
    note = row.note if isinstance(row.note, dict) else _NO_NOTE
    if row.event_type not in _ENGINE_ONLY or "inert" in note:
        remember(state.recent, state.renamed, row, note)
    if "inert" not in note:
        effect = _EFFECTS.get(row.event_type, _heard)  # any other is a sign of life at least
        effect(state, row, note)
    ops = note.get("ops")
    if ops:
        apply_operations(state, ops)


def _on_started(state: State, row: EventRow, note: Mapping[str, Json]) -> None:
    if state.start_event_id:
        return
    context = row.context if isinstance(row.context, dict) else {}
    meta = row.meta if isinstance(row.meta, dict) else {}
    state.catalog_id = row.catalog_id
    state.path = context.get("path") or row.node_name or ""
    state.version = note.get("version", 0)
    state.parent_execution_id = row.parent_execution_id
    state.pool = meta.get("execution_pool")
    state.trace = meta.get("trace")
    after = meta.get("after")
    if isinstance(after, dict):
        state.handles = [str(one) for one in after.get("handles") or ()]
    state.start_event_id = row.event_id
    state.start_commands = note.get("commands", 0)
    deadline = note.get("deadline")
    state.deadline = None if deadline is None else (deadline[0], deadline[1])
    state.workload = row.position
    state.plugins = note.get("plugins") or {}
    if "restart" in note:
        state.take_over = TakeOver(**note["restart"])
    state.context_version += 1


def _on_restored(state: State, row: EventRow, note: Mapping[str, Json]) -> None:
    if "over" in note:
        state.take_over = None
    if "given" in note:
        state.given = Given.load(note["given"])
    if "workload" in note:
        state.workload = row.position
        state.context_version += 1


def _ending(status: ExecutionStatus) -> Callable[[State, EventRow, Mapping[str, Json]], None]:
    def on_end(state: State, row: EventRow, _note: Mapping[str, Json]) -> None:
        if state.ended:
            return
        state.status, state.end = status, row.position
        meta = row.meta if isinstance(row.meta, dict) else {}
        state.error = row.error or meta.get("error")
        note_undecided(state, meta.get("cause"))

    return on_end


def _on_pause(state: State, row: EventRow, note: Mapping[str, Json]) -> None:
    state.pause = note["pause"] if row.event_type == EventType.EXECUTION_PAUSED else None


def _on_variables(state: State, row: EventRow, _note: Mapping[str, Json]) -> None:
    context = (row.result or {}).get("context") or {}
    for name in context.get("values") or {}:
        state.variables[name] = (row.position, None)
    state.context_version += 1


def _begin(state: State, step: StepState) -> None:
    drop_arrivals(state, step)
    step.phase = Phase.RUNNING
    step.runs += 1
    step.open = 0
    step.command = None
    step.loop = None
    step.queued = None
    step.error = None
    state.causes.pop(step.name, None)
    state.running[step.name] = None
    state.progress.current_step = step.name
    state.set_outcome(step, Phase.RUNNING)


def _end(state: State, step: StepState, phase: Phase) -> None:
    step.phase = phase
    step.loop = None
    step.command = None
    state.running.pop(step.name, None)
    state.set_outcome(step, phase)


def _on_enter(state: State, row: EventRow, note: Mapping[str, Json]) -> None:
    step = state.step(row.node_name or "")
    _begin(state, step)
    context = (row.result or {}).get("context") or {}
    is_cursor = context.get("__cursor_loop") is True
    total = 0 if is_cursor else context.get("iterations_expected")
    own = tuple(note.get("own") or ())
    if "queued" in note:
        step.queued = Queued(row.position, own)
    if isinstance(total, int):
        step.loop = LoopState(row.position, total, note.get("limit"), own=own)
        step.loop.frame = 0 if is_cursor else None


def _on_exit(state: State, row: EventRow, _note: Mapping[str, Json]) -> None:
    step = state.step(row.node_name or "")
    frames = None if step.loop is None else step.loop.frame
    step.result = ResultRef("empty") if frames is None else ResultRef("cursor", total=frames)
    state.context_version += 1
    _end(state, step, Phase.COMPLETED)


def _on_skipped(state: State, row: EventRow, _note: Mapping[str, Json]) -> None:
    step = state.step(row.node_name or "")
    drop_arrivals(state, step)
    step.phase = Phase.SKIPPED


def _on_issued(state: State, row: EventRow, note: Mapping[str, Json]) -> None:
    meta = row.meta if isinstance(row.meta, dict) else {}
    step = state.step(row.node_name or "")
    if step.phase is not Phase.RUNNING:
        _begin(state, step)  # a plain start has no step.enter
    cursor = meta.get("cursor")
    claims = isinstance(cursor, dict) and cursor.get("phase") == "claim"
    command = state.commands[row.event_id] = CommandState(
        row.event_id,
        str(meta.get("command_id")),
        step.name,
        row.position,
        row.created_at,
        meta.get("iteration_index"),
        meta.get("timeout_seconds"),
        claims=claims,
        awaits=note.get("awaits", False),
        parks=row.node_type in PARKING_KINDS,
        callback_seconds=note.get("patience"),
        once="once" in note,
    )
    step.open += 1
    step.queued = None
    if step.loop is None:
        step.command = row.event_id
    elif isinstance(cursor, dict) and claims:
        step.loop.begin_frame(cursor["frame"])
    else:
        step.loop.begin_iteration(command.index)


def _on_wait_started(state: State, row: EventRow, note: Mapping[str, Json]) -> None:
    _on_issued(state, row, note)
    state.commands[row.event_id].wait = Wait.of_note(note["wait"])


def _on_claimed(state: State, row: EventRow, note: Mapping[str, Json]) -> None:
    command = state.commands.get(note.get("command", 0))
    if command is None:
        return
    command.worker_id = worker_of(row) if row.worker_id is None else row.worker_id
    command.instance = note.get("instance")
    command.attempts = note.get("attempts", 0)
    command.holds = note.get("holds", command.holds + 1)
    command.given_back = note.get("given_back", 0)
    command.claimed_at = row.created_at
    command.started_at = None
    command.heard_at = None
    command.call = None
    command.error = None
    state.answered.pop(command.event_id, None)


def _heard(state: State, row: EventRow, note: Mapping[str, Json]) -> CommandState | None:
    """Note a sign of life of a run; the first one of an unclaimed command makes the holder."""
    command = state.commands.get(note.get("command", 0))
    if command is None:
        return None
    at = moment_of(note.get("at", 0))
    if not command.holds:
        command.worker_id = worker_of(row)
        command.holds = 1
        command.claimed_at = at
    command.heard_at = at
    return command


def _on_command_started(state: State, row: EventRow, note: Mapping[str, Json]) -> None:
    command = _heard(state, row, note)
    if command is not None and command.started_at is None:
        command.started_at = command.heard_at
        state.progress.current_step = command.step


def _on_call_done(state: State, row: EventRow, note: Mapping[str, Json]) -> None:
    if "callback" in note:
        _on_callback(state, row, note)
        return
    command = _heard(state, row, note)
    if command is None:
        return
    took = note.get("took")
    if took is not None:
        state.signals = [kept for kept in state.signals if kept.position != took]
    command.call = row.position
    note_answer(state, command, row)
    if command.index is None and not command.claims:
        _take_result(state, state.step(command.step), row.position)


def _on_callback(state: State, row: EventRow, note: Mapping[str, Json]) -> None:
    """End a parked command, or one that will park; this is no sign of life of a worker."""
    command = state.commands.get(note.get("command", 0))
    if command is None:
        return
    note_answer(state, command, row)
    fails = "fails" in note
    if not fails:
        count_soft_error(state, command, row)
    if note["callback"] != "ends":
        command.callback = row.position
        return
    step = _close(state, command)
    if step.loop is None:
        _take_result(state, step, row.position)
    if fails:
        _fail(state, step, command, row)
    elif step.loop is None:
        _end(state, step, Phase.COMPLETED)
    else:
        step.loop.finished += 1
        _end_loop(state, step, step.loop, row.position)


def _take_result(state: State, step: StepState, position: int) -> None:
    step.result = ResultRef("row", last=position)
    state.context_version += 1


def _on_call_error(state: State, row: EventRow, note: Mapping[str, Json]) -> None:
    command = _heard(state, row, note)
    if command is not None:
        command.error = error_of(row)


def _on_completed(state: State, row: EventRow, note: Mapping[str, Json]) -> None:
    command = _heard(state, row, note)
    if command is None:
        return
    if "parked" in note:
        command.parked = row.position
        return
    step = _close(state, command)
    if "fails" in note:
        _fail(state, step, command, row)
        return
    count_soft_error(state, command, row)
    loop = step.loop
    if command.claims:
        return  # the decision notes the effect of its rows as an operation
    came = command.call or command.callback
    if loop is None:
        if command.call is None and command.callback is not None:
            _take_result(state, step, command.callback)
        elif step.result is None:
            _take_result(state, step, row.position)
        _end(state, step, Phase.COMPLETED)
        return
    loop.finished += 1
    if came is None:
        loop.bare.append(row.position)
    _end_loop(state, step, loop, row.position)


def _on_failed(state: State, row: EventRow, note: Mapping[str, Json]) -> None:
    command = _heard(state, row, note)
    if command is None:
        return
    _fail(state, _close(state, command), command, row)


def _fail(state: State, step: StepState, command: CommandState, row: EventRow) -> None:
    """End a run, and its step or its part of a loop, as failed."""
    note_failure(state, step, command, row)
    if step.loop is None or command.claims:
        _end(state, step, Phase.FAILED)
    else:
        step.loop.failed += 1
        _end_loop(state, step, step.loop, row.position)


def _close(state: State, command: CommandState) -> StepState:
    del state.commands[command.event_id]
    step = state.step(command.step)
    step.open -= 1
    step.command = None
    return step


def _end_loop(state: State, step: StepState, loop: LoopState, position: int) -> None:
    if loop.failed:
        if not loop.in_flight:
            if loop.frame is None:
                # What went well is there for the steps that deal with the failure.
                _gather(state, step, loop, position)
            _end(state, step, Phase.FAILED)
    elif loop.frame is None and loop.finished >= loop.total:
        _gather(state, step, loop, position)
        _end(state, step, Phase.COMPLETED)


def _gather(state: State, step: StepState, loop: LoopState, position: int) -> None:
    step.result = ResultRef("loop", loop.entered, position, loop.total, tuple(loop.bare))
    state.context_version += 1


_ENGINE_ONLY = ENGINE_TYPES | TERMINAL_TYPES | {EventType.COMMAND_CLAIMED}

_EFFECTS: Mapping[str, Callable[[State, EventRow, Mapping[str, Json]], object]] = {
    EventType.PLAYBOOK_STARTED: _on_started,
    EventType.EXECUTION_RESTORED: _on_restored,
    EventType.STEP_ENTER: _on_enter,
    EventType.STEP_EXIT: _on_exit,
    EventType.STEP_SKIPPED: _on_skipped,
    EventType.CTX_UPDATED: _on_variables,
    EventType.COMMAND_ISSUED: _on_issued,
    EventType.WAIT_STARTED: _on_wait_started,
    EventType.WAIT_REMINDER: on_reminder,
    EventType.SIGNAL_RECEIVED: on_signal,
    EventType.COMMAND_CLAIMED: _on_claimed,
    EventType.COMMAND_STARTED: _on_command_started,
    EventType.CALL_DONE: _on_call_done,
    EventType.CALL_ERROR: _on_call_error,
    EventType.COMMAND_COMPLETED: _on_completed,
    EventType.COMMAND_FAILED: _on_failed,
    EventType.EXECUTION_PAUSED: _on_pause,
    EventType.EXECUTION_RESUMED: _on_pause,
    **dict.fromkeys(COMPLETED_TYPES, _ending(ExecutionStatus.COMPLETED)),
    **dict.fromkeys(FAILED_TYPES, _ending(ExecutionStatus.FAILED)),
    **dict.fromkeys(CANCELLED_TYPES, _ending(ExecutionStatus.CANCELLED)),
}
