"""Claims: a worker asks for a command."""

from dataclasses import replace
from datetime import timedelta

from noetl_contract.commands import named_position, whole_context
from noetl_contract.events import ExecutionStatus
from noetl_contract.json import Json, JsonObject

from noetl_engine.decide.draft import Draft
from noetl_engine.decide.finish import end_recorded, recorded_at
from noetl_engine.decide.rows import refused
from noetl_engine.inputs import Claimed
from noetl_engine.lease import UNNAMED, attempts_used, holder_gone, is_holder
from noetl_engine.outputs import Answer
from noetl_engine.state.model import CommandState

# A repeated claim over HTTP waits so long for the start after the first claim.
HOLD_BACK_SECONDS = 2.0

FINISHED = "Command already reached terminal state"
CANCELLED = "Execution has been cancelled"
PAUSED = "Commands of this path or pool are paused"


def decide_claim(draft: Draft, message: Claimed) -> None:
    """Grant the command, give the same hold again, or refuse."""
    if not message.worker_id:
        message = replace(message, worker_id=UNNAMED)
    draft.decision.answer = _answer(draft, message)


def _answer(draft: Draft, message: Claimed) -> Answer:  # noqa: PLR0911, C901 - the contract's list of cases
    state = draft.state
    command = state.commands.get(message.event_id)
    if command is None or command.wait is not None:
        return refused(FINISHED, "already_terminal")
    if state.status is ExecutionStatus.CANCELLED:
        return refused(CANCELLED, "execution_cancelled")
    if state.ended or command.parked is not None:
        return refused(FINISHED, "already_terminal")
    if not command.holds and message.withheld and not message.after_start:
        return refused(PAUSED, "paused")
    if not command.holds:
        if message.after_start and _start_may_come(draft, command):
            return Answer(body={"status": "retry"})
        return _granted(draft, command, message, reason=None)
    reason = holder_gone(command, draft.facts)
    asks_itself = is_holder(command, worker_id=message.worker_id, instance=message.instance)
    is_lost = reason is not None or (asks_itself and message.instance is not None)
    if is_lost and recorded_at(command) is not None:
        # Whoever ran it has said what came out: it doesn't run again.
        end_recorded(draft, command)
        return refused(FINISHED, "already_terminal")
    # Over HTTP a name may belong to another process by now; an instance is always itself.
    if asks_itself and (message.instance is not None or reason in {None, "not_started"}):
        return _asked_again(draft, command, message)
    if reason is None:
        return refused(f"Command already claimed by {command.worker_id}", "active_claim")
    if command.once or attempts_used(command, reason) >= draft.facts.limits.max_attempts:
        return refused(FINISHED, "already_terminal")
    return _granted(draft, command, message, reason=reason)


def _start_may_come(draft: Draft, command: CommandState) -> bool:
    """Return whether the start that took the token may still be on its way."""
    limits = draft.facts.limits
    until = limits.fast_path_seconds + limits.clock_allowance_seconds
    return draft.facts.now < command.issued_at + timedelta(seconds=until)


def _asked_again(draft: Draft, command: CommandState, message: Claimed) -> Answer:
    """Grant the same hold again; over HTTP only while the command has not started."""
    if message.instance is None:
        if command.started_at is not None:
            return refused(f"Command already claimed by {command.worker_id}", "active_claim")
        if not message.final:
            return Answer(hold_back_seconds=HOLD_BACK_SECONDS)
    return Answer(body=_body(draft, command, message))


def _granted(
    draft: Draft, command: CommandState, message: Claimed, *, reason: str | None
) -> Answer:
    draft.revoke(command)
    draft.begin_hold(command, worker_id=message.worker_id, instance=message.instance, reason=reason)
    return Answer(body=_body(draft, command, message))


def _body(draft: Draft, command: CommandState, message: Claimed) -> Json:
    issued = draft.memory.values.rows[command.issued]
    meta = dict(issued["meta"])
    if command.attempts:
        # The real worker copies `attempts` into every event of the run: the fence (L1).
        meta["attempt"] = command.attempts + 1
        meta["attempts"] = command.attempts
    body: JsonObject = {
        "status": "ok",
        "event_id": command.event_id,
        "execution_id": draft.state.execution_id,
        "node_id": command.step,
        "node_name": command.step,
        "action": issued["action"],
        "context": issued["context"],
        "meta": meta,
    }
    named = named_position(issued["context"])
    if named is not None and message.known_workload is None:
        body["context"] = whole_context(issued["context"], draft.memory.values.rows[named])
    elif named is not None and message.known_workload != named:
        body["workload"] = draft.memory.values.rows[named]
    if message.instance is not None:
        body["fast"] = {"v": 1, "attempts": command.attempts}
    return body
