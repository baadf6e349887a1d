"""Numbers of the dashboard come from the projection."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from noetl_common.bus.broker import connect
from noetl_common.bus.rpc import RpcClient, serve_rpc
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import rpc_subject
from noetl_projector.dashboard.handlers import DashboardHandlers
from noetl_projector.dashboard.store import DashboardStore
from noetl_projector.projection.store import ProjectionStore
from noetl_testkit.postgres import Database

from services.projector.tests.conftest import make_settings

type Pool = asyncpg.Pool[asyncpg.Record]
type AddLog = Callable[..., Awaitable[None]]
type Ask = Callable[..., Awaitable[RpcReply]]

STARTED = {"event_type": "playbook_started"}
ENDED = {"event_type": "playbook.completed"}


@pytest.fixture
async def ask(database: Database, nats_url: str, pool: Pool) -> AsyncIterator[Ask]:
    settings = make_settings(database, nats_url=nats_url)
    routes = DashboardHandlers(DashboardStore(pool), settings=settings).routes()
    async with connect(settings, name="test") as bus, serve_rpc(bus, routes, queue="test"):
        client = RpcClient(bus)

        async def ask_dashboard(operation: str) -> RpcReply:
            subject = rpc_subject("projector", operation, shard=0)
            return await client.call(subject, {}, timeout=10)

        yield ask_dashboard


async def test_empty_system_has_no_numbers(ask: Ask) -> None:
    assert (await ask("dashboard.counters")).body == {}
    assert (await ask("dashboard.widgets")).body == {"days": {}, "recent": []}


async def test_numbers_follow_the_logs(ask: Ask, store: ProjectionStore, add_log: AddLog) -> None:
    await add_log(1, [STARTED])
    await add_log(2, [STARTED, ENDED], status="COMPLETED")
    await add_log(3, [STARTED, ENDED], status="FAILED", path="tests/y")
    await store.move_executions([1, 2, 3])
    await store.move_executions([1, 2, 3])
    before = (await ask("dashboard.counters")).body
    await add_log(1, [STARTED, ENDED], status="COMPLETED")
    await store.move_executions([1])
    after = (await ask("dashboard.counters")).body
    widgets = (await ask("dashboard.widgets")).body

    assert before == {"RUNNING": 1, "COMPLETED": 1, "FAILED": 1}
    assert {name: count for name, count in after.items() if count} == {"COMPLETED": 2, "FAILED": 1}
    assert list(widgets["days"].values()) == [3]
    assert [one["execution_id"] for one in widgets["recent"]] == [3, 2, 1]
    assert widgets["recent"][0] | {"started_at": ""} == {
        "execution_id": 3,
        "path": "tests/y",
        "status": "FAILED",
        "started_at": "",
    }


async def test_days_are_those_of_the_start_and_the_last_seven(
    ask: Ask, store: ProjectionStore, add_log: AddLog, pool: Pool
) -> None:
    today = datetime.now(UTC)
    for number, days in enumerate([0, 6, 6, 7, 400], 1):
        await add_log(number, [STARTED])
        await pool.execute(
            "UPDATE noetl.execution_state SET started_at = $2 WHERE execution_id = $1",
            number,
            today - timedelta(days=days),
        )
    await store.move_executions([1, 2, 3, 4, 5])

    days = (await ask("dashboard.widgets")).body["days"]

    assert days == {
        (today - timedelta(days=6)).date().isoformat(): 2,
        today.date().isoformat(): 1,
    }


async def test_rebuilding_counts_days_too(
    ask: Ask, store: ProjectionStore, add_log: AddLog, pool: Pool
) -> None:
    await add_log(1, [STARTED])
    await add_log(2, [STARTED])
    await store.move_executions([1])
    rebuild = ProjectionStore(pool)

    await rebuild.rebuild_page(after=None, limit=100)
    walked = (await ask("dashboard.widgets")).body["days"]
    await pool.execute("UPDATE noetl.execution_day SET executions = 77")
    await rebuild.recount()
    counted = (await ask("dashboard.widgets")).body["days"]

    assert list(walked.values()) == [2]
    assert counted == walked


async def test_tables_are_those_of_our_schema(ask: Ask, pool: Pool) -> None:
    body = (await ask("schema.tables")).body
    await pool.execute("ALTER SCHEMA noetl RENAME TO elsewhere")
    without = (await ask("schema.tables")).body
    await pool.execute("ALTER SCHEMA elsewhere RENAME TO noetl")

    assert body["exists"] is True
    assert {"event", "catalog", "runtime", "transient", "resource"} <= set(body["tables"])
    assert without == {"exists": False, "tables": []}
