"""Start the executions of firings idempotently: under the same id and key each time."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from itertools import product

from noetl_common import metrics
from noetl_common.ids import SnowflakeIds, mint_on_shard_of
from noetl_contract.ingress import CancelMessage, ExecuteMessage
from noetl_engine.schedule.model import Overlap
from noetl_engine.schedule.payload import PayloadError, render_payload

from noetl_catalog.schedules.rows import Firing, Origin, ScheduleRow, State
from noetl_catalog.schedules.starts import Starts
from noetl_catalog.schedules.store import Clock, Playbook, ScheduleStore, Settled

FIRINGS = metrics.counter(
    "noetl_schedule_firings_total",
    "Times of schedules that were decided about, by what was decided and by whom: clock or "
    "backfill.",
    ["state", "origin"],
    zeros=product(("started", "queued", "skipped", "missed", "failed"), ("clock", "backfill")),
)
LATENESS = metrics.histogram(
    "noetl_schedule_lateness_seconds",
    "From the due time of a firing to the answer to its start.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0),
)
_KEY_SECONDS = 10 * 365 * 86400
_CANCELLED = "CANCELLED"


class Launcher:
    """Turns firings into executions."""

    def __init__(
        self, store: ScheduleStore, starts: Starts, *, ids: SnowflakeIds, clock: Clock, shards: int
    ) -> None:
        self._store = store
        self._starts = starts
        self._ids = ids
        self._clock = clock
        self._shards = shards

    def mint(self, row: ScheduleRow, moment: datetime) -> int:
        """Mint the id of a firing's execution, on the shard of its request key.

        Raises:
            NotMinting: the lease or the clock is in doubt.
        """
        home = f"dedup:0:{row.key_of(moment)}"
        return mint_on_shard_of(self._ids, home, shard_count=self._shards)

    async def launch(self, wanted: Sequence[tuple[ScheduleRow, Firing]]) -> list[Settled]:
        """Send starts, and return the outcomes of those that were answered."""
        if not wanted:
            return []
        playbooks = await self._store.resolve_playbooks({_playbook_of(row) for row, _ in wanted})
        sent = (self._launched(row, one, playbooks.get(_playbook_of(row))) for row, one in wanted)
        settled = [one for one in await asyncio.gather(*sent) if one is not None]
        for one in settled:
            FIRINGS.labels(one.state, one.firing.origin).inc()
        return settled

    async def cancel(self, firing: Firing, *, reason: str) -> Settled | None:
        """Cancel the execution of a firing; None when it is not known whether it has ended."""
        message = CancelMessage(
            execution_id=firing.execution_id or 0, reason=reason, cascade=True, actor="schedule"
        )
        reply = await self._starts.send(message)
        if reply is None or reply.status >= 500:
            return None
        # Refused when the execution has ended already: its own end is the outcome then, unread.
        outcome = _CANCELLED if reply.status == 200 else None
        return Settled(firing, State.STARTED, outcome=outcome)

    async def _launched(
        self, row: ScheduleRow, firing: Firing, playbook: Playbook | None
    ) -> Settled | None:
        if playbook is None:
            path, version = _playbook_of(row)
            name = path if version is None else f"{path} version {version}"
            return Settled(firing, State.FAILED, reason=f"Playbook not found: {name}")
        try:
            message = _message(row, firing, playbook)
        except PayloadError as error:
            return Settled(firing, State.FAILED, reason=str(error))
        reply = await self._starts.send(message)
        if reply is None or reply.status >= 500:
            return None
        if not reply.is_good:
            return Settled(firing, State.FAILED, reason=reply.error or f"status {reply.status}")
        try:
            execution_id = int(reply.body["execution_id"])
        except (ValueError, TypeError, KeyError):
            reason = "the answer names no execution"
            return Settled(firing, State.FAILED, reason=reason)
        now = await self._clock()
        if firing.origin is Origin.CLOCK:
            LATENESS.observe(max(0.0, (now - firing.due_at).total_seconds()))
        return Settled(
            firing,
            State.STARTED,
            execution_id=execution_id,
            started_at=now,
            is_awaited=(
                firing.origin is Origin.CLOCK and row.schedule.overlap is not Overlap.ALLOW
            ),
        )


def _playbook_of(row: ScheduleRow) -> tuple[str, int | None]:
    return row.schedule.playbook, row.schedule.version


def _message(row: ScheduleRow, firing: Firing, playbook: Playbook) -> ExecuteMessage:
    """Return the start of a firing.

    Raises:
        PayloadError: its payload can't be made.
    """
    moment = firing.scheduled_at
    return ExecuteMessage(
        execution_id=firing.execution_id or 0,
        catalog_id=playbook.catalog_id,
        path=playbook.path,
        version=playbook.version,
        payload=render_payload(row.schedule, row.times, path=row.path, moment=moment),
        dedup_key=row.key_of(moment),
        dedup_window_seconds=_KEY_SECONDS,
        owner=row.owner,
        actor=row.owner,
        namespace=row.namespace,
    )
