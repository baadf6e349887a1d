"""Request keys, and traces that starts take over from their parents."""

from collections.abc import Mapping, Sequence

from noetl_contract.ingress import ExecuteMessage
from noetl_engine.outputs import Answer

from noetl_orchestrator.log.keys import RequestKey
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import RequestKeyHolder
from noetl_orchestrator.turn.inputs import Group, TurnInput


class RequestKeys:
    """Answer repeated requests from their keys (W5), and give starts their parent's trace."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def answer_repetitions(
        self, groups: list[Group], settled: list[tuple[TurnInput, Answer]]
    ) -> list[Group]:
        """Answer inputs whose keys are held; return the groups that are left to decide.

        Two inputs of one turn with the same key fail the commit. Repeated one at a time, the
        second finds the key of the first.
        """
        keyed = [
            turn_input for group in groups for turn_input in group.inputs if turn_input.request_keys
        ]
        traced = [
            turn_input
            for group in groups
            for turn_input in group.inputs
            if turn_input.parent_trace_of is not None
        ]
        if traced:
            await self._copy_traces(traced)
        if not keyed:
            return groups
        holders = await self._store.find_request_keys(
            key for turn_input in keyed for key in turn_input.request_keys
        )
        left = []
        for group in groups:
            inputs = []
            for turn_input in group.inputs:
                answer = _held_answer(turn_input, holders)
                if answer is not None:
                    settled.append((turn_input, answer))
                    continue
                inputs.append(turn_input)
            if inputs:
                left.append(Group(group.execution_id, inputs))
        return left

    async def _copy_traces(self, inputs: Sequence[TurnInput]) -> None:
        parents = {
            turn_input.parent_trace_of
            for turn_input in inputs
            if turn_input.parent_trace_of is not None
        }
        traces = await self._store.find_traces(sorted(parents))
        for turn_input in inputs:
            parent, turn_input.parent_trace_of = turn_input.parent_trace_of, None
            if parent in traces and isinstance(turn_input.message, ExecuteMessage):
                trace = {"trace": traces[parent]}
                turn_input.message = turn_input.message.model_copy(update=trace)


def _held_answer(
    turn_input: TurnInput, holders: Mapping[tuple[str, str], RequestKeyHolder]
) -> Answer | None:
    """Return the answer to a repeated request; None for a new one, or the holder itself."""
    for key in turn_input.request_keys:
        holder = holders.get(_key_of(key))
        if holder is None:
            continue
        if not isinstance(turn_input.message, ExecuteMessage):
            return Answer(body=holder.answer)
        if holder.execution_id != turn_input.execution_id:
            return Answer(
                body={
                    "execution_id": str(holder.execution_id),
                    "status": "duplicate",
                    "commands_generated": 0,
                }
            )
    return None


def _key_of(key: RequestKey) -> tuple[str, str]:
    return key.scope, key.key
