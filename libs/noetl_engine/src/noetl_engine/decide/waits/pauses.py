"""Pauses of an execution: it issues no new command until it is resumed."""

from datetime import timedelta

from noetl_contract.events import EventType
from noetl_contract.ingress import PauseMessage, ResumeMessage
from noetl_contract.json import JsonObject

from noetl_engine.decide.draft import PLAYBOOK_NODE, Draft
from noetl_engine.decide.loop import continue_loops
from noetl_engine.outputs import Answer, NewTimer
from noetl_engine.state.waiting import PAUSE_TIMER

# The row is for readers, who find it without the log; somebody ends the pause, no time does.
_NEVER = timedelta(days=36_525)


def decide_pause(draft: Draft, message: PauseMessage) -> None:
    """Pause the execution: it issues no new command; running commands and timers go on."""
    state = draft.state
    if state.ended:
        text = f"Cannot pause execution in {state.status} state"
        draft.decision.answer = Answer(status=422, error=text)
        return
    if not state.paused:
        said, timer_id = _said(message), draft.facts.new_id()
        due_at = draft.facts.now + _NEVER
        draft.decision.timers.append(NewTimer(timer_id, due_at, PAUSE_TIMER, said))
        draft.append(
            draft.row(
                EventType.EXECUTION_PAUSED,
                PLAYBOOK_NODE,
                "PAUSED",
                meta=said or None,
                note={"pause": timer_id},
            )
        )
    draft.decision.answer = Answer(body={"execution_id": state.execution_id, "status": "paused"})


def decide_resume(draft: Draft, message: ResumeMessage) -> None:
    """Issue the commands that were withheld; an execution that is not paused stays as it is."""
    state = draft.state
    if state.ended:
        text = f"Cannot resume execution in {state.status} state"
        draft.decision.answer = Answer(status=422, error=text)
        return
    if state.pause is not None:
        draft.decision.timers_done.append(state.pause)
        meta = _said(message) or None
        draft.append(draft.row(EventType.EXECUTION_RESUMED, PLAYBOOK_NODE, "RUNNING", meta=meta))
        continue_loops(draft)
    draft.decision.answer = Answer(body={"execution_id": state.execution_id, "status": "running"})


def _said(message: PauseMessage | ResumeMessage) -> JsonObject:
    said = {"reason": message.reason, "actor": message.actor}
    return {name: value for name, value in said.items() if value is not None}
