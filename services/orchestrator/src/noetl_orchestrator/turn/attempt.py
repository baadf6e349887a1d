"""One attempt at a turn: prepare, decide, encode, commit, answer."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.telemetry.work import done_with, working_on
from noetl_contract.ingress import CommandOutcomeMessage
from noetl_engine.errors import StartRefused
from noetl_engine.inputs import Continued, Facts
from noetl_engine.outputs import Answer, NeedResults, NeedRows
from noetl_engine.renders import MoreWork

from noetl_orchestrator import metrics
from noetl_orchestrator.cpu_limit import CpuLimit, TookTooLong, TurnTime
from noetl_orchestrator.log.commit_parameters import CommitParameters
from noetl_orchestrator.log.database_clock import DatabaseClock
from noetl_orchestrator.log.run_hints import RunHints
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import Committed
from noetl_orchestrator.memory.agenda import Agenda
from noetl_orchestrator.memory.cache import ExecutionCache
from noetl_orchestrator.memory.costs import Costs
from noetl_orchestrator.memory.loader import Loader, RowRequest
from noetl_orchestrator.publishing.publisher import OutboxPublisher, Repetitions
from noetl_orchestrator.replicas.replicas import Replicas
from noetl_orchestrator.result_store import ReadResults, ResultReader
from noetl_orchestrator.traces import TurnSpans
from noetl_orchestrator.turn.child_cancels import (
    cancel_below_ended,
    children_to_cancel,
    tell_callers,
)
from noetl_orchestrator.turn.dispatch import Dispatcher, Postponed
from noetl_orchestrator.turn.encode import EncodedUnit, Encoder, answer_all
from noetl_orchestrator.turn.inputs import Caller, Group, TurnInput
from noetl_orchestrator.turn.prepare import BadDecision, Preparation, PreparedTurn
from noetl_orchestrator.turn.unit_of_work import UnitOfWork, begin_spans, end_spans

_log = get_logger()

type MakeFacts = Callable[[], Facts]

_LONGEST_PAUSE_SECONDS = 2.0
_LONGEST_CONFLICT_PAUSE_SECONDS = 0.25
_EARLY_CANCEL_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnParts:
    """Everything that turns work with. One object serves all turns of a process."""

    store: Store
    publisher: OutboxPublisher
    run_hints: RunHints
    repetitions: Repetitions
    clock: DatabaseClock
    agenda: Agenda
    cache: ExecutionCache
    loader: Loader
    results: ResultReader
    replicas: Replicas
    preparation: Preparation
    encoder: Encoder
    dispatcher: Dispatcher
    make_facts: MakeFacts
    conflict_attempts: int
    cpu_limit: CpuLimit
    turn_seconds: float
    costs: Costs


class TurnAttempt:
    """Process groups of inputs in one commit."""

    def __init__(self, parts: TurnParts) -> None:
        self._parts = parts

    async def run(self, groups: list[Group]) -> list[Postponed]:
        """Process groups; return those that were left out of the commit.

        Raises:
            BadDecision: one of the groups can't be decided or written.
            NoetlError: nothing, or an unknown part, was committed.
        """
        spans = TurnSpans.begin()
        prepared = await self._parts.preparation.prepare(groups)
        if spans is not None:
            spans.loaded()
        facts = self._parts.make_facts()
        began = perf_counter()
        await self._decide(prepared, facts)
        if spans is not None:
            begin_spans(prepared.units, spans)
        commit = CommitParameters()
        encoded_units, checks = await self._encode(prepared, commit, facts)
        metrics.DECIDE_SECONDS.observe(perf_counter() - began)
        if spans is not None:
            spans.decided()
        committed = await self._commit(commit, checks, facts)
        if spans is not None:
            spans.committed()
        await self._after_commit(prepared, encoded_units, checks, committed)
        if spans is not None:
            end_spans((encoded.unit for encoded in encoded_units), committed.kept, spans)
        for turn_input, answer in prepared.settled:
            await turn_input.caller.answered(answer)
        for turn_input in prepared.given_back:
            await turn_input.caller.given_back(_EARLY_CANCEL_SECONDS)
        return prepared.postponed

    async def _decide(self, prepared: PreparedTurn, facts: Facts) -> None:
        """Decide what there is time for, and leave the rest to the next turn (W29)."""
        turn_time = TurnTime(self._parts.turn_seconds)
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
                await self._parts.loader.provide([_row_request(unit, need) for unit, need in needs])
            undecided = [unit for unit, _ in needs]

    def _decide_one(self, unit: UnitOfWork, facts: Facts, turn_time: TurnTime) -> None:
        work = working_on(unit)
        turn_time.begin()
        try:
            self._parts.cpu_limit.run(unit.decide, facts, turn_time.is_over)
        except (NeedRows, NeedResults, StartRefused, MoreWork):
            raise
        except Exception as error:
            if isinstance(error, NoetlError) and not isinstance(error, TookTooLong):
                raise
            raise _bad_decision(unit, error) from error
        finally:
            done_with(work)
            self._note_time(unit, *turn_time.end())

    def _without_slow(self, prepared: PreparedTurn) -> list[UnitOfWork]:
        """Return the units to decide: slow ones have turns of their own, but for urgent inputs."""
        costs = self._parts.costs
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
        costs, catalog_id = self._parts.costs, unit.entry.catalog_id
        costs.note(catalog_id, processor_seconds / max(unit.next_input, 1))
        if costs.is_slow(catalog_id):
            self._parts.dispatcher.note_slow(seconds)

    def _leave(self, unit: UnitOfWork, prepared: PreparedTurn) -> None:
        """Leave what is not decided yet of an execution to the next turn."""
        if unit.next_input:
            unit.leave_rest()
            return
        prepared.units.remove(unit)
        prepared.postponed.append((Group(unit.execution_id, list(unit.inputs)), None))
        if unit.is_fresh:
            self._parts.cache.put(unit.execution_id, unit.entry)

    def _go_on_later(self, unit: UnitOfWork, more: MoreWork, prepared: PreparedTurn) -> None:
        """Postpone an execution whose decision has more work than one turn may have."""
        unit.inputs[unit.next_input].renders = more.renders
        self._parts.cache.forget(unit.execution_id)
        prepared.units.remove(unit)
        prepared.postponed.append((Group(unit.execution_id, list(unit.inputs)), 0.0))

    def _wait_for_results(
        self, unit: UnitOfWork, need: NeedResults, prepared: PreparedTurn
    ) -> None:
        """Postpone a unit until the results are read that one of its inputs needs."""
        execution_id, asking = unit.execution_id, unit.inputs[unit.next_input]
        # It has been changed half way.
        self._parts.cache.forget(execution_id)
        found = asking.results = asking.results or ReadResults()
        read = partial(self._parts.results.read, execution_id, need.results, found)
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

    async def _encode(
        self, prepared: PreparedTurn, commit: CommitParameters, facts: Facts
    ) -> tuple[list[EncodedUnit], list[UnitOfWork]]:
        store = self._parts.store
        children = await children_to_cancel(store, prepared.units)
        await tell_callers(store, prepared.units, children)
        below = await cancel_below_ended(store, prepared.units, self._parts.encoder)
        if below:
            # Harmless if the turn is repeated: what was cancelled refuses the next cancel.
            await store.add_messages(below)
            await self._parts.publisher.publish(below)
        encoded_units: list[EncodedUnit] = []
        checks: list[UnitOfWork] = []
        for unit in sorted(prepared.units, key=lambda unit: unit.execution_id):
            if not unit.writes:
                checks.append(unit)
                continue
            try:
                encoded_units.append(
                    self._parts.encoder.encode(
                        unit, commit, now=facts.now, children=children.get(unit.execution_id, ())
                    )
                )
            except (TypeError, ValueError, RecursionError) as error:
                group = Group(unit.execution_id, list(unit.inputs))
                raise BadDecision("data", group, error) from error
        return encoded_units, checks

    async def _commit(
        self, commit: CommitParameters, checks: Sequence[UnitOfWork], facts: Facts
    ) -> Committed:
        stale = [s for s in checks if s.expected and (s.rows.timers_done or not s.is_fresh)]
        fresh = {s.execution_id for s in checks} - {s.execution_id for s in stale}
        began = perf_counter()
        if commit.events:
            for unit in stale:
                commit.checks.append({"execution_id": unit.execution_id, "expected": unit.expected})
                commit.timers_done.extend(unit.rows.timers_done)
            done = await self._parts.store.commit_turn(commit)
        elif stale:
            done = await self._parts.store.check_positions(
                {s.execution_id: s.expected for s in stale},
                [timer_id for s in stale for timer_id in s.rows.timers_done],
            )
        else:
            return Committed(frozenset(), frozenset(fresh), {}, facts.now)
        metrics.COMMIT_SECONDS.observe(perf_counter() - began)
        self._parts.clock.set(done.now)
        return Committed(done.kept, done.checked | fresh, done.clashes, done.now)

    async def _after_commit(
        self,
        prepared: PreparedTurn,
        encoded_units: Sequence[EncodedUnit],
        checks: Sequence[UnitOfWork],
        committed: Committed,
    ) -> None:
        kept = [encoded for encoded in encoded_units if encoded.unit.execution_id in committed.kept]
        self._note_times(kept)
        # Before any answer: who has heard of an end may rely on it that nothing is begun.
        await self._stop_runs(encoded.unit for encoded in kept)
        # First what a worker waits for: commands are published, or go out with the answers.
        answers_first = any(encoded.handed for encoded in kept)
        if not answers_first:
            await self._publish(kept)
        ended = [encoded.unit for encoded in kept if encoded.unit.has_children_to_cancel]
        if ended:
            await self._cancel_late_children(ended)
        repeated = [
            (unit.execution_id, event_id)
            for unit in (*(encoded.unit for encoded in kept), *checks)
            for event_id in unit.repeated_outcomes()
        ]
        for encoded in kept:
            self._keep(encoded)
            _log.debug(
                "turn_committed",
                execution_id=encoded.unit.execution_id,
                events=len(encoded.unit.rows.events),
                commands=len(encoded.unit.rows.commands),
            )
            await answer_all(encoded.unit, encoded.handed)
            if encoded.unit.left:
                left = Group(encoded.unit.execution_id, encoded.unit.left)
                prepared.postponed.append((left, 0.0))
        if answers_first:
            await self._publish(kept)
        await self._settle_rest(encoded_units, checks, committed, prepared)
        if repeated:
            await self._release_handed(repeated)

    async def _settle_rest(
        self,
        encoded_units: Sequence[EncodedUnit],
        checks: Sequence[UnitOfWork],
        committed: Committed,
        prepared: PreparedTurn,
    ) -> None:
        """Answer what needed no commit; postpone what the commit left out."""
        for encoded in encoded_units:
            if encoded.unit.execution_id not in committed.kept:
                await self._again(encoded.unit, committed, prepared)
        for unit in checks:
            if unit.execution_id in committed.checked:
                await self._stop_runs((unit,))
                if unit.expected:
                    self._parts.cache.put(unit.execution_id, unit.entry)
                await answer_all(unit, {})
                if unit.left:
                    prepared.postponed.append((Group(unit.execution_id, unit.left), 0.0))
            else:
                await self._again(unit, committed, prepared)

    async def _release_handed(self, repeated: Sequence[tuple[int, int]]) -> None:
        """Have commands published that may have been lost with the answer to an outcome."""
        try:
            handed = await self._parts.store.find_handed(repeated)
            metrics.HANDED_RELEASED.inc(await self._parts.repetitions.send(handed))
        except NoetlError as error:
            # The sweep finds them later.
            _log.warning("handed_commands_not_released", error=error.message)

    def _note_times(self, kept: Sequence[EncodedUnit]) -> None:
        """Let the loops over timers and leases know what was committed."""
        for encoded in kept:
            rows = encoded.unit.rows
            if rows.timers or rows.changes:
                self._parts.agenda.note(timers=rows.timers, changes=rows.changes.values())

    async def _publish(self, kept: Sequence[EncodedUnit]) -> None:
        """Publish what was committed, and notify the other replicas of it."""
        await self._parts.publisher.publish(row for encoded in kept for row in encoded.outbox)
        units = [encoded.unit for encoded in kept]
        await self._parts.replicas.tell(
            [(unit.execution_id, unit.entry.execution.position) for unit in units]
        )

    async def _stop_runs(self, units: Iterable[UnitOfWork]) -> None:
        """Notify workers which of their runs are over, and of which executions nothing is begun."""
        for unit in units:
            if unit.rows.over or unit.cut_off:
                await self._parts.run_hints.send(
                    unit.execution_id, unit.pool, unit.rows.over, ended=unit.cut_off
                )

    async def _cancel_late_children(self, ended: Sequence[UnitOfWork]) -> None:
        """Cancel the children that were noted between the first look and the commit.

        After the commit no more are noted, because the commands that start them are cancelled.
        """
        try:
            children = await children_to_cancel(self._parts.store, ended)
            messages = [
                row
                for owner, found in children.items()
                for row in self._parts.encoder.cancels(owner, found)
            ]
            added = await self._parts.store.add_messages(messages) if messages else set()
        except NoetlError as error:
            ids = [unit.execution_id for unit in ended]
            _log.warning("late_children_not_cancelled", error=error.message, execution_ids=ids)
            return
        await self._parts.publisher.publish(row for row in messages if row.outbox_id in added)

    def _keep(self, encoded: EncodedUnit) -> None:
        entry = encoded.unit.entry
        entry.tail_bytes += encoded.event_bytes
        if entry.handed:
            for event_id in encoded.unit.rows.changes:
                entry.handed.pop(event_id, None)
        for command in encoded.handed.values():
            metrics.COMMANDS_HANDED.inc()
            entry.handed[command.event_id] = command.reported
        if encoded.snapshot_bytes is not None:
            metrics.SNAPSHOTS.inc()
            entry.snapshot_position = entry.execution.position
            entry.snapshot_bytes = encoded.snapshot_bytes
            entry.tail_bytes = 0
        self._parts.cache.put(encoded.unit.execution_id, entry)
        if encoded.continue_timer is not None:
            self._parts.dispatcher.submit(
                TurnInput(
                    encoded.unit.execution_id,
                    Continued(),
                    Caller(),
                    timer_id=encoded.continue_timer,
                )
            )

    async def _again(self, unit: UnitOfWork, committed: Committed, prepared: PreparedTurn) -> None:
        """Postpone a unit that was left out of the commit, to decide it on fresh state (W1)."""
        self._parts.cache.forget(unit.execution_id)
        metrics.CONFLICTS.inc()
        known = {
            event_id: stored
            for (execution_id, event_id), stored in committed.clashes.items()
            if execution_id == unit.execution_id
        }
        answers = dict(unit.answers)
        group = Group(unit.execution_id, [])
        for turn_input in (*unit.inputs, *unit.left):
            turn_input.attempts += 1
            if known:
                turn_input.stored_events = {**turn_input.stored_events, **known}
                if isinstance(turn_input.message, CommandOutcomeMessage):
                    turn_input.discarded_answer = answers.get(turn_input)
            # The next look-up tells a passed deadline from another copy of the start.
            turn_input.is_overdue = (
                turn_input.deadline is not None and turn_input.deadline <= committed.now
            )
            if turn_input.attempts >= self._parts.conflict_attempts:
                _log.error(
                    "given_back", execution_id=turn_input.execution_id, attempts=turn_input.attempts
                )
                await turn_input.caller.given_back(_LONGEST_PAUSE_SECONDS)
            else:
                group.inputs.append(turn_input)
        if group.inputs:
            tries = group.inputs[0].attempts
            longest = min(_LONGEST_CONFLICT_PAUSE_SECONDS, 0.002 * 2 ** min(tries, 10))
            pause = 0.0 if known else longest * random.uniform(0.25, 1.0)  # noqa: S311 -- jitter
            prepared.postponed.append((group, pause))


def _bad_decision(unit: UnitOfWork, error: Exception) -> BadDecision:
    return BadDecision("decision", Group(unit.execution_id, list(unit.inputs)), error)


def _row_request(unit: UnitOfWork, need: NeedRows) -> RowRequest:
    return RowRequest(
        unit.execution_id, unit.entry.execution, need, unit.expected, unit.rows.events
    )
