"""Starts that the end of an execution causes: its playbook's ``on_failure``, and triggers."""

from collections.abc import Iterator
from dataclasses import replace

from noetl_contract.events import ExecutionStatus
from noetl_contract.failures.ended import WEBHOOK_PATH, EndedTrigger
from noetl_contract.json import Json, JsonObject
from noetl_template import shared_work

from noetl_engine.decide.draft import Draft
from noetl_engine.decide.ends.payloads import (
    MOST_WORK,
    positions_at_end,
    reads_values,
    rendered_payload,
    values_at_end,
)
from noetl_engine.inputs import Facts
from noetl_engine.outputs import Decision, Followup, NeedRows
from noetl_engine.playbook.model import OnFailure, Playbook, Value
from noetl_engine.state.memory import Memory


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
    values = _Values(draft.memory)
    with shared_work(MOST_WORK):
        if decision.ended is ExecutionStatus.FAILED and on_failure and own not in state.handles:
            found += _of_playbook(on_failure, own, ended, values)
        for trigger in draft.facts.triggers:
            if trigger.path in state.handles:
                continue
            if trigger.meets(
                decision.ended or "",
                state.path,
                has_errors=state.progress.soft_errors > 0,
                is_child=state.parent_execution_id is not None,
            ):
                found += _of_trigger(trigger, ended, values)
    return [replace(one, handles=(*state.handles, one.trigger)) for one in found]


def check_followups(memory: Memory, playbook: Playbook, facts: Facts) -> None:
    """Ask for the values that payloads may name, before a decision that may be the last.

    Raises:
        NeedRows: Values are missing.
    """
    state = memory.state
    if not state.position or state.ended or not (playbook.on_failure or facts.triggers):
        return
    missing = positions_at_end(state) - memory.values.rows.keys()
    if not missing:
        return
    payloads = [one.payload for one in (playbook.on_failure, *facts.triggers) if one]
    if any(reads_values(payload) for payload in payloads):
        raise NeedRows(positions=frozenset(missing))


class _Values:
    """The values that payloads name, gathered once they are wanted."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._found: dict[str, Json] | None = None

    def __call__(self) -> dict[str, Json]:
        if self._found is None:
            self._found = values_at_end(self._memory)
        return self._found


def _of_playbook(
    block: OnFailure, name: str, ended: JsonObject, values: _Values
) -> Iterator[Followup]:
    end_facts = {**ended, "trigger": name}
    if block.playbook is not None:
        payload = rendered_payload(block.payload, end_facts, values)
        yield Followup(name, "playbook", block.playbook, block.version, payload)
    if block.webhook is not None:
        yield _call(name, block.webhook.url, block.webhook.auth, end_facts)


def _of_trigger(trigger: EndedTrigger, ended: JsonObject, values: _Values) -> Iterator[Followup]:
    end_facts, name = {**ended, "trigger": trigger.path}, trigger.path
    started = []
    if trigger.playbook is not None:
        payload = rendered_payload(trigger.payload, end_facts, values)
        started.append(Followup(name, "playbook", trigger.playbook, trigger.version, payload))
    if trigger.webhook_url is not None:
        started.append(_call(name, trigger.webhook_url, trigger.webhook_auth, end_facts))
    for one in started:
        owner, namespace = trigger.reach_of(one.path) or (None, None)
        yield replace(one, is_trigger=True, owner=owner, namespace=namespace)


def _call(name: str, url: str, auth: str | None, ended: JsonObject) -> Followup:
    """Return the start of the playbook with which a worker calls an address."""
    payload: dict[str, Value] = {"url": url, "auth": auth, "body": {"ended": ended}}
    return Followup(name, "webhook", WEBHOOK_PATH, None, payload)


def _ended(draft: Draft, decision: Decision) -> JsonObject:
    state = draft.state
    cause = decision.cause or draft.first_cause()
    end_facts: dict[str, Json] = {
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
    return {**end_facts, "parent_execution_id": None if parent is None else str(parent)}
