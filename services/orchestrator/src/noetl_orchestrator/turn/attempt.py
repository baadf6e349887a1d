"""One attempt at a turn: prepare, decide, encode, commit, answer."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from noetl_common.clock import ServerClock
from noetl_common.logging import get_logger
from noetl_contract.ingress import CommandOutcomeMessage
from noetl_engine.inputs import Continued, Facts
from noetl_engine.outputs import Answer
from orjson import Fragment

from noetl_orchestrator import metrics
from noetl_orchestrator.log.commit_parameters import CommitParameters
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import Committed
from noetl_orchestrator.memory.agenda import Agenda
from noetl_orchestrator.memory.cache import ExecutionCache
from noetl_orchestrator.publishing.after_commit import AfterCommit
from noetl_orchestrator.replicas.replicas import Replicas
from noetl_orchestrator.traces import TurnSpans
from noetl_orchestrator.turn.child_cancels import ChildCancels
from noetl_orchestrator.turn.decide import Decider
from noetl_orchestrator.turn.dispatch import Dispatcher, Postponed
from noetl_orchestrator.turn.encode import Encoder
from noetl_orchestrator.turn.inputs import Caller, Group, TurnInput
from noetl_orchestrator.turn.prepare import BadDecision, Preparation, PreparedTurn
from noetl_orchestrator.turn.refusals import Refusals
from noetl_orchestrator.turn.unit_of_work import UnitOfWork, begin_spans, end_spans

_log = get_logger()

_LONGEST_PAUSE_SECONDS = 2.0
_LONGEST_CONFLICT_PAUSE_SECONDS = 0.25
_EARLY_CANCEL_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnParts:
    """Everything that turns work with. One object serves all turns of a process."""

    store: Store
    clock: ServerClock
    cache: ExecutionCache
    agenda: Agenda
    dispatcher: Dispatcher
    preparation: Preparation
    decider: Decider
    encoder: Encoder
    child_cancels: ChildCancels
    after_commit: AfterCommit
    refusals: Refusals
    make_facts: Callable[[], Facts]
    replicas: Replicas
    conflict_attempts: int


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
        await self._parts.decider.decide(prepared, facts)
        if spans is not None:
            begin_spans(prepared.units, spans)
        commit = CommitParameters()
        await self._encode(prepared, commit, facts)
        metrics.DECIDE_SECONDS.observe(perf_counter() - began)
        if spans is not None:
            spans.decided()
        committed = await self._commit(commit, prepared, facts)
        if spans is not None:
            spans.committed()
        await self._after_commit(prepared, committed)
        if spans is not None:
            end_spans(prepared.units, committed.kept, spans)
        for turn_input, answer in prepared.settled:
            await turn_input.caller.answered(answer)
        for turn_input in prepared.given_back:
            await turn_input.caller.given_back(_EARLY_CANCEL_SECONDS)
        return prepared.postponed

    async def _encode(self, prepared: PreparedTurn, commit: CommitParameters, facts: Facts) -> None:
        await self._parts.child_cancels.add(prepared.units)
        prepared.units.sort(key=lambda unit: unit.execution_id)
        for unit in prepared.units:
            if not unit.writes:
                continue
            try:
                self._parts.encoder.encode(unit, commit, now=facts.now)
            except (TypeError, ValueError, RecursionError) as error:
                raise BadDecision("data", unit.group(), error) from error

    async def _commit(
        self, commit: CommitParameters, prepared: PreparedTurn, facts: Facts
    ) -> Committed:
        checks = [unit for unit in prepared.units if not unit.writes]
        stale = [s for s in checks if s.expected and (s.rows.timers_done or not s.is_fresh)]
        fresh = {s.execution_id for s in checks} - {s.execution_id for s in stale}
        began = self._parts.clock.reading()
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
        self._parts.clock.set(done.now, asked_at=began)
        metrics.COMMIT_SECONDS.observe(self._parts.clock.reading() - began)
        return Committed(done.kept, done.checked | fresh, done.clashes, done.now)

    async def _after_commit(self, prepared: PreparedTurn, committed: Committed) -> None:
        done = committed.kept | committed.checked
        kept = [unit for unit in prepared.units if unit.execution_id in committed.kept]
        checked = [unit for unit in prepared.units if unit.execution_id in committed.checked]
        left_out = [unit for unit in prepared.units if unit.execution_id not in done]
        for unit in kept:
            if unit.rows.timers or unit.rows.changes:
                changes = unit.rows.changes.values()
                self._parts.agenda.note(timers=unit.rows.timers, changes=changes)
            # Before any answer: who has heard of an end may rely on it that nothing is begun.
            await self._stop_runs(unit)
        # First what a worker waits for: commands are published, or go out with the answers.
        answers_first = any(unit.effects.handed for unit in kept)
        if not answers_first:
            await self._publish(kept)
        await self._parts.child_cancels.cancel_late(kept)
        repeated = [
            (unit.execution_id, event_id)
            for unit in (*kept, *(unit for unit in prepared.units if not unit.writes))
            for event_id in unit.repeated_outcomes()
        ]
        for unit in kept:
            self._keep(unit)
            _log.debug(
                "turn_committed",
                execution_id=unit.execution_id,
                events=len(unit.rows.events),
                commands=len(unit.rows.commands),
            )
            await self._answer(unit, prepared)
        if answers_first:
            await self._publish(kept)
        for unit in left_out:
            await self._again(unit, committed, prepared)
        for unit in checked:
            await self._stop_runs(unit)
            if unit.expected:
                self._parts.cache.put(unit.execution_id, unit.entry)
            await self._answer(unit, prepared)
        if repeated:
            await self._parts.after_commit.release_handed(repeated)

    async def _answer(self, unit: UnitOfWork, prepared: PreparedTurn) -> None:
        """Answer the callers of a unit; a command goes with the answer to the outcome before."""
        for turn_input, answer in unit.answers:
            body = answer.body
            if isinstance(body, dict) and body.get("status") == "late":
                metrics.LATE.labels(body.get("reason", "taken")).inc()
            told, command = answer, unit.effects.handed.get(turn_input)
            if command is not None and isinstance(body, dict):
                body = {**body, "next": Fragment(command.message)}
                told = Answer(answer.status, body, answer.error, answer.detail)
            await turn_input.caller.answered(told)
        if unit.left:
            prepared.postponed.append((Group(unit.execution_id, unit.left), 0.0))

    async def _publish(self, units: Sequence[UnitOfWork]) -> None:
        """Publish what was committed, and notify the other replicas of it."""
        await self._parts.after_commit.publish(
            (row for unit in units for row in unit.effects.outbox),
            [(unit.execution_id, unit.entry.execution.position) for unit in units],
        )

    async def _stop_runs(self, unit: UnitOfWork) -> None:
        """Notify workers which of its runs are over, and whether nothing of it is begun."""
        effects = unit.effects
        if effects.over or effects.cut_off:
            await self._parts.after_commit.stop_runs(
                unit.execution_id, unit.pool, effects.over, ended=effects.cut_off
            )

    def _keep(self, unit: UnitOfWork) -> None:
        """Keep an execution in memory as of its commit, and let it go on if it has to."""
        entry, written = unit.entry, unit.written
        entry.tail_bytes += written.event_bytes
        if entry.handed:
            for event_id in unit.rows.changes:
                entry.handed.pop(event_id, None)
        for command in unit.effects.handed.values():
            metrics.COMMANDS_HANDED.inc()
            entry.handed[command.event_id] = command.reported
        if written.snapshot_bytes is not None:
            metrics.SNAPSHOTS.inc()
            entry.snapshot_position = entry.execution.position
            entry.snapshot_bytes = written.snapshot_bytes
            entry.tail_bytes = 0
        self._parts.cache.put(unit.execution_id, entry)
        if written.continue_timer is not None:
            timer_id = written.continue_timer
            again = TurnInput(unit.execution_id, Continued(), Caller(), timer_id=timer_id)
            self._parts.dispatcher.submit(again)

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
