"""The list of open waits."""

from datetime import datetime, timedelta
from typing import Any

from noetl_contract.access.principal import Principal
from noetl_contract.http.executions.waits import WaitEntry
from noetl_contract.rpc.projector import WAITS_LIST, WaitsPage

from services.projector.tests.conftest import Ask, Pool

NOW = datetime(2026, 6, 15, 12)  # noqa: DTZ001 -- as the column has it


async def write(
    pool: Pool, number: int, *, path: str, signal: str = "go", kind: str = "wait"
) -> None:
    """Write one execution that waits, as the orchestrator does."""
    await pool.execute(
        "INSERT INTO noetl.execution_state"
        " (execution_id, catalog_id, path, version, status, position, started_at)"
        " VALUES ($1, 1, $2, 3, 'RUNNING', 2, now())",
        number,
        path,
    )
    context = {"kind": kind, "signal": signal, "title": "Well?", "fields": ["text", "ok"]}
    context |= {"form": {"text": "text", "ok": "boolean"}}
    context |= {"on_timeout": "fail", "due_at": "2026-06-16T12:00:00Z", "description": ""}
    await pool.execute(
        "INSERT INTO noetl.event (execution_id, catalog_id, event_id, created_at, event_type,"
        " node_name, node_type, status, result, meta, position)"
        " VALUES ($1, 1, $2, $3, 'wait.started', 'review', $4, 'WAITING', $5, $6, 2)",
        number,
        number + 1000,
        NOW,
        kind,
        {"status": "WAITING", "context": context},
        {"iteration_index": 4},
    )
    await pool.execute(
        "INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind, payload)"
        " VALUES ($1, $2, $3, 'wait', $4)",
        number + 1000,
        number,
        NOW + timedelta(days=1),
        {"event_id": number + 1000, "step": "review", "signal": signal},
    )


async def test_waits_are_listed_by_page_and_filter(ask: Ask, pool: Pool) -> None:
    await write(pool, 1, path="team/a")
    await write(pool, 2, path="team/b", signal="stop")
    await write(pool, 3, path="teamster/c")
    await write(pool, 4, path="team/a", kind="sleep", signal="")

    async def ids(**fields: Any) -> list[int]:
        page = WaitsPage(**fields)
        return [one["execution_id"] for one in (await ask(WAITS_LIST, page)).body["waits"]]

    first = (await ask(WAITS_LIST, WaitsPage(limit=1))).body
    assert list(first["waits"][0]) == list(WaitEntry.model_fields)
    assert list(first["waits"][0]["form"]) == ["text", "ok"]
    assert first["next"] == "1001"
    assert first["waits"][0]["iteration"] == 4
    assert first["waits"][0]["since"] == "2026-06-15T12:00:00Z"
    assert await ids(after=1001, limit=2) == [2, 3]
    assert await ids(after=1001) == [2, 3, 4]
    assert await ids(path="/team/") == [1, 2, 4]
    assert await ids(signal="stop") == [2]
    assert await ids(kind="sleep") == [4]
    assert await ids(execution_id=3) == [3]
    reader = Principal(name="a", kind="key", namespaces=("team",))
    assert await ids(principal=reader) == [1, 2, 4]


async def test_what_has_ended_waits_for_nothing(ask: Ask, pool: Pool) -> None:
    await write(pool, 1, path="team/a")
    await pool.execute("UPDATE noetl.execution_state SET status = 'FAILED'")

    assert (await ask(WAITS_LIST, WaitsPage())).body == {"waits": [], "next": None}
