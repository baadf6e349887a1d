"""Schedules on a real database and broker, with a clock that tests move on."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from noetl_bus.broker import Bus, connect
from noetl_bus.rpc import RpcClient
from noetl_catalog.entries.parsers import Parsers
from noetl_catalog.entries.register_handlers import RegisterHandlers
from noetl_catalog.entries.store import EntryStore
from noetl_catalog.libraries import Resolver, ResolveSettings
from noetl_catalog.schedules import launch
from noetl_catalog.schedules.parts import Schedules, make_schedules
from noetl_catalog.schedules.rows import ScheduleRow
from noetl_catalog.settings import Settings
from noetl_common.ids import SnowflakeIds
from noetl_contract.access.principal import Principal
from noetl_contract.http.catalog.entries import RegisterAnswer
from noetl_contract.http.catalog.schedules import FiringBody
from noetl_contract.json import Json
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import RegisterDocument
from noetl_contract.rpc.schedules import HistoryRequest
from noetl_pg.database import Database
from noetl_pg.pool import Pool
from noetl_testkit.postgres import Database as TestDatabase
from noetl_testkit.waiting import PATIENCE_SECONDS

from services.catalog.tests.schedules.shard import Shard, open_shard
from services.catalog.tests.world import make_settings

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: work, path: demo/work}
workflow:
- step: start
  tool: {kind: noop}
"""


@dataclass
class Desk:
    """Schedules of one replica, and what tests do with them."""

    pool: Pool
    bus: Bus
    shard: Shard
    settings: Settings
    now: datetime
    replicas: int = 0
    _reader: Schedules | None = None

    async def clock(self) -> datetime:
        """The time, which stands still."""
        return self.now

    def replica(self, **changes: Json) -> Schedules:
        """Another replica of the service's part."""
        self.replicas += 1
        return make_schedules(
            Database(self.pool),
            self.bus,
            RpcClient(self.bus),
            ids=SnowflakeIds(self.replicas),
            shards=1,
            settings=self.settings.model_copy(update=changes),
            clock=self.clock,
        )

    @property
    def reader(self) -> Schedules:
        """A replica that is only asked; machine ids are few, and conditions are asked often."""
        self._reader = self._reader or self.replica()
        return self._reader

    async def register(
        self, *lines: str, path: str = "demo/timer", who: Principal | None = None
    ) -> RegisterAnswer | Refusal:
        """Register a schedule of `demo/work`, which the lines describe."""
        spec = "".join(f"  {line}\n" for line in lines)
        head = f"kind: Schedule\nmetadata: {{path: {path}}}\nspec:\n  playbook: demo/work\n"
        payload = "  payload: {at: '{{ scheduled_at }}'}\n"
        return await self.keep(f"{head}{payload}{spec}", who=who)

    async def keep(self, text: str, who: Principal | None = None) -> RegisterAnswer | Refusal:
        """Register a document."""
        schedules = self.replica()
        handlers = RegisterHandlers(
            EntryStore(Database(self.pool)),
            settings=self.settings,
            ids=SnowflakeIds(900 + self.replicas),
            parsers=Parsers(self.settings),
            schedules=schedules.store,
            resolver=Resolver(ResolveSettings()),
            changed=schedules.hints.notify,
        )
        return await handlers.on_register(RegisterDocument(content=text, principal=who))

    async def id_of(self, path: str = "demo/timer") -> int:
        """The id of a path's schedule."""
        return (await self.row(path)).schedule_id

    async def row(self, path: str = "demo/timer") -> ScheduleRow:
        """The row of a path's schedule."""
        (found,) = await self.reader.store.list_schedules(
            path=path, stems=None, limit=2, after=None
        )
        return found

    def entries(self) -> EntryStore:
        """The documents."""
        return EntryStore(Database(self.pool))

    async def look(
        self, *, seconds: float = 0, times: int = 1, by: Schedules | None = None
    ) -> None:
        """Move the clock on, then look for due schedules the given number of times."""
        self.now += timedelta(seconds=seconds)
        replica = by or self.replica()
        for _ in range(times):
            await replica.firings.fire_due()

    async def history(self, path: str = "demo/timer") -> list[FiringBody]:
        """Return the firings of a schedule, oldest first."""
        answer = await self.reader.answers.on_history(
            HistoryRequest(schedule_id=await self.id_of(path), limit=1000)
        )
        assert not isinstance(answer, Refusal)
        return answer.firings[::-1]

    async def states(self, path: str = "demo/timer") -> list[str]:
        """The states of times, oldest first."""
        return [one.state for one in await self.history(path)]


@pytest.fixture
async def desk(
    pool: Pool, database: TestDatabase, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    """A registered playbook, and a clock at a full minute later than that of the database.

    Answers are waited for, however slow they are; tests that lose some say for how long.
    """
    monkeypatch.setattr(launch, "_COPY_AFTER_SECONDS", PATIENCE_SECONDS)
    settings = make_settings(database, nats_url=nats_url, schedule_start_seconds=PATIENCE_SECONDS)
    now = datetime(2031, 1, 1, 12, 0, tzinfo=UTC)
    async with connect(settings, name="desk") as bus, open_shard(bus) as shard:
        made = Desk(pool, bus, shard, settings, now)
        assert isinstance(await made.keep(PLAYBOOK), RegisterAnswer)
        yield made
