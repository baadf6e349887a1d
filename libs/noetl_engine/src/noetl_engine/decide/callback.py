"""Parked commands: their worker is done, and a callback from outside ends them."""

from noetl_contract.events import EventRow, EventType
from noetl_contract.ingress import WireEvent

from noetl_engine.decide.rows import attempts_of, command_id_of_event, worker_id_of
from noetl_engine.lease import fits
from noetl_engine.state.identity import command_number
from noetl_engine.state.model import CommandState, State

_JOB = "container"


def is_of_a_job(event: WireEvent) -> bool:
    """Return whether an event is a callback of a container, not the report of a tool's run."""
    meta = event.meta if isinstance(event.meta, dict) else {}
    return event.event_type == EventType.CALL_DONE and meta.get("node_type") == _JOB


def parks(row: EventRow, command: CommandState) -> bool:
    """Return whether a row of a run leaves the command waiting for a callback.

    The real worker doesn't say that a container is still running: it only sends no
    ``call.done``.
    """
    if row.event_type != EventType.COMMAND_COMPLETED or command.callback is not None:
        return False
    context = (row.result or {}).get("context")
    says_so = isinstance(context, dict) and context.get("pending_callback") is True
    return says_so or (command.parks and command.call is None)


def find_awaiting(state: State, event: WireEvent) -> CommandState | None:
    """Return the command whose callback an event is, if it is one.

    A callback may name its command. One that names the step only ends the oldest parked command,
    or is kept for the oldest one that will park.
    """
    if event.event_type != EventType.CALL_DONE:
        return None
    command_id = command_id_of_event(event)
    if command_id is not None:
        if is_of_a_job(event):
            return _named(state, event, command_id)
        return _late_result(state, event, command_id)
    step = state.steps.get(event.step)
    if step is None or not step.open:
        return None
    commands = [command for command in state.commands.values() if command.step == event.step]
    parked = [(one.parked, one) for one in commands if one.parked is not None]
    if parked:
        return min(parked, key=lambda pair: pair[0])[1]
    return next((one for one in commands if _will_park(one)), None)


def _will_park(command: CommandState) -> bool:
    return command.parks and command.callback is None and command.call is None


def _named(state: State, event: WireEvent, command_id: str) -> CommandState | None:
    """Return the command that a callback names, if it waits for one or will."""
    command = state.commands.get(command_number(command_id) or 0)
    if command is None or command.command_id != command_id or command.step != event.step:
        return None
    return command if command.parked is not None or _will_park(command) else None


def _late_result(state: State, event: WireEvent, command_id: str) -> CommandState | None:
    """Return a parked command whose own run delivers its result after all."""
    command = state.commands.get(command_number(command_id) or 0)
    if command is None or command.command_id != command_id or command.parked is None:
        return None
    attempts, worker_id = attempts_of(event), worker_id_of(event)
    is_ours = fits(command, worker_id=worker_id, instance=None, attempts=attempts)
    return command if is_ours else None
