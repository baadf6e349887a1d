"""Starts are completed before they are decided: family, playbook, versions of plug-ins."""

import asyncio
from collections.abc import Mapping, Sequence

from noetl_common.logging import get_logger
from noetl_contract.access.principal import SYSTEM, is_below
from noetl_contract.ingress import ExecuteMessage, with_lineage
from noetl_engine.outputs import Answer
from noetl_engine.playbook import Playbook

from noetl_orchestrator import metrics
from noetl_orchestrator.catalog.lookups import Catalog, PlaybookNotUsable
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import Origin
from noetl_orchestrator.memory.cache import CachedExecution
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.dispatch import Postponed
from noetl_orchestrator.turn.inputs import Group, TurnInput

_log = get_logger()
_AGAIN_SECONDS = 0.5


class Starts:
    """Complete starts: what their sender did not know or may not say.

    Args:
        store: knows families.
        settings: bounds of families.
        catalog: gives the versions of paths and of plug-ins.
    """

    def __init__(self, store: Store, catalog: Catalog, settings: Settings) -> None:
        self._store = store
        self._catalog = catalog
        self._settings = settings

    async def complete(
        self,
        groups: list[Group],
        settled: list[tuple[TurnInput, Answer]],
        postponed: list[Postponed],
    ) -> list[Group]:
        """Complete starts of children, and those that ends of other executions cause.

        Return the groups that are left to decide. A turn without such starts asks nobody.
        """
        groups = await self._join_families(groups, settled)
        return await self._name_playbooks(groups, postponed)

    async def _join_families(
        self, groups: list[Group], settled: list[tuple[TurnInput, Answer]]
    ) -> list[Group]:
        """Complete starts of children, and refuse those that their family has no room for.

        Starts are counted in the turn that sees them first; one round trip serves all of a turn.
        """
        starts = [
            (one, one.message)
            for group in groups
            for one in group.inputs
            if one.is_child and isinstance(one.message, ExecuteMessage)
        ]
        if not starts:
            return groups
        origins = await self._store.join_families(
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
            text = _why_too_many(completed, origin, self._settings)
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

    async def _name_playbooks(self, groups: list[Group], postponed: list[Postponed]) -> list[Group]:
        """Complete starts without a catalog id, which ends of other executions cause.

        While the catalog is away they wait. One that can't be is kept as a dead letter, where
        people see it and can send it again.
        """
        left: list[Group] = []
        for group in groups:
            refused: set[TurnInput] = set()
            waits = False
            for one in group.inputs:
                message = one.message
                if not isinstance(message, ExecuteMessage) or message.catalog_id:
                    continue
                why = _why_not_after(message)
                found = why or await self._catalog.resolve(message.path, message.version or None)
                if found is None:
                    waits = True
                elif isinstance(found, str):
                    refused.add(one)
                    await _refuse(one, message, found)
                else:
                    one.message = message.but(catalog_id=found.catalog_id, version=found.version)
            inputs = [one for one in group.inputs if one not in refused]
            if waits:
                postponed.append((Group(group.execution_id, inputs), _AGAIN_SECONDS))
            elif inputs:
                left.append(group if not refused else Group(group.execution_id, inputs))
        return left

    async def pin_plugins(
        self,
        pending: Sequence[tuple[Group, CachedExecution]],
        playbooks: Mapping[int, Playbook | PlaybookNotUsable],
    ) -> set[int]:
        """Complete starts whose playbooks name plug-ins; return those of unknown versions."""
        asked: dict[tuple[int, str | None], Sequence[str]] = {}
        starts: list[tuple[TurnInput, ExecuteMessage, tuple[int, str | None]]] = []
        for group, entry in pending:
            playbook = None if entry.execution.position else playbooks.get(entry.catalog_id)
            start, message = group.inputs[0], group.inputs[0].message
            if (
                isinstance(playbook, Playbook)
                and playbook.plugins
                and isinstance(message, ExecuteMessage)
                and message.plugins is None
            ):
                key = entry.catalog_id, message.namespace
                asked[key] = playbook.plugins
                starts.append((start, message, key))
        if not asked:
            return set()
        answers = await asyncio.gather(
            *(self._catalog.pin_plugins(asked[key], key[1]) for key in asked)
        )
        pins = dict(zip(asked, answers, strict=True))
        unknown: set[int] = set()
        for start, message, key in starts:
            found = pins[key]
            if found is None:
                unknown.add(start.execution_id)
            else:
                start.message = message.but(plugins=found)
        return unknown


def _why_too_many(message: ExecuteMessage, origin: Origin, settings: Settings) -> str | None:
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


def _why_not_after(message: ExecuteMessage) -> str | None:
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
