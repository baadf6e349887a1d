"""Failures in the state: of each step its own, and the first soft error."""

from collections.abc import Mapping

from noetl_contract.events import EventRow, EventType
from noetl_contract.failures.cause import Cause, brief, cause_of, kind_of_message
from noetl_contract.failures.soft import SOFT_SUCCESS, soft_error_in
from noetl_contract.json import Json

from noetl_engine.state.model import CommandState, Phase, State, StepState

_LOST = "the result is lost: its worker could not store it"


def note_answer(state: State, command: CommandState, row: EventRow) -> None:
    """Keep the failure in the result of a ``call.done``; it counts when its command ends.

    That is its soft error, or that its data is nowhere.
    """
    lost = _lost_data(row)
    found = soft_error_in(row.result) if lost is None else None
    if found is None and lost is None:
        state.answered.pop(command.event_id, None)
        return
    message, task = found or (lost or "", None)
    state.answered[command.event_id] = Cause(
        step=command.step,
        kind="soft" if lost is None else "tool",
        message=message,
        task=task,
        iteration=command.index,
        position=row.position,
    )


def count_soft_error(state: State, command: CommandState, row: EventRow) -> None:
    """Count the end of a command whose tool answered with an error; keep the first."""
    answered = state.answered.get(command.event_id)
    if answered is not None and answered.kind == "tool":
        return  # its data is lost: it fails when it ends
    state.answered.pop(command.event_id, None)
    if not is_soft_error(row):
        return
    state.progress.soft_errors += 1
    if state.soft is None:
        state.soft = answered or _bare(command, row)


def note_failure(state: State, step: StepState, command: CommandState, row: EventRow) -> None:
    """Keep a failure of a step, of its present run the first."""
    answered = state.answered.pop(command.event_id, None)
    error = error_of(row) or command.error
    if error is None and (is_soft_error(row) or (answered is not None and answered.kind == "tool")):
        cause = answered or _bare(command, row)
        command.error = cause.message
    else:
        command.error = error
        cause = _hard(command, row, error or "no error text was given")
    if step.error is None:
        step.error = command.error or ""
        state.causes[step.name] = cause


def is_failure(row: EventRow) -> bool:
    """Return whether the end of a run fails its step: hard, or softly where that counts."""
    if row.event_type == EventType.COMMAND_FAILED:
        return True
    return isinstance(row.note, dict) and "fails" in row.note


def note_undecided(state: State, written: Json) -> None:
    """Count a step that no decision could be made about as failed, unless it has completed."""
    cause = cause_of(written)
    if cause is None or cause.kind != "evaluate" or cause.step is None:
        return
    step = state.step(cause.step)
    state.progress.current_step = step.name
    if step.outcome is not Phase.COMPLETED:
        state.set_outcome(step, Phase.FAILED)


def ends_without_data(state: State, command: CommandState, row: EventRow) -> bool:
    """Return whether a row ends a run well whose result names data that is in no store."""
    note = row.note if isinstance(row.note, dict) else {}
    if note.get("callback") == "ends":
        return _lost_data(row) is not None
    answered = state.answered.get(command.event_id)
    is_lost = answered is not None and answered.kind == "tool"
    return is_lost and row.event_type == EventType.COMMAND_COMPLETED and "parked" not in note


def _lost_data(row: EventRow) -> str | None:
    """Return the failure of a result whose data its worker could not store.

    Such a result has no context, at most a reference to the memory of its worker.
    """
    reported = _context_of(row).get("result")
    if not isinstance(reported, dict) or "context" in reported:
        return None
    if reported.keys() == {"status"} and _is_called_back(row):
        # A job's worker says why. Anybody else who calls back may have no data to give.
        return (error_of(row) or _LOST) if _is_of_a_job(row) else None
    if soft_error_in(row.result) is not None:
        return None
    reference = reported.get("reference")
    if reference is None:
        return _LOST if reported.keys() == {"status"} else None
    if not isinstance(reference, dict) or isinstance(reference.get("ref"), str):
        return None
    size, kind = reference.get("byte_length"), reference.get("kind") or reference.get("store")
    length = f" of {size} bytes" if isinstance(size, int) else ""
    return (
        f"the result{length} is lost: its worker could not store it, and names its own memory "
        f"({brief(str(kind))}) in place of a store"
    )


def _is_called_back(row: EventRow) -> bool:
    return isinstance(row.note, dict) and "callback" in row.note


def _is_of_a_job(row: EventRow) -> bool:
    return isinstance(row.meta, dict) and row.meta.get("node_type") == "container"


def ends_softly(row: EventRow) -> bool:
    """Return whether a row ends a run with an error that no rule of the playbook deals with."""
    note = row.note if isinstance(row.note, dict) else {}
    if row.event_type == EventType.COMMAND_COMPLETED:
        ends = "parked" not in note
    else:
        ends = note.get("callback") == "ends"
    return ends and is_soft_error(row) and _context_of(row).get("handled") is not True


def is_soft_error(row: EventRow) -> bool:
    """Return whether the end of a run says that its tool answered with an error."""
    return (row.status or "").lower() not in SOFT_SUCCESS


def error_of(row: EventRow) -> str | None:
    """Return the error text of a row."""
    error = _context_of(row).get("error")
    return error if isinstance(error, str) else None


def _hard(command: CommandState, row: EventRow, error: str) -> Cause:
    task = _context_of(row).get("task")
    task = task if isinstance(task, str) else None
    text = error.removeprefix(f"task '{task}': ") if task is not None else error
    return Cause(
        step=command.step,
        kind=kind_of_message(text),
        message=brief(text),
        task=task,
        iteration=command.index,
        position=row.position,
    )


def _bare(command: CommandState, row: EventRow) -> Cause:
    return Cause(
        step=command.step,
        kind="soft",
        message=brief(error_of(row) or f"status '{row.status}'"),
        iteration=command.index,
        position=row.position,
    )


def _context_of(row: EventRow) -> Mapping[str, Json]:
    context = (row.result or {}).get("context")
    return context if isinstance(context, dict) else {}
