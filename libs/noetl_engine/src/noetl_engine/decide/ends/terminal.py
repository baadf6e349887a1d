"""The terminal event of an execution: nothing is left to do, or nothing can be decided."""

from noetl_contract.events import EventType
from noetl_contract.failures.cause import Cause, brief, with_other_steps
from noetl_contract.json import Json

from noetl_engine.decide.draft import PLAYBOOK_NODE, Draft
from noetl_engine.errors import EvaluateError
from noetl_engine.playbook.places import placed


def end_if_quiet(draft: Draft) -> None:
    """Append the terminal event when nothing is left to happen (R5)."""
    state = draft.state
    if state.ended or state.running or state.waiting:
        return
    failed = state.failed
    if not failed:
        _append_end(draft, EventType.PLAYBOOK_COMPLETED, "COMPLETED", {"status": "COMPLETED"})
        return
    text = f"Failed steps: {', '.join(failed)}"
    meta: dict[str, Json] = {"status": "FAILED", "error": text, "failed_steps": list(failed)}
    cause = draft.first_cause()
    if cause is not None:
        meta["cause"] = cause.model_dump(exclude_none=True)
        text = with_other_steps(cause.sentence(), failed)
    _append_end(draft, EventType.PLAYBOOK_FAILED, "FAILED", meta, error=text)


def fail_execution(draft: Draft, error: EvaluateError) -> None:
    """End the execution because a decision can't be made (R14)."""
    text = f"Orchestrator evaluate failed: {error}"
    cause = placed(
        Cause(step=error.step, kind="evaluate", message=brief(error.described)), draft.playbook
    )
    if draft.decision.cause is None:
        draft.decision.cause = cause
    meta = {
        "emitted_by": "orchestrator",
        "reason": "evaluate_error",
        "error": text,
        "cause": cause.model_dump(exclude_none=True),
    }
    _append_end(
        draft, EventType.PLAYBOOK_FAILED, "FAILED", meta, context={"error": text}, error=text
    )


def _append_end(
    draft: Draft,
    event_type: EventType,
    status: str,
    meta: Json,
    *,
    context: Json = None,
    error: str | None = None,
) -> None:
    row = draft.engine_row(event_type, PLAYBOOK_NODE, status, context, meta=meta, error=error)
    draft.append(row)
