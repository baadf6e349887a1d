"""Before the decisions: state and playbook of each group, read for all of a turn at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from noetl_contract.events import ExecutionStatus
from noetl_engine.inputs import Claimed, Started
from noetl_engine.outputs import Answer

from noetl_orchestrator import metrics
from noetl_orchestrator.memory.cache import CachedExecution, ExecutionCache
from noetl_orchestrator.memory.loader import Loader
from noetl_orchestrator.memory.playbooks import PlaybookNotUsable, Playbooks
from noetl_orchestrator.turn.dispatch import Postponed
from noetl_orchestrator.turn.inputs import Group, Work
from noetl_orchestrator.turn.request_keys import RequestKeys
from noetl_orchestrator.turn.unit_of_work import Staged

_PLAYBOOK_PATIENCE_SECONDS = 0.25
_PLAYBOOK_RETRY_SECONDS = 0.25
_TEXT = "Command already reached terminal state"
FINISHED = Answer(
    status=409,
    error=_TEXT,
    detail={"code": "already_terminal", "message": _TEXT},
)
TOO_LATE = Answer(status=503, error="The start came too late; nothing was started")


class BadDecision(Exception):
    """Something in these groups can't be decided or written; whose fault it is is unknown."""

    def __init__(self, reason: str, group: Group, error: Exception) -> None:
        super().__init__(reason)
        self.reason = reason
        self.group = group
        self.error = error


@dataclass(slots=True)
class Plan:
    """What one attempt at a turn has come to."""

    staged: list[Staged] = field(default_factory=list)
    settled: list[tuple[Work, Answer]] = field(default_factory=list)
    postponed: list[Postponed] = field(default_factory=list)
    given_back: list[Work] = field(default_factory=list)


class Preparation:
    """Finds what a turn needs to decide."""

    def __init__(
        self,
        *,
        cache: ExecutionCache,
        loader: Loader,
        playbooks: Playbooks,
        request_keys: RequestKeys,
        most_events: int,
    ) -> None:
        self._most_events = most_events
        self._cache = cache
        self._loader = loader
        self._playbooks = playbooks
        self._request_keys = request_keys

    async def prepare(self, groups: list[Group]) -> Plan:
        """Find state and playbook of each group; what has neither is settled or postponed.

        Raises:
            BadDecision: a running execution's playbook can't be used.
        """
        plan = Plan()
        groups = await self._request_keys.without_repetitions(groups, plan.settled)
        entries, missing = await self._known(groups)
        loaded = await self._loader.load(missing) if missing else {}
        entries |= loaded
        pending: list[tuple[Group, CachedExecution]] = []
        for group in groups:
            entry = entries.get(group.execution_id) or self._begin(group)
            if entry is None:
                for work in group.works:
                    if work.comes_early:
                        plan.given_back.append(work)
                    else:
                        plan.settled.append((work, _unknown(work)))
            else:
                pending.append((group, entry))
        playbooks = await self._playbooks.get_many(
            {entry.catalog_id for _, entry in pending},
            patience_seconds=_PLAYBOOK_PATIENCE_SECONDS,
        )
        for group, entry in pending:
            playbook = playbooks.get(entry.catalog_id)
            is_loaded = group.execution_id in loaded
            if playbook is None:
                plan.postponed.append((group, _PLAYBOOK_RETRY_SECONDS))
            elif isinstance(playbook, PlaybookNotUsable):
                self._without_playbook(group, entry, playbook, plan)
            else:
                works = list(group.works)
                plan.staged.append(
                    Staged(
                        group.execution_id,
                        entry,
                        playbook,
                        works,
                        is_fresh=is_loaded,
                        most_events=self._most_events,
                    )
                )
        return plan

    async def _known(self, groups: Sequence[Group]) -> tuple[dict[int, CachedExecution], list[int]]:
        """Return what is in memory, brought up to date, and the ids of what has to be read."""
        entries: dict[int, CachedExecution] = {}
        missing: list[int] = []
        for group in groups:
            entry = self._cache.get(group.execution_id)
            if entry is not None:
                entries[group.execution_id] = entry
            elif not _is_surely_new(group):
                missing.append(group.execution_id)
        outdated = {one: entry for one, entry in entries.items() if entry.is_outdated}
        if outdated:
            for execution_id in await self._loader.catch_up(outdated):
                self._cache.forget(execution_id)
                del entries[execution_id]
                missing.append(execution_id)
        return entries, missing

    def _begin(self, group: Group) -> CachedExecution | None:
        """Return an execution to begin; inputs before its start are answered 404 by the engine."""
        for work in group.works:
            if isinstance(work.input, Started) and not work.is_overdue:
                # What overtook it could only be answered that there is no such execution.
                group.works.remove(work)
                group.works.insert(0, work)
                return self._loader.new(
                    group.execution_id,
                    catalog_id=work.input.catalog_id,
                    parent=work.input.parent_execution_id,
                )
        return None

    def _without_playbook(
        self, group: Group, entry: CachedExecution, why: PlaybookNotUsable, plan: Plan
    ) -> None:
        if entry.execution.position == 0:
            answer = Answer(status=why.http_status, error=why.message)
            plan.settled += [(work, answer) for work in group.works]
            return
        if entry.execution.status is not ExecutionStatus.RUNNING and all(
            isinstance(work.input, Claimed) for work in group.works
        ):
            plan.settled += [(work, FINISHED) for work in group.works]
            return
        # A running execution without its playbook can't go on (F11).
        raise BadDecision("decision", group, why)


def _is_surely_new(group: Group) -> bool:
    """Whether a group begins with a start seen for the first time: there is nothing to load."""
    first = group.works[0]
    return isinstance(first.input, Started) and not first.is_repeated and not first.attempts


def _unknown(work: Work) -> Answer:
    if isinstance(work.input, Claimed):
        # The real worker would be given a 404 again and again (operations F15).
        return FINISHED
    if work.is_overdue:
        metrics.STARTS_DROPPED.inc()
        return TOO_LATE
    return Answer(status=404, error=f"Execution not found: {work.execution_id}")
