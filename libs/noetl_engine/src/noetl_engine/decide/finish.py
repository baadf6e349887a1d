"""Ends from outside: cancel, finalize, lost commands and time limits."""

from datetime import timedelta

from noetl_contract.events import EventType, ExecutionStatus
from noetl_contract.ingress import CancelMessage, FinalizeMessage
from noetl_contract.json import Json

from noetl_engine.decide.draft import PLAYBOOK_NODE, Draft
from noetl_engine.decide.worker import after_end
from noetl_engine.inputs import (
    CallbackTimedOut,
    CommandExhausted,
    ResultRecorded,
    StepTimedOut,
)
from noetl_engine.lease import attempts_used, holder_gone
from noetl_engine.outputs import Answer
from noetl_engine.state.identity import micros
from noetl_engine.state.model import CommandState

_FINAL = {
    "COMPLETED": EventType.FINALIZED_COMPLETED,
    "FAILED": EventType.FINALIZED_FAILED,
}

NOT_EXHAUSTED: Json = {"status": "again"}
"""Answer to a command that was thought to be exhausted: some of its runs were given back."""


def decide_cancel(draft: Draft, message: CancelMessage) -> None:
    """End the execution and revoke its open commands (R8)."""
    state = draft.state
    if state.ended:
        text = f"Cannot cancel execution in {state.status} state"
        draft.decision.cut_off = True  # said again: whoever should have said it may have died
        draft.decision.answer = Answer(status=422, error=text)
        return
    meta = None if message.reason is None else {"reason": message.reason}
    draft.append(
        draft.row(EventType.PLAYBOOK_CANCELLED, PLAYBOOK_NODE, ExecutionStatus.CANCELLED, meta=meta)
    )
    draft.decision.answer = Answer(
        body={
            "execution_id": state.execution_id,
            "message": "Execution cancellation requested",
            "status": "cancelled",
            "cancelled_executions": [str(state.execution_id)],
        }
    )


def decide_finalize(draft: Draft, message: FinalizeMessage) -> None:
    """End the execution with a given status; a finished one stays as it is (R8)."""
    state = draft.state
    if state.ended:
        status: str = state.status
        text = f"Execution already in {status} state"
        draft.decision.cut_off = True  # as for a cancel
    else:
        status = message.status
        text = f"Execution finalized with status: {status}"
        draft.append(draft.row(_FINAL[message.status], PLAYBOOK_NODE, status, error=message.error))
    draft.decision.answer = Answer(
        body={"execution_id": state.execution_id, "status": status, "message": text}
    )


def decide_exhausted(draft: Draft, message: CommandExhausted) -> None:
    """End a command that was lost as often as is allowed (R13), or say that it may run again."""
    command = draft.state.commands.get(message.event_id)
    limit = draft.facts.limits.max_attempts
    if command is None or draft.state.ended or command.attempts != message.attempts:
        return
    if not command.holds or command.parked is not None:
        return
    used = attempts_used(command, holder_gone(command, draft.facts))
    if used < limit and not command.once:
        draft.decision.answer = Answer(body=NOT_EXHAUSTED)
        return
    if recorded_at(command) is not None:
        end_recorded(draft, command)
        return
    if command.once:
        text = (
            f"Outcome unknown: worker {command.worker_id} stopped answering after it had taken "
            "the command, which may not run twice; see what it has done, then restart"
        )
        fail_command(draft, command, text, "outcome_unknown")
        return
    text = f"Command lost: worker {command.worker_id} stopped answering (attempt {used} of {limit})"
    fail_command(draft, command, text, "attempts_exhausted")


def decide_recorded(draft: Draft, message: ResultRecorded) -> None:
    """End a command whose worker has reported the result, and not the end."""
    command = draft.state.commands.get(message.event_id)
    if command is None or draft.state.ended or command.attempts != message.attempts:
        return
    if command.parked is None and recorded_at(command) is not None:
        end_recorded(draft, command)


def recorded_at(command: CommandState) -> int | None:
    """Return the position of the result that the log has of an open command, if it has one."""
    return command.callback if command.call is None else command.call


def end_recorded(draft: Draft, command: CommandState) -> None:
    """Append the end that the worker would have written after the recorded result, and decide."""
    status = "success"
    if command.call is not None:
        status = _word_of(draft.memory.values.rows[command.call])
    row = draft.append(
        draft.row(
            EventType.COMMAND_COMPLETED,
            command.step,
            status,
            result={
                "status": status,
                "context": {"command_id": command.command_id, "status": status},
            },
            meta={
                "emitted_by": "orchestrator",
                "reason": "result_recorded",
                "command_id": command.command_id,
                "worker_id": command.worker_id,
            },
            note={"command": command.event_id, "at": micros(draft.facts.now)},
        )
    )
    after_end(draft, row, command)


def _word_of(result: Json) -> str:
    """Return the tool's own word for how it ended, from the result of its ``call.done``."""
    context = result.get("context") if isinstance(result, dict) else None
    inner = context.get("result") if isinstance(context, dict) else None
    word = inner.get("status") if isinstance(inner, dict) else None
    return word if isinstance(word, str) else "success"


def decide_timeout(draft: Draft, message: StepTimedOut) -> None:
    """End a command whose step's ``spec.timeout`` is over; it counts from the last claim."""
    command = draft.state.commands.get(message.event_id)
    if command is None or draft.state.ended:
        return
    seconds, since = command.timeout_seconds, command.claimed_at
    if seconds is None or since is None:
        return
    # The row's time has come, by the database's own clock; ours may be a little behind it, and
    # the row is gone after this.
    is_due = message.holds == command.holds
    if message.holds is None:
        is_due = draft.facts.now >= since + timedelta(seconds=seconds)
    if not is_due:
        return
    if command.call is not None:
        end_recorded(draft, command)
        return
    text = f"Execution timed out after {number_text(seconds)} seconds"
    fail_command(draft, command, text, "step_timeout")


def decide_callback_timeout(draft: Draft, message: CallbackTimedOut) -> None:
    """End a parked command whose callback has not come.

    It parks once and has one timer, whose message this is.
    """
    command = draft.state.commands.get(message.event_id)
    if command is None or draft.state.ended or command.parked is None:
        return
    seconds = draft.callback_timeout(command)
    text = f"No callback came within {number_text(seconds)} seconds"
    fail_command(draft, command, text, "callback_timeout")


def decide_deadline(draft: Draft) -> None:
    """Fail an execution whose ``spec.timeout`` is over, and name its running steps."""
    state = draft.state
    if state.ended or state.deadline is None:
        return
    text = f"deadline of {number_text(state.deadline[1])} s exceeded"
    running = [name for name in state.running if state.step(name).open]
    if running:
        text = f"{text} while running: {', '.join(running)}"
    draft.trigger = state.start_event_id
    draft.append(
        draft.engine_row(
            EventType.PLAYBOOK_FAILED,
            PLAYBOOK_NODE,
            ExecutionStatus.FAILED,
            {"error": text},
            meta={
                "emitted_by": "orchestrator",
                "reason": "deadline",
                "error": text,
                "running_steps": running,
            },
        )
    )


def number_text(number: float) -> str:
    """Return a number as people write it: no exponent, no empty fraction."""
    return str(int(number)) if float(number).is_integer() else str(number)


def fail_command(draft: Draft, command: CommandState, text: str, reason: str) -> None:
    """Append the two rows of a failure that a worker would have written, and decide."""
    draft.abandon(command)
    at = micros(draft.facts.now)
    meta = {"emitted_by": "orchestrator", "reason": reason, "command_id": command.command_id}
    for event_type, call in ((EventType.CALL_ERROR, True), (EventType.COMMAND_FAILED, False)):
        context: dict[str, object] = {"command_id": command.command_id}
        if call:
            context["call_index"] = 0
        context["error"] = text
        row = draft.append(
            draft.row(
                event_type,
                command.step,
                "FAILED",
                result={"status": "FAILED", "context": context},
                meta=dict(meta),
                note={"command": command.event_id, "at": at},
            )
        )
    after_end(draft, row, command)
