"""Find the log rows that a decision needs and memory lacks; `NeedRows` asks to load them."""

from collections.abc import Iterable, Mapping

from noetl_contract.commands import named_position
from noetl_contract.events import EventType
from noetl_contract.failures.soft import SOFT_SUCCESS
from noetl_contract.ingress import (
    CommandOutcomeMessage,
    EventsMessage,
    ResumeMessage,
    SignalMessage,
    WireEvent,
)

from noetl_engine.decide.callback import find_awaiting
from noetl_engine.decide.rows import command_id_of_event
from noetl_engine.decide.waits.signals import find_wait
from noetl_engine.inputs import (
    CallbackTimedOut,
    Claimed,
    CommandExhausted,
    Continued,
    Input,
    ReminderDue,
    ResultRecorded,
    StepTimedOut,
    WaitDue,
)
from noetl_engine.outputs import NeedRows
from noetl_engine.state.identity import command_number
from noetl_engine.state.memory import RUN_ENDS, Memory
from noetl_engine.state.model import CommandState, State
from noetl_engine.state.values import context_positions

_ALL = 1 << 62


def check_rows(memory: Memory, message: Input) -> None:  # noqa: C901, PLR0912 - one case per input
    """Ask for values that were not kept over a restore.

    May ask for more than the decision turns out to need, never for less.

    Raises:
        NeedRows: Values are missing.
    """
    state = memory.state
    if state.ended:
        return
    match message:
        case Claimed(event_id=event_id):
            command = state.commands.get(event_id)
            if command is not None:
                _ask(memory, {command.issued}, ())
                _check_named(memory, command)
                _check_recorded(memory, event_id)
        case CommandOutcomeMessage(hold=hold, events=events):
            if hold.event_id in state.commands:
                _check_ends(memory, [hold.event_id], any_failed=_any_failed(events))
        case EventsMessage(events=events):
            ending = [_ending(state, event) for event in events]
            numbers = [command for command in ending if command is not None]
            _check_ends(memory, numbers, any_failed=_any_failed(events))
        case SignalMessage():
            ended = find_wait(state, message)
            if ended is not None:
                _ask(memory, {ended.issued}, ())
                _check_ends(memory, [ended.event_id], any_failed=False)
        case ReminderDue(event_id=event_id):
            command = state.commands.get(event_id)
            if command is not None:
                _ask(memory, {command.issued}, ())
        case (
            CommandExhausted(event_id=event_id)
            | StepTimedOut(event_id=event_id)
            | CallbackTimedOut(event_id=event_id)
            | WaitDue(event_id=event_id)
        ):
            _check_ends(memory, [event_id], any_failed=True)
            _check_recorded(memory, event_id)
        case ResultRecorded(event_id=event_id):
            _check_recorded(memory, event_id)
        case Continued() if state.take_over is not None:
            # Any of them may end by a run that is taken over.
            _check_loops(memory, state.running, ending=dict.fromkeys(state.running, _ALL))
        case Continued():
            _check_loops(memory, state.running)
        case ResumeMessage():
            # Frames of cursors may have ended.
            _check_loops(memory, state.running, ending={})
        case _:
            pass


def _check_named(memory: Memory, command: CommandState) -> None:
    """Ask for the workload that a command names: its worker may not know it."""
    if command.wait is None:
        named = named_position(memory.values.rows[command.issued]["context"])
        if named is not None:
            _ask(memory, {named}, ())


def _check_recorded(memory: Memory, event_id: int) -> None:
    """Ask for the rows needed to end a command from the result that the log has of it."""
    command = memory.state.commands.get(event_id)
    if command is None:
        return
    brought = {at for at in (command.call, command.callback) if at is not None}
    if brought:
        _check_ends(memory, [event_id], any_failed=False)
        _ask(memory, brought, ())


def _ending(state: State, event: WireEvent) -> int | None:
    """Return the open command an event may end."""
    if event.event_type not in RUN_ENDS:
        awaiting = find_awaiting(state, event)
        return None if awaiting is None else awaiting.event_id
    command_id = command_id_of_event(event)
    if command_id is not None:
        return command_number(command_id)
    step = state.steps.get(event.step)
    return None if step is None else step.command


def _any_failed(events: Iterable[WireEvent]) -> bool:
    """Return whether a run may have failed: hard, or with a soft error that may count as such."""
    for event in events:
        kind = event.event_type
        if kind == EventType.COMMAND_FAILED:
            return True
        if (kind == EventType.CALL_DONE or kind in RUN_ENDS) and (
            event.status or "success"
        ).lower() not in SOFT_SUCCESS:
            return True
    return False


def _check_ends(memory: Memory, event_ids: list[int], *, any_failed: bool) -> None:
    state = memory.state
    commands = [state.commands[number] for number in event_ids if number in state.commands]
    if not commands:
        return
    steps: dict[str, int] = {}
    for command in commands:
        steps[command.step] = steps.get(command.step, 0) + 1
    if not any_failed and _only_counts(state, commands, steps):
        return
    brought = {at for one in commands for at in (one.call, one.callback) if at is not None}
    _check_loops(memory, steps, ending=steps, also=brought, any_failed=any_failed)


def _only_counts(state: State, commands: list[CommandState], steps: Mapping[str, int]) -> bool:
    """Return whether iterations are merely counted: none is last, none is issued."""
    for command in commands:
        loop = state.step(command.step).loop
        if loop is None or command.claims or loop.issued < loop.total or loop.failed:
            return False
        if loop.in_flight <= steps[command.step]:
            return False
    return True


def _check_loops(
    memory: Memory,
    names: Iterable[str],
    ending: Mapping[str, int] | None = None,
    also: Iterable[int] = (),
    *,
    any_failed: bool = False,
) -> None:
    """Return the whole context, and the collections and outcomes of the loops concerned."""
    state = memory.state
    positions = context_positions(state)
    positions.update(also)
    loops: list[tuple[str, int, int]] = []
    for name in names:
        step, loop = state.step(name), state.step(name).loop
        if step.queued is not None:
            positions.update((step.queued.entered, *step.queued.own))
        if loop is None:
            continue
        positions.update((loop.entered, loop.run_at, *loop.own))
        left = loop.total - loop.finished
        if loop.frame is None and (loop.failed or any_failed):
            left = min(left, loop.in_flight)  # it ends with those in flight
        # Each kept signal may end an iteration as soon as it begins.
        ends = len(state.signals) + (0 if ending is None else ending.get(name, 0))
        if ends and ends >= left:
            positions.update(loop.bare)
            if loop.run_at not in memory.values.complete and loop.total:
                loops.append((name, loop.run_at, state.position))
    for step in state.steps.values():
        ref = step.result
        if ref is not None and ref.kind == "loop" and ref.first not in memory.values.loops:
            loops.append((step.name, ref.first, ref.last))
            positions.update(ref.bare)
    _ask(memory, positions, tuple(loops))


def _ask(memory: Memory, positions: set[int], iterations: tuple[tuple[str, int, int], ...]) -> None:
    if iterations or not positions <= memory.values.rows.keys():
        missing = frozenset(at for at in positions if at not in memory.values.rows)
        raise NeedRows(positions=missing, iterations=iterations)
