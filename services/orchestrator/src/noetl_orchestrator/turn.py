"""The turn: inputs in, decisions of many executions in one commit, answers out."""

import asyncio
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import perf_counter

from noetl_common.errors import Conflict, NoetlError, Permanent
from noetl_common.logging import get_logger
from noetl_contract.events import ExecutionStatus
from noetl_contract.subjects import event_subject
from noetl_engine.errors import StartRefused
from noetl_engine.inputs import Claimed, CommandOutcome, Continued, Facts, Started
from noetl_engine.outputs import Answer, NeedRows
from noetl_engine.playbook import Playbook

from noetl_orchestrator import metrics
from noetl_orchestrator.cache import CachedExecution, ExecutionCache
from noetl_orchestrator.commit import Encoded, Encoder, parameters
from noetl_orchestrator.database_clock import DatabaseClock
from noetl_orchestrator.dispatch import Dispatcher, Postponed
from noetl_orchestrator.hints import Hints
from noetl_orchestrator.loading import Loader
from noetl_orchestrator.playbooks import PlaybookNotUsable, Playbooks
from noetl_orchestrator.replicas import Replicas
from noetl_orchestrator.requests import RequestBook
from noetl_orchestrator.staging import Staged
from noetl_orchestrator.store import Committed, Store
from noetl_orchestrator.work import Group, NobodyWaits, Work

__all__ = ["Turns"]

_log = get_logger()

type MakeFacts = Callable[[], Facts]

_PLAYBOOK_PATIENCE_SECONDS = 0.25
_PLAYBOOK_RETRY_SECONDS = 0.25
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_LONGEST_CONFLICT_PAUSE_SECONDS = 0.25
# The driver quotes the whole argument between these two.
_QUOTED_VALUES = re.compile(r"(invalid input for query argument \$\d+):.*?( \([^()]*\))?$")


_FINISHED_TEXT = "Command already reached terminal state"
_FINISHED = Answer(
    status=409,
    error=_FINISHED_TEXT,
    detail={"code": "already_terminal", "message": _FINISHED_TEXT},
)


class _BadDecision(Exception):
    """Something in these groups can't be decided or written; whose fault it is is unknown."""

    def __init__(self, reason: str, group: Group, error: Exception) -> None:
        super().__init__(reason)
        self.reason = reason
        self.group = group
        self.error = error


@dataclass(slots=True)
class _Plan:
    """What one attempt at a turn has come to."""

    staged: list[Staged] = field(default_factory=list)
    settled: list[tuple[Work, Answer]] = field(default_factory=list)
    postponed: list[Postponed] = field(default_factory=list)


class Turns:
    """Processes groups of inputs. One object serves all turns of a process."""

    def __init__(
        self,
        *,
        store: Store,
        loader: Loader,
        cache: ExecutionCache,
        playbooks: Playbooks,
        requests: RequestBook,
        encoder: Encoder,
        dispatcher: Dispatcher,
        clock: DatabaseClock,
        hints: Hints,
        replicas: Replicas,
        make_facts: MakeFacts,
        shard: int,
        conflict_attempts: int,
    ) -> None:
        self._store = store
        self._loader = loader
        self._cache = cache
        self._playbooks = playbooks
        self._requests = requests
        self._encoder = encoder
        self._dispatcher = dispatcher
        self._clock = clock
        self._hints = hints
        self._replicas = replicas
        self._make_facts = make_facts
        self._shard = shard
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
            except (_BadDecision, Permanent, Conflict) as error:
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
        plan = _Plan()
        await self._stage(groups, plan)
        facts = self._make_facts()
        began = perf_counter()
        await self._decide(plan, facts)
        shares, checks = await self._encode(plan, facts)
        metrics.DECIDE_SECONDS.observe(perf_counter() - began)
        committed = await self._commit(shares, checks, facts)
        await self._after_commit(plan, shares, checks, committed)
        for work, answer in plan.settled:
            await work.caller.answered(answer)
        return plan.postponed

    async def _stage(self, groups: list[Group], plan: _Plan) -> None:
        """Find state and playbook of each group; what has neither is settled or postponed."""
        groups = await self._requests.without_repetitions(groups, plan.settled)
        entries, missing = await self._known(groups)
        loaded = await self._loader.load(missing) if missing else {}
        entries |= loaded
        pending: list[tuple[Group, CachedExecution]] = []
        for group in groups:
            entry = entries.get(group.execution_id) or self._begin(group)
            if entry is None:
                plan.settled += [(work, _unknown(work)) for work in group.works]
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
                plan.staged.append(_staged(group, entry, playbook, is_fresh=is_loaded))

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
            if isinstance(work.input, Started):
                return self._loader.new(
                    group.execution_id,
                    catalog_id=work.input.catalog_id,
                    parent=work.input.parent_execution_id,
                )
        return None

    def _without_playbook(
        self, group: Group, entry: CachedExecution, why: PlaybookNotUsable, plan: _Plan
    ) -> None:
        if entry.execution.position == 0:
            answer = Answer(status=why.http_status, error=why.message)
            plan.settled += [(work, answer) for work in group.works]
            return
        if entry.execution.status is not ExecutionStatus.RUNNING and all(
            isinstance(work.input, Claimed) for work in group.works
        ):
            plan.settled += [(work, _FINISHED) for work in group.works]
            return
        # A running execution without its playbook can't go on (F11).
        raise _BadDecision("decision", group, why)

    async def _decide(self, plan: _Plan, facts: Facts) -> None:
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
                    raise _BadDecision("decision", group, error) from error
            if needs:
                await self._loader.provide(needs)
            undecided = [staged for staged, _ in needs]

    def _refuse_start(self, staged: Staged, refused: StartRefused, plan: _Plan) -> None:
        """Answer a start that can't be; what came with it waits for a state that won't come."""
        work = staged.works[staged.next_work]
        plan.settled.append((work, Answer(status=refused.status, error=refused.text)))
        others = [other for other in staged.works if other is not work]
        if others:
            plan.postponed.append((Group(staged.execution_id, others), 0.0))

    async def _encode(self, plan: _Plan, facts: Facts) -> tuple[list[Encoded], list[Staged]]:
        cascading = [s.execution_id for s in plan.staged if s.cancelled_with_children]
        children = await self._requests.children(plan.staged, cascading) if cascading else {}
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
                raise _BadDecision("data", group, error) from error
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
        plan: _Plan,
        shares: Sequence[Encoded],
        checks: Sequence[Staged],
        committed: Committed,
    ) -> None:
        kept = [share for share in shares if share.staged.execution_id in committed.kept]
        await self._hints.send(row for share in kept for row in share.hints)
        await self._replicas.tell(
            [(share.staged.execution_id, share.staged.entry.execution.position) for share in kept]
        )
        for share in kept:
            self._keep(share)
            await _answer_all(share.staged)
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

    async def _again(self, staged: Staged, committed: Committed, plan: _Plan) -> None:
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
        for work in staged.works:
            work.attempts += 1
            if known:
                work.stored = {**work.stored, **known}
                if isinstance(work.input, CommandOutcome):
                    work.answer_in_vain = answers.get(work)
            if staged.start is not None and await self._is_too_late(work, committed.now):
                continue
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

        One that may have been committed before is not dropped: its answer is still true.
        """
        if work.deadline is None or work.deadline > now or work.is_repeated:
            return False
        metrics.STARTS_DROPPED.inc()
        await work.caller.answered(
            Answer(status=503, error="The start came too late; nothing was started")
        )
        return True

    # -- what can't be worked on ---------------------------------------------------------

    async def _take_apart(
        self, groups: list[Group], error: Exception, beat: Callable[[], None]
    ) -> list[Postponed]:
        """Repeat a failed batch in smaller pieces until the bad input is alone (W2)."""
        if len(groups) > 1:
            parts = [[group] for group in groups]
            if isinstance(error, _BadDecision):
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
        await self._bury(work, error)
        return []

    async def _bury(self, work: Work, error: Exception) -> None:
        """Refuse a bad input, and end its execution by a path that needs no fold."""
        is_data = not isinstance(error, _BadDecision) or error.reason == "data"
        cause = error.error if isinstance(error, _BadDecision) else error
        kind = "data" if is_data else "decision"
        metrics.DEAD_LETTERS.labels(kind).inc()
        what = type(work.input).__name__
        _log.error(
            "input_refused",
            execution_id=work.execution_id,
            input=what,
            kind=kind,
            error=_brief(cause),
            # Where a decision broke is ours to find out; data errors are in the data.
            exc_info=None if is_data else cause,
        )
        text = f"{what} could not be {'stored' if is_data else 'decided'}: {_brief(cause)}"
        is_claim = isinstance(work.input, Claimed)
        # A claim that can't be stored is the claimer's fault alone.
        if not isinstance(work.input, Started) and not (is_claim and is_data):
            await self._fail_execution(work.execution_id, text, kind)
        if is_claim and not is_data:
            await work.caller.answered(_FINISHED)
            return
        status = 422 if is_data else 500
        await work.caller.refused(text, Answer(status=status, error=text))

    async def _fail_execution(self, execution_id: int, error: str, kind: str) -> None:
        new_id = self._encoder.new_id
        position = await self._store.fail_execution(
            execution_id,
            event_id=new_id(),
            error=error,
            reason=f"{kind}_error",
            outbox_id=new_id(),
            subject=event_subject(execution_id, shard=self._shard),
        )
        self._cache.forget(execution_id)
        if position is not None:
            metrics.EXECUTIONS_FAILED.inc()
            _log.error("execution_failed_unfolded", execution_id=execution_id, error=error)

    def _forget(self, groups: Iterable[Group]) -> None:
        for group in groups:
            self._cache.forget(group.execution_id)


def _staged(group: Group, entry: CachedExecution, playbook: Playbook, *, is_fresh: bool) -> Staged:
    return Staged(group.execution_id, entry, playbook, list(group.works), is_fresh)


def _mark_repeated(groups: Iterable[Group]) -> None:
    for group in groups:
        for work in group.works:
            work.is_repeated = True


def _is_surely_new(group: Group) -> bool:
    """Whether a group begins with a start seen for the first time: there is nothing to load."""
    first = group.works[0]
    return isinstance(first.input, Started) and not first.is_repeated and not first.attempts


def _unknown(work: Work) -> Answer:
    if isinstance(work.input, Claimed):
        # The real worker would be given a 404 again and again (operations F15).
        return _FINISHED
    return Answer(status=404, error=f"Execution not found: {work.execution_id}")


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


def _brief(error: BaseException) -> str:
    """Describe an error for its sender and the log: one line, without the values it quotes."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return _QUOTED_VALUES.sub(r"\1\2", text)[:300]
