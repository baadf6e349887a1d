"""Read state and playbook of all groups of a turn before the decisions."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from noetl_contract.events import ExecutionStatus
from noetl_contract.ingress import ExecuteMessage
from noetl_engine.inputs import Claimed
from noetl_engine.outputs import Answer

from noetl_orchestrator import metrics
from noetl_orchestrator.catalog.lookups import PlaybookNotUsable
from noetl_orchestrator.catalog.pauses import Pauses
from noetl_orchestrator.catalog.playbooks import Playbooks
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.memory.cache import CachedExecution, ExecutionCache
from noetl_orchestrator.memory.loader import Loader
from noetl_orchestrator.turn.dispatch import Postponed
from noetl_orchestrator.turn.duplicates import answer_repetitions
from noetl_orchestrator.turn.inputs import Group, TurnInput
from noetl_orchestrator.turn.starts import Starts
from noetl_orchestrator.turn.unit_of_work import UnitOfWork

_PLAYBOOK_TIMEOUT_SECONDS = 0.25
_PLAYBOOK_RETRY_SECONDS = 0.25

_TEXT = "Command already reached terminal state"
FINISHED = Answer(
    status=409,
    error=_TEXT,
    detail={"code": "already_terminal", "message": _TEXT},
)
TOO_LATE = Answer(status=503, error="The start came too late; nothing was started")


class BadDecision(Exception):
    """A group whose inputs can't be decided or written; which input is to blame is unknown."""

    def __init__(self, reason: str, group: Group, error: Exception) -> None:
        super().__init__(reason)
        self.reason = reason
        self.group = group
        self.error = error


@dataclass(slots=True)
class PreparedTurn:
    """Groups of one turn attempt, by their next step."""

    units: list[UnitOfWork] = field(default_factory=list)
    settled: list[tuple[TurnInput, Answer]] = field(default_factory=list)
    postponed: list[Postponed] = field(default_factory=list)
    given_back: list[TurnInput] = field(default_factory=list)


class Preparation:
    """Read the state and the playbooks that a turn needs."""

    def __init__(
        self,
        store: Store,
        cache: ExecutionCache,
        loader: Loader,
        playbooks: Playbooks,
        starts: Starts,
        *,
        pauses: Pauses,
    ) -> None:
        self._starts = starts
        self._pauses = pauses
        self._cache = cache
        self._loader = loader
        self._playbooks = playbooks
        self._store = store

    async def prepare(self, groups: list[Group]) -> PreparedTurn:
        """Read state and playbook of each group; settle or postpone groups without them.

        Raises:
            BadDecision: a running execution's playbook can't be used.
        """
        prepared = PreparedTurn()
        groups = await answer_repetitions(self._store, groups, prepared.settled)
        groups = await self._starts.complete(groups, prepared.settled, prepared.postponed)
        entries, missing = await self._known(groups)
        loaded = await self._loader.load(missing) if missing else {}
        entries |= loaded
        pending: list[tuple[Group, CachedExecution]] = []
        for group in groups:
            entry = entries.get(group.execution_id) or self._begin(group)
            if entry is None:
                for turn_input in group.inputs:
                    if turn_input.may_precede_start:
                        prepared.given_back.append(turn_input)
                    else:
                        prepared.settled.append((turn_input, _unknown(turn_input)))
            else:
                pending.append((group, entry))
        playbooks = await self._playbooks.get_many(
            {entry.catalog_id for _, entry in pending},
            timeout_seconds=_PLAYBOOK_TIMEOUT_SECONDS,
        )
        unpinned = await self._starts.pin_plugins(pending, playbooks)
        for group, entry in pending:
            playbook = playbooks.get(entry.catalog_id)
            is_loaded = group.execution_id in loaded
            if playbook is None or group.execution_id in unpinned:
                prepared.postponed.append((group, _PLAYBOOK_RETRY_SECONDS))
            elif isinstance(playbook, PlaybookNotUsable):
                self._without_playbook(group, entry, playbook, prepared)
            else:
                unit = UnitOfWork(
                    group.execution_id,
                    entry,
                    playbook,
                    list(group.inputs),
                    is_fresh=is_loaded,
                )
                self._withhold_claims(unit)
                prepared.units.append(unit)
        return prepared

    def _withhold_claims(self, unit: UnitOfWork) -> None:
        """Let claims say whether the commands of their path and pool are paused."""
        for turn_input in unit.inputs:
            claim = turn_input.message
            if isinstance(claim, Claimed):
                withheld = self._pauses.withholds(path=unit.path, pool=unit.pool)
                if claim.withheld != withheld:
                    turn_input.message = replace(claim, withheld=withheld)

    async def _known(self, groups: Sequence[Group]) -> tuple[dict[int, CachedExecution], list[int]]:
        """Return the up-to-date executions in memory, and the ids of those to read."""
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
        """Return a new execution if the group has its start, else None."""
        for turn_input in group.inputs:
            if isinstance(turn_input.message, ExecuteMessage) and not turn_input.is_overdue:
                # Inputs that overtook the start would be answered 404 by the engine.
                group.inputs.remove(turn_input)
                group.inputs.insert(0, turn_input)
                return self._loader.new(
                    group.execution_id,
                    catalog_id=turn_input.message.catalog_id,
                    parent=turn_input.message.parent_execution_id,
                )
        return None

    def _without_playbook(
        self, group: Group, entry: CachedExecution, why: PlaybookNotUsable, prepared: PreparedTurn
    ) -> None:
        if entry.execution.position == 0:
            detail = None if why.hint is None else {"hint": why.hint}
            answer = Answer(status=why.http_status, error=why.message, detail=detail)
            prepared.settled += [(turn_input, answer) for turn_input in group.inputs]
            return
        if entry.execution.status is not ExecutionStatus.RUNNING and all(
            isinstance(turn_input.message, Claimed) for turn_input in group.inputs
        ):
            prepared.settled += [(turn_input, FINISHED) for turn_input in group.inputs]
            return
        # A running execution without its playbook can't go on (F11).
        raise BadDecision("decision", group, why)


def _is_surely_new(group: Group) -> bool:
    """Return whether a group begins with a new start, so that there is nothing to load."""
    first = group.inputs[0]
    return (
        isinstance(first.message, ExecuteMessage) and not first.is_repeated and not first.attempts
    )


def _unknown(turn_input: TurnInput) -> Answer:
    if isinstance(turn_input.message, Claimed):
        # A worker would get the command again after each 404 (F15).
        return FINISHED
    if turn_input.is_overdue:
        metrics.STARTS_DROPPED.inc()
        return TOO_LATE
    return Answer(status=404, error=f"Execution not found: {turn_input.execution_id}")
