"""The end of a wait: by a signal, by its time, or by the time limit of its step."""

from noetl_contract.events import EventType, format_time
from noetl_contract.json import Json, JsonObject
from noetl_contract.waits.times import told_duration

from noetl_engine.decide.draft import BY_ENGINE, Draft
from noetl_engine.decide.finish import fail_command, number_text
from noetl_engine.decide.worker import after_end
from noetl_engine.inputs import ReminderDue, WaitDue
from noetl_engine.playbook.waits import MOST_REMINDERS
from noetl_engine.state.identity import micros
from noetl_engine.state.model import CommandState
from noetl_engine.state.waiting import Wait


def decide_wait_due(draft: Draft, message: WaitDue) -> None:
    """End a wait whose time has come; the row that says so is gone after this."""
    command = draft.state.commands.get(message.event_id)
    if command is None or command.wait is None or draft.state.ended:
        return
    wait = command.wait
    match wait.ending:
        case "slept":
            data: JsonObject = {"until": format_time(wait.due_at), "timed_out": False}
            end_wait(draft, command, data, reason="slept")
        case "continue":
            end_wait(draft, command, signal_data(wait), reason="timeout")
        case "step":
            seconds = number_text(command.timeout_seconds or 0.0)
            text = f"Execution timed out after {seconds} seconds"
            fail_command(draft, command, text, "step_timeout")
        case _:
            waited = told_duration((wait.due_at - command.issued_at).total_seconds())
            text = f"No signal '{wait.signal}' came within {waited}"
            fail_command(draft, command, text, "wait_timeout")


def decide_reminder(draft: Draft, message: ReminderDue) -> None:
    """Append the reminder of a wait, and set the timer of the next one."""
    command = draft.state.commands.get(message.event_id)
    if command is None or command.wait is None or draft.state.ended:
        return
    wait = command.wait
    if message.number != wait.reminders:
        return  # its row was taken twice
    number = wait.reminders + 1
    timer = None
    if wait.every and number < MOST_REMINDERS:
        timer = draft.begin_reminder(command, seconds=wait.every, number=number)
    issued = draft.memory.values.rows[command.issued]
    context: JsonObject = {
        **issued,
        "number": number,
        "since": format_time(command.issued_at),
    }
    draft.append(
        draft.row(
            EventType.WAIT_REMINDER,
            command.step,
            "WAITING",
            parent_event_id=command.event_id,
            result={"status": "WAITING", "context": context},
            meta=dict(BY_ENGINE),
            note={"command": command.event_id, "reminder": timer, "reminders": number},
        )
    )


def signal_data(
    wait: Wait,
    *,
    payload: Json = None,
    signal_id: str | None = None,
    actor: str | None = None,
    received_at: str | None = None,
) -> JsonObject:
    """Return the result of a wait; without a signal it has timed out."""
    return {
        "signal": wait.signal,
        "payload": {} if signal_id is None else payload,
        "timed_out": signal_id is None,
        "signal_id": signal_id,
        "actor": actor,
        "received_at": received_at,
    }


def end_wait(
    draft: Draft,
    command: CommandState,
    data: JsonObject,
    *,
    reason: str,
    parent: int | None = None,
    took: int | None = None,
) -> None:
    """Append the two rows that a worker would have written, and decide.

    Args:
        draft: The decision.
        command: The entry of the wait.
        data: Its result.
        reason: Why it ends, for readers.
        parent: The event that ends it.
        took: Position of the kept signal that it takes.
    """
    at = micros(draft.facts.now)
    meta = {**BY_ENGINE, "reason": reason, "command_id": command.command_id}
    note: JsonObject = {"command": command.event_id, "at": at}
    outcome = {"status": "success", "context": {"status": "success", "data": data}}
    draft.append(
        draft.row(
            EventType.CALL_DONE,
            command.step,
            "COMPLETED",
            parent_event_id=parent,
            result={
                "status": "COMPLETED",
                "context": {"command_id": command.command_id, "call_index": 0, "result": outcome},
            },
            meta=dict(meta),
            note=note if took is None else {**note, "took": took},
        )
    )
    row = draft.append(
        draft.row(
            EventType.COMMAND_COMPLETED,
            command.step,
            "COMPLETED",
            parent_event_id=parent,
            result={"status": "COMPLETED", "context": {"command_id": command.command_id}},
            meta=dict(meta),
            note=dict(note),
        )
    )
    after_end(draft, row, command)
