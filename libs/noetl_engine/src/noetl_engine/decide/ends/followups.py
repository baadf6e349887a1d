"""What the end of an execution starts: its playbook's ``on_failure``, and triggers."""

from collections.abc import Iterator

from noetl_contract.events import ExecutionStatus
from noetl_contract.failures.ended import WEBHOOK_PATH, EndedTrigger
from noetl_contract.json import Json, JsonObject

from noetl_engine.decide.draft import Draft
from noetl_engine.outputs import Decision, Followup
from noetl_engine.playbook.model import OnFailure, Value


def followups_of(draft: Draft, decision: Decision) -> list[Followup]:
    """Return the starts that an end causes, each with a name of its own.

    A trigger that has led to this execution doesn't count again, so no chain of failing handlers
    goes on for ever.
    """
    state = draft.state
    found: list[Followup] = []
    ended = _ended(draft, decision)
    on_failure = draft.playbook.on_failure
    own = f"on_failure:{state.path}"
    if decision.ended is ExecutionStatus.FAILED and on_failure and own not in state.handles:
        found += _of_playbook(on_failure, own, ended)
    for trigger in draft.facts.triggers:
        if trigger.path in state.handles:
            continue
        if trigger.meets(
            decision.ended or "",
            state.path,
            has_errors=state.progress.soft_errors > 0,
            is_child=state.parent_execution_id is not None,
        ):
            found += _of_trigger(trigger, ended)
    return [
        Followup(
            trigger=one.trigger,
            kind=one.kind,
            path=one.path,
            version=one.version,
            payload=one.payload,
            handles=(*state.handles, one.trigger),
            is_trigger=one.is_trigger,
        )
        for one in found
    ]


def _of_playbook(block: OnFailure, name: str, ended: JsonObject) -> Iterator[Followup]:
    told = {**ended, "trigger": name}
    if block.playbook is not None:
        payload = {**block.payload, "ended": told}
        yield Followup(name, "playbook", block.playbook, block.version, payload)
    if block.webhook is not None:
        yield _call(name, block.webhook.url, block.webhook.auth, told)


def _of_trigger(trigger: EndedTrigger, ended: JsonObject) -> Iterator[Followup]:
    told, name = {**ended, "trigger": trigger.path}, trigger.path
    if trigger.playbook is not None:
        payload = {**trigger.payload, "ended": told}
        yield Followup(
            name, "playbook", trigger.playbook, trigger.version, payload, is_trigger=True
        )
    if trigger.webhook_url is not None:
        yield _call(name, trigger.webhook_url, trigger.webhook_auth, told, is_trigger=True)


def _call(
    name: str, url: str, auth: str | None, ended: JsonObject, *, is_trigger: bool = False
) -> Followup:
    """Return the start of the playbook with which a worker calls an address."""
    payload: dict[str, Value] = {"url": url, "auth": auth, "body": {"ended": ended}}
    return Followup(name, "webhook", WEBHOOK_PATH, None, payload, is_trigger=is_trigger)


def _ended(draft: Draft, decision: Decision) -> JsonObject:
    state = draft.state
    cause = decision.cause or draft.first_cause()
    told: dict[str, Json] = {
        "execution_id": str(state.execution_id),
        "catalog_id": str(state.catalog_id),
        "path": state.path,
        "version": state.version,
        "status": str(decision.ended),
        "error": decision.error,
        "cause": None if cause is None else cause.model_dump(exclude_none=True),
        "failed_steps": list(state.failed),
        "soft_errors": state.progress.soft_errors,
        "soft_error": None if state.soft is None else state.soft.model_dump(exclude_none=True),
    }
    parent = state.parent_execution_id
    return {**told, "parent_execution_id": None if parent is None else str(parent)}
