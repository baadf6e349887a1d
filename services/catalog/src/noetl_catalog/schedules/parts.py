"""Build the store, the firing loop and the handlers of schedules."""

from dataclasses import dataclass

from noetl_bus.broker import Bus
from noetl_bus.rpc import Handler, RpcClient
from noetl_common.ids import SnowflakeIds
from noetl_pg.database import Database
from noetl_service.service import Service

from noetl_catalog.schedules.backfill import Backfills
from noetl_catalog.schedules.firing import Firings
from noetl_catalog.schedules.handlers import ScheduleHandlers, ScheduleHints
from noetl_catalog.schedules.launch import ExecutionStates, Launcher, Starts
from noetl_catalog.schedules.settings import ScheduleSettings
from noetl_catalog.schedules.store import Clock, ScheduleStore

_PURGED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Schedules:
    """The store, firing loop, notifications and handlers of schedules."""

    store: ScheduleStore
    firings: Firings
    hints: ScheduleHints
    answers: ScheduleHandlers
    settings: ScheduleSettings

    @property
    def handlers(self) -> list[Handler]:
        """Handlers of the operations."""
        return self.answers.handlers()

    async def join(self, service: Service) -> None:
        """Start the loop that fires schedules, if it is enabled."""
        if self.settings.schedules_enabled:
            await self.hints.listen(self.firings.wake)
            service.spawn("schedules", self.firings.run())

    async def delete_old(self) -> None:
        """Delete firings after their retention.

        Raises:
            NoetlError: the database doesn't answer.
        """
        days = self.settings.schedule_history_days
        if days:
            await self.store.delete_old_firings(days=days, limit=_PURGED_AT_ONCE)


def make_schedules(
    database: Database,
    bus: Bus,
    rpc: RpcClient,
    *,
    ids: SnowflakeIds,
    shards: int,
    settings: ScheduleSettings,
    clock: Clock | None = None,
    service: Service | None = None,
) -> Schedules:
    """Build the parts; ``clock`` replaces the database's clock."""
    store = ScheduleStore(database, clock=clock)
    states = ExecutionStates(rpc, shard_count=shards)
    starts = Starts(
        bus,
        shard_count=shards,
        at_once=settings.schedule_starts_at_once,
        seconds=settings.schedule_start_seconds,
        is_direct=settings.writes_are_direct,
    )
    launcher = Launcher(store, starts, ids=ids, clock=store.now, shards=shards)
    firings = Firings(
        store,
        launcher,
        states=states,
        clock=store.now,
        settings=settings,
        on_progress=(lambda: None) if service is None else service.beater("schedules"),
    )
    hints = ScheduleHints(bus)
    answers = ScheduleHandlers(
        store,
        Backfills(store, launcher, states=states),
        states=states,
        hints=hints,
        clock=store.now,
    )
    return Schedules(store, firings, hints, answers, settings)
