"""Starts that name their playbook by path: those after an end; the catalog gives the version."""

from noetl_common.logging import get_logger
from noetl_contract.access.principal import SYSTEM, is_below
from noetl_contract.ingress import ExecuteMessage
from noetl_engine.outputs import Answer

from noetl_orchestrator import metrics
from noetl_orchestrator.catalog.triggers import ResolvePath
from noetl_orchestrator.turn.dispatch import Postponed
from noetl_orchestrator.turn.inputs import Group, TurnInput

_log = get_logger()
_AGAIN_SECONDS = 0.5


async def name_playbooks(
    groups: list[Group],
    resolve: ResolvePath,
    postponed: list[Postponed],
) -> list[Group]:
    """Complete starts without a catalog id; return the groups that are left to decide.

    A turn without such starts asks nobody. While the catalog is away they wait. One that can't be
    is kept as a dead letter, where people see it and can send it again.
    """
    left: list[Group] = []
    for group in groups:
        refused: set[TurnInput] = set()
        waits = False
        for one in group.inputs:
            message = one.message
            if not isinstance(message, ExecuteMessage) or message.catalog_id:
                continue
            why = _why_refused(message)
            found = why or await resolve(message.path, message.version or None)
            if found is None:
                waits = True
            elif isinstance(found, str):
                refused.add(one)
                await _refuse(one, message, found)
            else:
                changes = {"catalog_id": found.catalog_id, "version": found.version}
                one.message = message.but(**changes)
        inputs = [one for one in group.inputs if one not in refused]
        if waits:
            postponed.append((Group(group.execution_id, inputs), _AGAIN_SECONDS))
        elif inputs:
            left.append(group if not refused else Group(group.execution_id, inputs))
    return left


def _why_refused(message: ExecuteMessage) -> str | None:
    """Return why a playbook may not be started by the end of another.

    It stays in the namespace of the execution that ended, and out of `system/`, unless a trigger
    asks for it: who registered that was asked for his rights.
    """
    after = message.after
    if after is None:
        return "A start has to name a version of a playbook"
    if after.is_trigger:
        return None
    own = after.trigger.removeprefix("on_failure:")
    if is_below(message.path, SYSTEM) and not is_below(own, SYSTEM):
        return f"Only executions below {SYSTEM}/ may start {message.path}"
    if not is_below(message.path, message.namespace or ""):
        return f"{message.path} is outside of {message.namespace}"
    return None


async def _refuse(one: TurnInput, message: ExecuteMessage, text: str) -> None:
    metrics.FOLLOWUPS_REFUSED.inc()
    metrics.DEAD_LETTERS.labels("followup").inc()
    after, trigger = "", ""
    if message.after is not None:
        after, trigger = str(message.after.execution_id), message.after.trigger
    _log.error(
        "followup_not_started",
        execution_id=message.execution_id,
        path=message.path,
        after=after,
        trigger=trigger,
        error=text,
    )
    reason = f"{trigger} could not start {message.path} after the end of {after}: {text}"
    await one.caller.refused(reason, Answer(status=422, error=text))
