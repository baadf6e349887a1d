"""Families of executions: starts of children are completed, and their number is bounded."""

from noetl_contract.ingress import ExecuteMessage, with_lineage
from noetl_engine.outputs import Answer

from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import Origin
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.inputs import Group, TurnInput


async def join_families(
    store: Store,
    groups: list[Group],
    settled: list[tuple[TurnInput, Answer]],
    settings: Settings,
) -> list[Group]:
    """Complete starts of children, and refuse those that their family has no room for.

    Return the groups that are left to decide. Starts are counted in the turn that sees them first;
    one round trip serves all of a turn, and a turn without such starts has none.
    """
    starts = [
        (one, one.message)
        for group in groups
        for one in group.inputs
        if one.is_child and isinstance(one.message, ExecuteMessage)
    ]
    if not starts:
        return groups
    origins = await store.join_families(
        [
            (
                message.execution_id,
                message.parent_execution_id or 0,
                message.root_execution_id,
                not one.attempts,
            )
            for one, message in starts
        ]
    )
    refused: set[TurnInput] = set()
    for one, message in starts:
        origin = origins[message.execution_id]
        completed = with_lineage(message, origin.lineage)
        one.message = completed
        text = _why_refused(completed, origin, settings)
        if text is None:
            one.is_child = False
        else:
            refused.add(one)
            settled.append((one, Answer(status=422, error=text)))
    if not refused:
        return groups
    left = [
        Group(group.execution_id, [one for one in group.inputs if one not in refused])
        for group in groups
    ]
    return [group for group in left if group.inputs]


def _why_refused(message: ExecuteMessage, origin: Origin, settings: Settings) -> str | None:
    if not origin.executions:
        return None  # known already, no child, or counted before
    root = message.root_execution_id
    if message.depth > settings.child_depth_max:
        return (
            f"Execution {message.parent_execution_id} can't have children: they would be "
            f"{message.depth} generations below {root}, and the limit is "
            f"{settings.child_depth_max} (NOETL_CHILD_DEPTH_MAX)"
        )
    if origin.executions > settings.family_executions_max:
        return (
            f"Execution {root} and its children have started "
            f"{settings.family_executions_max} executions, which is the limit "
            "(NOETL_FAMILY_EXECUTIONS_MAX)"
        )
    return None
