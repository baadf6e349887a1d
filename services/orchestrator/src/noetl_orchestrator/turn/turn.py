"""The turn: inputs in, decisions of many executions in one commit, answers out."""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from time import perf_counter

from noetl_common.errors import Conflict, NoetlError, Permanent
from noetl_common.logging import get_logger
from noetl_engine.errors import StartRefused
from noetl_engine.inputs import CommandOutcome, Continued, Facts
from noetl_engine.outputs import Answer, NeedRows

from noetl_orchestrator import metrics
from noetl_orchestrator.log.outbox_hints import Hints
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import Committed
from noetl_orchestrator.memory.cache import ExecutionCache
from noetl_orchestrator.memory.database_clock import DatabaseClock
from noetl_orchestrator.memory.loader import Loader, RowRequest
from noetl_orchestrator.memory.replicas import Replicas
from noetl_orchestrator.turn.child_cancels import ChildCancels
from noetl_orchestrator.turn.dispatch import Dispatcher, Postponed
from noetl_orchestrator.turn.encode import Encoded, Encoder, parameters
from noetl_orchestrator.turn.inputs import Group, NobodyWaits, Work
from noetl_orchestrator.turn.prepare import TOO_LATE, BadDecision, Plan, Preparation
from noetl_orchestrator.turn.refusals import Refusals
from noetl_orchestrator.turn.unit_of_work import Staged

_log = get_logger()

type MakeFacts = Callable[[], Facts]

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_LONGEST_CONFLICT_PAUSE_SECONDS = 0.25
_EARLY_CANCEL_SECONDS = 5.0


class Turns:
    """Processes groups of inputs. One object serves all turns of a process."""

    def __init__(
        self,
        *,
        store: Store,
        loader: Loader,
        cache: ExecutionCache,
        preparation: Preparation,
        child_cancels: ChildCancels,
        encoder: Encoder,
        dispatcher: Dispatcher,
        clock: DatabaseClock,
        hints: Hints,
        replicas: Replicas,
        make_facts: MakeFacts,
        conflict_attempts: int,
    ) -> None:
        self._store = store
        self._loader = loader
        self._cache = cache
        self._preparation = preparation
        self._child_cancels = child_cancels
        self._encoder = encoder
        self._dispatcher = dispatcher
        self._clock = clock
        self._hints = hints
        self._replicas = replicas
        self._make_facts = make_facts
        self._refusals = Refusals(store, cache, encoder)
        self._conflict_attempts = conflict_attempts

    async def run(self, groups: list[Group], beat: Callable[[], None]) -> list[Postponed]:
        """Process groups of disjoint executions; returns those to be tried again later.

        Returns only when each other input was answered, refused or given back. While the
        database is away the groups are held and tried again: an outage is not an attempt.
        """
        beat()
        metrics.BATCH_INPUTS.observe(sum(len(group.works) for group in groups))
        postponed: list[Postponed] = []
        pause = _FIRST_PAUSE_SECONDS
        while groups := await self._still_wanted(groups):
            try:
                return postponed + await self._attempt(groups)
            except (BadDecision, Permanent, Conflict) as error:
                self._forget(groups)
                return postponed + await self._take_apart(groups, error, beat)
            except NoetlError as error:
                # Whether it was committed is unknown: reload, and let keys decide (W8).
                self._forget(groups)
                _mark_repeated(groups)
                _log.warning("turn_held", error=error.message, inputs=len(groups))
                with metrics.DATABASE_HELD_UP.track_inprogress():
                    await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 -- jitter
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
                beat()
        return postponed

    async def _still_wanted(self, groups: list[Group]) -> list[Group]:
        """Leave out what nobody waits for any more (W4, W5)."""
        now = self._clock.now()
        found = []
        for group in groups:
            works = [
                work
                for work in group.works
                if work.caller.is_waiting and not await self._is_too_late(work, now)
            ]
            if works:
                found.append(Group(group.execution_id, works))
        return found

    # -- one attempt ---------------------------------------------------------------------

    async def _attempt(self, groups: list[Group]) -> list[Postponed]:
        plan = await self._preparation.prepare(groups)
        facts = self._make_facts()
        began = perf_counter()
        await self._decide(plan, facts)
        shares, checks = await self._encode(plan, facts)
        metrics.DECIDE_SECONDS.observe(perf_counter() - began)
        committed = await self._commit(shares, checks, facts)
        await self._after_commit(plan, shares, checks, committed)
        for work, answer in plan.settled:
            await work.caller.answered(answer)
        for work in plan.given_back:
            await work.caller.given_back(_EARLY_CANCEL_SECONDS)
        return plan.postponed

    async def _decide(self, plan: Plan, facts: Facts) -> None:
        undecided = list(plan.staged)
        while undecided:
            needs: list[tuple[Staged, NeedRows]] = []
            for staged in undecided:
                try:
                    staged.decide(facts)
                except NeedRows as need:
                    needs.append((staged, need))
                except StartRefused as refused:
                    plan.staged.remove(staged)
                    self._refuse_start(staged, refused, plan)
                except NoetlError:
                    raise
                except Exception as error:
                    group = Group(staged.execution_id, list(staged.works))
                    raise BadDecision("decision", group, error) from error
            if needs:
                await self._loader.provide(
                    [
                        RowRequest(
                            staged.execution_id,
                            staged.entry.execution,
                            need,
                            staged.expected,
                            staged.events,
                        )
                        for staged, need in needs
                    ]
                )
            undecided = [staged for staged, _ in needs]

    def _refuse_start(self, staged: Staged, refused: StartRefused, plan: Plan) -> None:
        """Answer a start that can't be; what came with it waits for a state that won't come."""
        work = staged.works[staged.next_work]
        plan.settled.append((work, Answer(status=refused.status, error=refused.text)))
        others = [other for other in staged.works if other is not work]
        if others:
            plan.postponed.append((Group(staged.execution_id, others), 0.0))

    async def _encode(self, plan: Plan, facts: Facts) -> tuple[list[Encoded], list[Staged]]:
        children = await self._child_cancels.children_to_cancel(plan.staged)
        await self._child_cancels.tell_callers(plan.staged, children)
        shares: list[Encoded] = []
        checks: list[Staged] = []
        for staged in plan.staged:
            if not staged.writes:
                checks.append(staged)
                continue
            try:
                shares.append(
                    self._encoder.encode(
                        staged, now=facts.now, children=children.get(staged.execution_id, ())
                    )
                )
            except (TypeError, ValueError, RecursionError) as error:
                group = Group(staged.execution_id, list(staged.works))
                raise BadDecision("data", group, error) from error
        return shares, checks

    async def _commit(
        self, shares: Sequence[Encoded], checks: Sequence[Staged], facts: Facts
    ) -> Committed:
        stale = [s for s in checks if s.expected and (s.timers_done or not s.is_fresh)]
        fresh = {s.execution_id for s in checks} - {s.execution_id for s in stale}
        began = perf_counter()
        if shares:
            done = await self._store.commit_turn(parameters(shares, stale, now=facts.now))
        elif stale:
            done = await self._store.check_positions(
                {s.execution_id: s.expected for s in stale},
                [timer_id for s in stale for timer_id in s.timers_done],
            )
        else:
            return Committed(frozenset(), frozenset(fresh), {}, facts.now)
        metrics.COMMIT_SECONDS.observe(perf_counter() - began)
        self._clock.set(done.now)
        return Committed(done.kept, done.checked | fresh, done.clashes, done.now)

    # -- after the commit ----------------------------------------------------------------

    async def _after_commit(
        self,
        plan: Plan,
        shares: Sequence[Encoded],
        checks: Sequence[Staged],
        committed: Committed,
    ) -> None:
        kept = [share for share in shares if share.staged.execution_id in committed.kept]
        await self._hints.send(row for share in kept for row in share.hints)
        await self._replicas.tell(
            [(share.staged.execution_id, share.staged.entry.execution.position) for share in kept]
        )
        ended = [share.staged for share in kept if share.staged.has_children_to_cancel]
        if ended:
            await self._cancel_latecomers(ended)
        for share in kept:
            self._keep(share)
            await _answer_all(share.staged)
            if share.staged.left:
                left = Group(share.staged.execution_id, share.staged.left)
                plan.postponed.append((left, 0.0))
        for share in shares:
            if share.staged.execution_id not in committed.kept:
                await self._again(share.staged, committed, plan)
        for staged in checks:
            if staged.execution_id in committed.checked:
                if staged.expected:
                    self._cache.put(staged.execution_id, staged.entry)
                await _answer_all(staged)
            else:
                await self._again(staged, committed, plan)

    async def _cancel_latecomers(self, ended: Sequence[Staged]) -> None:
        """Reach the children that were noted between the look at them and the commit.

        After the commit no more can be noted: the commands that start them are cancelled.
        """
        try:
            children = await self._child_cancels.children_to_cancel(ended)
            messages = [
                row
                for owner, found in children.items()
                for row in self._encoder.cancels(owner, found)
            ]
            added = await self._store.add_messages(messages) if messages else set()
        except NoetlError as error:
            _log.warning("late_children_not_cancelled", error=error.message)
            return
        await self._hints.send(row.hint() for row in messages if row.outbox_id in added)

    def _keep(self, share: Encoded) -> None:
        entry = share.staged.entry
        entry.tail_bytes += share.event_bytes
        if share.snapshot is not None:
            metrics.SNAPSHOTS.inc()
            entry.snapshot_position = entry.execution.position
            entry.snapshot_bytes = len(share.snapshot)
            entry.tail_bytes = 0
        self._cache.put(share.staged.execution_id, entry)
        if share.continue_timer is not None:
            self._dispatcher.submit(
                Work(
                    share.staged.execution_id,
                    Continued(),
                    NobodyWaits(),
                    timer_id=share.continue_timer,
                )
            )

    async def _again(self, staged: Staged, committed: Committed, plan: Plan) -> None:
        """Decide again on fresh state what was left out of the commit (W1)."""
        self._cache.forget(staged.execution_id)
        metrics.CONFLICTS.inc()
        known = {
            event_id: stored
            for (execution_id, event_id), stored in committed.clashes.items()
            if execution_id == staged.execution_id
        }
        answers = dict(staged.answers)
        group = Group(staged.execution_id, [])
        for work in (*staged.works, *staged.left):
            work.attempts += 1
            if known:
                work.stored = {**work.stored, **known}
                if isinstance(work.input, CommandOutcome):
                    work.answer_in_vain = answers.get(work)
            # Whether it is the deadline or another copy of the start, the next look-up tells.
            work.is_overdue = work.deadline is not None and work.deadline <= committed.now
            if work.attempts >= self._conflict_attempts:
                _log.error("given_back", execution_id=work.execution_id, attempts=work.attempts)
                await work.caller.given_back(_LONGEST_PAUSE_SECONDS)
            else:
                group.works.append(work)
        if group.works:
            tries = group.works[0].attempts
            longest = min(_LONGEST_CONFLICT_PAUSE_SECONDS, 0.002 * 2 ** min(tries, 10))
            pause = 0.0 if known else longest * random.uniform(0.25, 1.0)  # noqa: S311 -- jitter
            plan.postponed.append((group, pause))

    async def _is_too_late(self, work: Work, now: datetime) -> bool:
        """Drop a start past its deadline: its sender has been told that nothing was started.

        One that may have been committed before is looked up first: its answer is still true.
        """
        if work.deadline is None or work.deadline > now or work.is_repeated or work.attempts:
            return False
        metrics.STARTS_DROPPED.inc()
        await work.caller.answered(TOO_LATE)
        return True

    # -- what can't be worked on ---------------------------------------------------------

    async def _take_apart(
        self, groups: list[Group], error: Exception, beat: Callable[[], None]
    ) -> list[Postponed]:
        """Repeat a failed batch in smaller pieces until the bad input is alone (W2)."""
        if len(groups) > 1:
            parts = [[group] for group in groups]
            if isinstance(error, BadDecision):
                bad = error.group.execution_id
                rest = [group for group in groups if group.execution_id != bad]
                parts = [rest, [group for group in groups if group.execution_id == bad]]
            postponed: list[Postponed] = []
            for part in parts:
                postponed += await self.run(part, beat)
            return postponed
        (group,) = groups
        if len(group.works) > 1:
            postponed = []
            for work in group.works:
                postponed += await self.run([Group(group.execution_id, [work])], beat)
            return _joined(postponed)
        (work,) = group.works
        if isinstance(error, Conflict):
            work.attempts += 1
            _mark_repeated(groups)
            if work.attempts < self._conflict_attempts:
                return [(group, _FIRST_PAUSE_SECONDS)]
            await work.caller.given_back(_LONGEST_PAUSE_SECONDS)
            return []
        await self._refusals.refuse(work, error)
        return []

    def _forget(self, groups: Iterable[Group]) -> None:
        for group in groups:
            self._cache.forget(group.execution_id)


def _mark_repeated(groups: Iterable[Group]) -> None:
    for group in groups:
        for work in group.works:
            work.is_repeated = True


async def _answer_all(staged: Staged) -> None:
    for work, answer in staged.answers:
        if isinstance(answer.body, dict) and answer.body.get("status") == "late":
            metrics.LATE.labels(answer.body.get("reason", "taken")).inc()
        await work.caller.answered(answer)


def _joined(postponed: list[Postponed]) -> list[Postponed]:
    """Put the pieces of one execution together again: it may be postponed only once."""
    groups: dict[int, Postponed] = {}
    for group, pause in postponed:
        known = groups.get(group.execution_id)
        if known is None:
            groups[group.execution_id] = (group, pause)
        else:
            known[0].works.extend(group.works)
    return list(groups.values())
