"""Decide the units of a turn, within its time and with what they ask for."""

from collections.abc import Callable
from functools import partial

from noetl_common.errors import NoetlError
from noetl_common.telemetry.work import done_with, working_on
from noetl_engine.errors import StartRefused
from noetl_engine.inputs import Facts
from noetl_engine.outputs import Answer, NeedResults, NeedRows
from noetl_engine.renders import MoreWork

from noetl_orchestrator.cpu_limit import CpuLimit, TookTooLong, TurnTime
from noetl_orchestrator.memory.cache import ExecutionCache
from noetl_orchestrator.memory.costs import Costs
from noetl_orchestrator.memory.loader import Loader
from noetl_orchestrator.result_store import ReadResults, ResultReader
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.inputs import Group
from noetl_orchestrator.turn.prepare import BadDecision, PreparedTurn
from noetl_orchestrator.turn.unit_of_work import UnitOfWork


class Decider:
    """Decide units of work; postpone what there is no time for or what has to be read first.

    Args:
        cache: of the executions, dropped where a decision has stopped half way.
        loader: reads rows.
        results: reads results.
        costs: which playbooks are slow to decide.
        note_slow: takes the seconds for which a slow decision has held the process.
        settings: the bounds of a decision and of a turn.
    """

    def __init__(
        self,
        cache: ExecutionCache,
        loader: Loader,
        results: ResultReader,
        costs: Costs,
        *,
        note_slow: Callable[[float], None],
        settings: Settings,
    ) -> None:
        self._cache = cache
        self._loader = loader
        self._results = results
        self._costs = costs
        self._note_slow = note_slow
        self._cpu_limit = CpuLimit(settings.decision_seconds)
        self._turn_seconds = settings.turn_seconds
        self._max_events = settings.turn_events_per_execution

    async def decide(self, prepared: PreparedTurn, facts: Facts) -> None:
        """Decide what there is time for, and leave the rest to the next turn (W29).

        Raises:
            BadDecision: one of the groups can't be decided.
            NoetlError: rows can't be read.
        """
        turn_time = TurnTime(self._turn_seconds)
        undecided = self._without_slow(prepared)
        while undecided:
            needs: list[tuple[UnitOfWork, NeedRows]] = []
            for unit in undecided:
                if turn_time.is_over():
                    self._leave(unit, prepared)
                    continue
                await turn_time.let_others()
                try:
                    self._decide_one(unit, facts, turn_time)
                except NeedRows as need:
                    needs.append((unit, need))
                except NeedResults as need:
                    prepared.units.remove(unit)
                    self._wait_for_results(unit, need, prepared)
                except StartRefused as refused:
                    prepared.units.remove(unit)
                    self._refuse_start(unit, refused, prepared)
                except MoreWork as more:
                    self._go_on_later(unit, more, prepared)
            if needs:
                await self._loader.provide([unit.request(need) for unit, need in needs])
            undecided = [unit for unit, _ in needs]

    def _decide_one(self, unit: UnitOfWork, facts: Facts, turn_time: TurnTime) -> None:
        work = working_on(unit)
        turn_time.begin()
        try:
            self._cpu_limit.run(unit.decide, facts, turn_time.is_over, self._max_events)
        except (NeedRows, NeedResults, StartRefused, MoreWork):
            raise
        except Exception as error:
            if isinstance(error, NoetlError) and not isinstance(error, TookTooLong):
                raise
            raise BadDecision("decision", unit.group(), error) from error
        finally:
            done_with(work)
            self._note_time(unit, *turn_time.end())

    def _without_slow(self, prepared: PreparedTurn) -> list[UnitOfWork]:
        """Return the units to decide: slow ones have turns of their own, but for urgent inputs."""
        costs = self._costs
        slow = [
            unit
            for unit in prepared.units
            if costs.is_slow(unit.entry.catalog_id)
            and not any(turn_input.is_urgent for turn_input in unit.inputs)
        ]
        if len(slow) < len(prepared.units):
            for unit in slow:
                self._leave(unit, prepared)
        return list(prepared.units)

    def _note_time(self, unit: UnitOfWork, processor_seconds: float, seconds: float) -> None:
        costs, catalog_id = self._costs, unit.entry.catalog_id
        costs.note(catalog_id, processor_seconds / max(unit.next_input, 1))
        if costs.is_slow(catalog_id):
            self._note_slow(seconds)

    def _leave(self, unit: UnitOfWork, prepared: PreparedTurn) -> None:
        """Leave what is not decided yet of an execution to the next turn."""
        if unit.next_input:
            unit.leave_rest()
            return
        prepared.units.remove(unit)
        prepared.postponed.append((unit.group(), None))
        if unit.is_fresh:
            self._cache.put(unit.execution_id, unit.entry)

    def _go_on_later(self, unit: UnitOfWork, more: MoreWork, prepared: PreparedTurn) -> None:
        """Postpone an execution whose decision has more work than one turn may have."""
        unit.inputs[unit.next_input].renders = more.renders
        self._cache.forget(unit.execution_id)
        prepared.units.remove(unit)
        prepared.postponed.append((unit.group(), 0.0))

    def _wait_for_results(
        self, unit: UnitOfWork, need: NeedResults, prepared: PreparedTurn
    ) -> None:
        """Postpone a unit until the results are read that one of its inputs needs."""
        execution_id, asking = unit.execution_id, unit.inputs[unit.next_input]
        # It has been changed half way.
        self._cache.forget(execution_id)
        found = asking.results = asking.results or ReadResults()
        read = partial(self._results.read, execution_id, need.results, found)
        group = Group(execution_id, [*unit.inputs, *unit.left], waits_for=read)
        prepared.postponed.append((group, 0.0))

    def _refuse_start(
        self, unit: UnitOfWork, refused: StartRefused, prepared: PreparedTurn
    ) -> None:
        """Answer an impossible start; postpone the other inputs of its group."""
        turn_input = unit.inputs[unit.next_input]
        prepared.settled.append((turn_input, Answer(status=refused.status, error=refused.text)))
        others = [other for other in unit.inputs if other is not turn_input]
        if others:
            prepared.postponed.append((Group(unit.execution_id, others), 0.0))
