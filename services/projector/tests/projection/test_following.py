"""Background loops: moved rows are acknowledged, sweeps overlap (P1, P2)."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from noetl_bus.broker import Bus, connect
from noetl_bus.consumers.pull import run_pull
from noetl_bus.topology import ensure_topology
from noetl_contract.streams import COMMITS, projector_durable
from noetl_contract.subjects import commit_subject
from noetl_pg.database import Database
from noetl_pg.errors import DatabaseUnavailable
from noetl_projector.projection.follower import Follower
from noetl_projector.projection.store import ProjectionStore
from noetl_projector.projection.sweep import run_sweep
from noetl_testkit.bus import running
from noetl_testkit.postgres import Database as DatabaseAddress
from noetl_testkit.waiting import eventually

from services.projector.tests.conftest import AddLog, Pool, make_settings

DURABLE = projector_durable(0)
STARTED = {"event_type": "playbook_started"}
ENDED = {"event_type": "playbook.completed", "node": "playbook"}


@pytest.fixture
async def bus(database: DatabaseAddress, nats_url: str) -> AsyncIterator[Bus]:
    async with connect(make_settings(database, nats_url=nats_url), name="test") as opened:
        await ensure_topology(opened, (COMMITS,), (DURABLE,))
        yield opened


class AwayStore(ProjectionStore):
    """A store whose database is unavailable until the test sets `back`."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.tries = 0
        self.back = asyncio.Event()

    async def move_executions(self, execution_ids: Sequence[int]) -> int:
        self.tries += 1
        if not self.back.is_set():
            raise DatabaseUnavailable(reason="away")
        return await super().move_executions(execution_ids)


async def status_of(pool: Pool, execution_id: int) -> str | None:
    status: str | None = await pool.fetchval(
        "SELECT status FROM noetl.execution WHERE execution_id = $1", execution_id
    )
    return status


async def unacknowledged(bus: Bus) -> int:
    info = await bus.js.consumer_info(COMMITS.name, DURABLE.name)
    return int(info.num_pending + info.num_ack_pending)


async def test_p1_a_message_is_acknowledged_when_its_row_was_moved_and_not_before(
    database: DatabaseAddress, db: Database, pool: Pool, bus: Bus, add_log: AddLog
) -> None:
    """F16: messages without an acknowledgement come again, and an outage is waited out."""
    store = AwayStore(db)
    projection = Follower(store, settings=make_settings(database))
    await add_log(1, [STARTED])
    await bus.publish(commit_subject(1, shard=0), b"not even read", message_id="l:1:1")
    async with running(run_pull(bus, DURABLE, projection.on_messages, batch=10)):
        await eventually(lambda: store.tries >= 2)
        held = await unacknowledged(bus)
        again = (await bus.js.consumer_info(COMMITS.name, DURABLE.name)).num_redelivered
        store.back.set()

        async def is_done() -> bool:
            return await unacknowledged(bus) == 0

        await eventually(is_done)

    assert (held, again) == (1, 0)
    assert await status_of(pool, 1) == "RUNNING"


async def test_p2_each_look_reaches_back_behind_the_one_before(
    database: DatabaseAddress, pool: Pool, store: ProjectionStore, add_log: AddLog
) -> None:
    """An end may be committed under a time before a look that did not see it yet."""
    settings = make_settings(database, sweep_interval_seconds=0.05, sweep_first_reach_seconds=3600)
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1

    await add_log(1, [STARTED, ENDED], status="COMPLETED")
    async with running(run_sweep(store, settings=settings, on_progress=look)):
        await eventually(lambda: looks >= 3)
        first = await status_of(pool, 1)
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("LOCK TABLE noetl.execution_state IN ACCESS EXCLUSIVE MODE")
            await connection.execute(
                "INSERT INTO noetl.execution_state (execution_id, catalog_id, path, version,"
                " status, position, ended_at) VALUES (2, 5, 'p', 1, 'FAILED', 1,"
                " clock_timestamp() - $1::interval)",
                timedelta(seconds=30),
            )
            await connection.execute(
                "INSERT INTO noetl.event (execution_id, catalog_id, event_id, position, event_type)"
                " VALUES (2, 5, 1, 1, 'playbook.failed')"
            )

        async def is_found() -> bool:
            return await status_of(pool, 2) == "FAILED"

        await eventually(is_found)

    assert first == "COMPLETED"
