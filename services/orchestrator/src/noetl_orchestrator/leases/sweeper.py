"""The sweep over held and unclaimed commands (L1-L5, O3).

The sweep ends no hold: it puts the notification of an orphaned command back into the outbox, and
the hold changes only with the next granted claim. Any replica may sweep; rows are leased with
SKIP LOCKED and come up again later.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_engine.decide.finish import NOT_EXHAUSTED
from noetl_engine.inputs import CommandExhausted, Facts, ResultRecorded, WorkerSeen
from noetl_engine.lease import NEVER_BEGAN, gone_reason
from noetl_engine.outputs import Answer

from noetl_orchestrator import metrics
from noetl_orchestrator.catalog.pauses import Pauses
from noetl_orchestrator.leases.broker import BrokerView
from noetl_orchestrator.leases.worker_liveness import WorkerLiveness
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import HeldCommand, Publication
from noetl_orchestrator.publishing.publisher import Repetitions
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.dispatch import Dispatcher
from noetl_orchestrator.turn.inputs import Caller, TurnInput

_log = get_logger()
_MOST_NAMED = 20

type _Seen = tuple[datetime, datetime | None, bool]


class _Counting(Caller):
    """Requeues a command that has attempts left."""

    def __init__(
        self,
        command: HeldCommand,
        announce: Callable[[Sequence[HeldCommand]], Awaitable[None]],
    ) -> None:
        self._command = command
        self._announce = announce

    async def answered(self, answer: Answer) -> None:
        """Requeue the command, if the decision has left it open."""
        if answer.body != NOT_EXHAUSTED:
            return
        try:
            await self._announce([self._command])
        except NoetlError as error:
            # The turn is committed, whatever happens here; the next sweep looks again.
            _log.warning("announcement_failed", error=error.message)


class Sweeper:
    """Look for orphaned and unclaimed commands of a shard."""

    def __init__(
        self,
        *,
        store: Store,
        repetitions: Repetitions,
        dispatcher: Dispatcher,
        liveness: WorkerLiveness,
        pauses: Pauses,
        broker: BrokerView,
        make_facts: Callable[[], Facts],
        settings: Settings,
    ) -> None:
        self._store = store
        self._repetitions = repetitions
        self._dispatcher = dispatcher
        self._liveness = liveness
        self._pauses = pauses
        self._broker = broker
        self._make_facts = make_facts
        self._settings = settings
        self._looked_at: tuple[list[str], list[str]] = ([], [])
        self._last_seen: dict[str, _Seen] = {}

    def has_news(self) -> bool:
        """Return whether a worker registered again, left or fell silent since the last look."""
        workers = self._liveness.workers
        return workers is not None and bool(self._changed(self._news(workers, self._make_facts())))

    async def sweep(self) -> bool:
        """Requeue commands whose worker is gone, among those with an expired lease or news of it.

        A command whose result is in the log ends from it, even if its worker is gone. Return False
        if no worker may be judged now.
        """
        age = await self._broker.oldest_ingress_seconds()
        if age is None or age > self._settings.ingress_backlog_seconds:
            # A sign of life may be among the waiting messages (L3).
            metrics.LEASES_NOT_JUDGED.labels("backlog").inc()
            return False
        workers = self._liveness.workers
        if workers is None:
            metrics.LEASES_NOT_JUDGED.labels("heartbeats").inc()
        facts = self._make_facts()
        suspicious = None if workers is None else self._suspicious(workers, facts)
        if workers and suspicious:
            await self._release_handed([(name, workers[name]) for name in suspicious])
        due = await self._store.take_expired_leases(
            next_look_seconds=self._settings.command_claim_lease_seconds,
            workers=suspicious,
            limit=self._settings.lease_sweep_limit,
        )
        for command in due:
            if command.has_result:
                metrics.ENDED_BY_RESULT.inc()
                ended = ResultRecorded(command.event_id, command.attempts)
                self._dispatcher.submit(TurnInput(command.execution_id, ended, Caller()))
        orphans = [one for one in due if not one.has_result and self._is_orphan(one, facts)]
        # Runs that were given back are among the holds: the decision distinguishes them.
        most = facts.limits.max_attempts
        exhausted = [one for one in orphans if one.holds >= most or not _is_repeatable(one)]
        for command in exhausted:
            message = CommandExhausted(command.event_id, command.attempts)
            caller = _Counting(command, self._announce)
            self._dispatcher.submit(TurnInput(command.execution_id, message, caller))
        await self._announce([one for one in orphans if one not in exhausted])
        return True

    async def _release_handed(self, workers: Sequence[tuple[str, WorkerSeen]]) -> None:
        """Publish commands that were dispatched with answers to processes that are gone (W25)."""
        gone = [
            (name, None, seen.deregistered_at)
            if seen.deregistered_at is not None
            else (name, seen.instance, seen.process_since)
            for name, seen in workers
            if seen.deregistered_at is not None or seen.instance is not None
        ]
        if not gone:
            return
        handed = await self._store.find_handed_to(
            gone, recent_seconds=self._settings.fast_path_seconds
        )
        metrics.HANDED_RELEASED.inc(await self._repetitions.send(handed))

    async def _announce(self, commands: Sequence[HeldCommand]) -> None:
        """Requeue commands, except paused ones, which are checked again after another lease."""
        await self._repetitions.send([one for one in commands if not self._is_withheld(one)])

    def _suspicious(self, workers: Mapping[str, WorkerSeen], facts: Facts) -> list[str]:
        """Return workers that registered again, left or fell silent since the last look (L4)."""
        news = self._news(workers, facts)
        changed = self._changed(news)
        self._last_seen = news
        return changed

    def _news(self, workers: Mapping[str, WorkerSeen], facts: Facts) -> dict[str, _Seen]:
        stale = timedelta(seconds=facts.limits.heartbeat_stale_seconds)
        return {
            name: (seen.process_since, seen.deregistered_at, facts.now - _last_heard(seen) > stale)
            for name, seen in workers.items()
        }

    def _changed(self, news: Mapping[str, _Seen]) -> list[str]:
        return [name for name, state in news.items() if self._last_seen.get(name) != state]

    def _is_orphan(self, command: HeldCommand, facts: Facts) -> bool:
        if command.claimed_at is None:
            return False
        timeout = command.meta.get("timeout_seconds")
        reason = gone_reason(
            facts,
            worker_id=command.worker_id,
            instance=command.instance,
            claimed_at=command.claimed_at,
            started_at=command.started_at,
            # Only turns change this column, when a message of the run arrives.
            heard_at=command.updated_at,
            timeout_seconds=timeout if isinstance(timeout, int | float) else None,
        )
        if reason is None:
            return False
        if reason == NEVER_BEGAN and command.notifications:
            return True  # it waits for a worker, which is notified once
        metrics.RECLAIMED.labels(reason).inc()
        _log.warning(
            "command_orphaned",
            execution_id=command.execution_id,
            event_id=command.event_id,
            worker_id=command.worker_id,
            holds=command.holds,
            reason=reason,
        )
        return True

    async def sweep_unclaimed(self) -> None:
        """Publish commands that are unclaimed for too long, or were dispatched and not reported."""
        stranded = await self._store.take_unclaimed(
            pause_seconds=self._settings.pending_retry_seconds,
            longest_pause_seconds=self._settings.pending_retry_max_seconds,
            limit=self._settings.lease_sweep_limit,
            handed_seconds=self._settings.fast_path_seconds,
        )
        stranded = [one for one in stranded if not self._is_withheld(one)]
        if not stranded:
            return
        lost, _ = await self._no_longer_waiting([one for one in stranded if not one.was_handed])
        if lost:
            metrics.COMMANDS_STRANDED.inc(len(lost))
            ids = [one.execution_id for one in lost[:_MOST_NAMED]]
            _log.warning("commands_stranded", count=len(lost), execution_ids=ids)
        handed = [one for one in stranded if one.was_handed]
        metrics.HANDED_RELEASED.inc(len(handed))
        await self._repetitions.send([*lost, *handed])

    def _is_withheld(self, command: HeldCommand) -> bool:
        return self._pauses.withholds(path=command.path or "", pool=command.pool)

    async def hand_out(self) -> None:
        """Send the notifications of commands whose path or pool is no longer paused."""
        lifted = self._pauses.take_lifted()
        # Twice: a turn may have withheld something while the first look was taken.
        paths, pools = (now + before for now, before in zip(lifted, self._looked_at, strict=True))
        self._looked_at = lifted
        if not paths and not pools:
            return
        until = self._make_facts().now
        limit = self._settings.lease_sweep_limit
        is_done = False
        try:
            unknown = 0
            while True:
                found = await self._store.take_withheld(paths, pools, until=until, limit=limit)
                ready = [one for one in found if not self._is_withheld(one)]
                if ready:
                    lost, uncertain = await self._no_longer_waiting(ready)
                    await self._repetitions.send(lost)
                    unknown += len(uncertain)
                if len(found) < limit:
                    break
            is_done = not unknown
        finally:
            if not is_done:
                self._pauses.give_back(paths, pools)
                self._looked_at = ([], [])

    async def _no_longer_waiting(
        self, commands: Sequence[HeldCommand]
    ) -> tuple[list[HeldCommand], list[HeldCommand]]:
        """Leave out commands that wait in the outbox, or in the stream for a worker.

        The second list has those for which the broker didn't answer: sent again, they might be
        there twice.
        """
        published = await self._store.find_published(
            [(command.execution_id, command.event_id) for command in commands]
        )
        progress: dict[str, tuple[datetime, int] | None] = {}
        for pool in sorted({command.pool for command in commands}):
            try:
                progress[pool] = await self._broker.delivered_up_to(pool)
            except NoetlError as error:
                _log.warning("pool_not_known", pool=pool, error=error.message)
        lost: list[HeldCommand] = []
        unknown: list[HeldCommand] = []
        for command in commands:
            row = published.get((command.execution_id, command.event_id))
            if row is None:
                lost.append(command)
            elif row.status != "PUBLISHED":
                continue
            elif command.pool not in progress:
                unknown.append(command)
            elif not _waits_behind(row, progress[command.pool]):
                lost.append(command)
        return lost, unknown


def _waits_behind(row: Publication, reached: tuple[datetime, int] | None) -> bool:
    """Return whether a published command has not been delivered to its pool yet."""
    return (
        reached is not None
        and row.stream_sequence is not None
        and row.stream_created_at == reached[0]
        and row.stream_sequence > reached[1]
    )


def _is_repeatable(command: HeldCommand) -> bool:
    return command.meta.get("repeatable") is not False


def _last_heard(seen: WorkerSeen) -> datetime:
    if seen.heard_since is None:
        return seen.heartbeat_at
    return max(seen.heartbeat_at, seen.heard_since)
