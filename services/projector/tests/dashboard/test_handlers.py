"""Numbers of the dashboard come from the projection."""

from datetime import UTC, datetime, timedelta

from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.projector import DASHBOARD_COUNTERS, DASHBOARD_WIDGETS, SCHEMA_TABLES
from noetl_projector.projection.store import ProjectionStore

from services.projector.tests.conftest import AddLog, Ask, Pool

STARTED = {"event_type": "playbook_started"}
ENDED = {"event_type": "playbook.completed"}


async def test_empty_system_has_no_numbers(ask: Ask) -> None:
    assert (await ask(DASHBOARD_COUNTERS, Nothing())).body == {}
    assert (await ask(DASHBOARD_WIDGETS, Nothing())).body == {"days": {}, "recent": []}


async def test_numbers_follow_the_logs(ask: Ask, store: ProjectionStore, add_log: AddLog) -> None:
    await add_log(1, [STARTED])
    await add_log(2, [STARTED, ENDED], status="COMPLETED")
    await add_log(3, [STARTED, ENDED], status="FAILED", path="tests/y")
    await store.move_executions([1, 2, 3])
    await store.move_executions([1, 2, 3])
    before = (await ask(DASHBOARD_COUNTERS, Nothing())).body
    await add_log(1, [STARTED, ENDED], status="COMPLETED")
    await store.move_executions([1])
    after = (await ask(DASHBOARD_COUNTERS, Nothing())).body
    widgets = (await ask(DASHBOARD_WIDGETS, Nothing())).body

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

    days = (await ask(DASHBOARD_WIDGETS, Nothing())).body["days"]

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

    await store.rebuild_page(after=None, limit=100)
    walked = (await ask(DASHBOARD_WIDGETS, Nothing())).body["days"]
    await pool.execute("UPDATE noetl.execution_day SET executions = 77")
    await store.recount()
    counted = (await ask(DASHBOARD_WIDGETS, Nothing())).body["days"]

    assert list(walked.values()) == [2]
    assert counted == walked


async def test_tables_are_those_of_our_schema(ask: Ask, pool: Pool) -> None:
    body = (await ask(SCHEMA_TABLES, Nothing())).body
    await pool.execute("ALTER SCHEMA noetl RENAME TO elsewhere")
    without = (await ask(SCHEMA_TABLES, Nothing())).body
    await pool.execute("ALTER SCHEMA elsewhere RENAME TO noetl")

    assert body["exists"] is True
    assert {"event", "catalog", "runtime", "transient", "resource"} <= set(body["tables"])
    assert without == {"exists": False, "tables": []}
