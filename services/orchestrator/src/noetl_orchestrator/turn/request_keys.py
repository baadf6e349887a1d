"""Request keys: a repeated request gets the first answer."""

from collections.abc import Mapping

from noetl_contract.ingress import ExecuteMessage
from noetl_engine.outputs import Answer

from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import RequestKeyHolder
from noetl_orchestrator.turn.inputs import Group, TurnInput

_OTHER = "Idempotency-Key was used for another request: path, payload, pool or parent differ"


async def answer_repetitions(
    store: Store, groups: list[Group], settled: list[tuple[TurnInput, Answer]]
) -> list[Group]:
    """Answer inputs whose keys are held (W5); return the groups that are left to decide.

    Two inputs of one turn with the same key fail the commit. Repeated one at a time, the second
    finds the key of the first.
    """
    keys = [key for group in groups for one in group.inputs for key in one.request_keys]
    if not keys:
        return groups
    holders = await store.find_request_keys(keys)
    left = []
    for group in groups:
        undecided = []
        for turn_input in group.inputs:
            answer = _held_answer(turn_input, holders)
            if answer is None:
                undecided.append(turn_input)
            else:
                settled.append((turn_input, answer))
        if undecided:
            left.append(Group(group.execution_id, undecided))
    return left


def _held_answer(
    turn_input: TurnInput, holders: Mapping[tuple[str, str], RequestKeyHolder]
) -> Answer | None:
    """Return the answer to a repeated request; None for a new one, or the holder itself."""
    for key in turn_input.request_keys:
        holder = holders.get((key.scope, key.key))
        if holder is None:
            continue
        if not isinstance(turn_input.message, ExecuteMessage):
            return Answer(body=holder.answer)
        if key.is_of_another(holder.answer):
            return Answer(422, error=_OTHER)
        if holder.execution_id != turn_input.execution_id:
            return Answer(
                body={
                    "execution_id": str(holder.execution_id),
                    "status": "duplicate",
                    "commands_generated": 0,
                }
            )
    return None
