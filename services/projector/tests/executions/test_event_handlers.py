"""Events by id, batches and executions that run too long."""

import orjson
import pytest
from noetl_contract.json import Json
from noetl_contract.model import Shape
from noetl_contract.rpc.operation import Operation
from noetl_contract.rpc.projector import (
    EVENT_RESULT,
    EVENTS_BATCH,
    EXECUTIONS_STUCK,
    SUBSCRIPTION_GET,
    BatchName,
    EventName,
    StuckRequest,
    SubscriptionName,
)
from noetl_pg.sql.queries import Queries

from services.projector.tests.conftest import AddLog, Ask, Pool

STARTED = {"event_type": "playbook_started", "node": "playbook", "status": "STARTED"}
LOG = [STARTED, *({"event_type": "command.issued"} for _ in range(3))]


async def test_an_event_is_found_by_its_id_and_masked(ask: Ask, add_log: AddLog) -> None:
    done = {"event_type": "call.done", "status": None, "result": {"status": "ok", "context": {}}}
    done["result"]["context"] = {"n": 1, "api_key": "k"}
    await add_log(1, [STARTED, done])

    body = (await ask(EVENT_RESULT, EventName(event_id=1002))).body

    assert {**body, "created_at": ""} == {
        "event_id": 1002,
        "execution_id": 1,
        "event_type": "call.done",
        "node_name": "start",
        "status": "UNKNOWN",
        "result": {"status": "ok", "context": {"n": 1, "api_key": "[REDACTED]"}},
        "error": None,
        "created_at": "",
    }
    assert list(body) == [
        "event_id",
        "execution_id",
        "event_type",
        "node_name",
        "status",
        "result",
        "error",
        "created_at",
    ]
    assert body["created_at"].endswith("Z")


@pytest.mark.parametrize(
    ("operation", "request_", "text"),
    [
        (EVENT_RESULT, EventName(event_id=5), "Event not found: 5"),
        (EVENTS_BATCH, BatchName(request_id=5), "Batch request not found: 5"),
        (SUBSCRIPTION_GET, SubscriptionName(subscription_id=5), "Subscription 5 not registered"),
    ],
)
async def test_what_is_not_there_is_named[Request: Shape](
    ask: Ask, operation: Operation[Request, Json], request_: Request, text: str
) -> None:
    reply = await ask(operation, request_)

    assert (reply.status, reply.error) == (404, text)


async def test_a_look_up_by_event_id_reads_few_pages(pool: Pool) -> None:
    """The index holds ranges of pages; a scan would read the whole log."""
    await pool.execute(
        "INSERT INTO noetl.event (execution_id, catalog_id, event_id, position, error)"
        " SELECT 325077236512452608 + n, 1, 325077236512452608 + n * 4096, 1,"
        " repeat('x', 200) FROM generate_series(1, 100000) AS n"
    )
    # Autovacuum does this for ranges that are full.
    await pool.execute("VACUUM ANALYZE noetl.event")
    sql = Queries.load("noetl_projector.executions")["find_event"]
    plan = await pool.fetchval(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {sql.replace('$1', '325077236512452608 + 50000 * 4096')}"
    )
    text = orjson.dumps(plan).decode()

    assert "_event_id_idx" in text
    assert '"Node Type":"Bitmap Heap Scan"' in text


async def test_a_batch_is_found_by_its_events_with_its_key(
    ask: Ask, add_log: AddLog, pool: Pool
) -> None:
    await add_log(1, LOG)
    await pool.execute(
        "INSERT INTO noetl.request_key (scope, key, execution_id, answer)"
        " VALUES ('events:1', 'k', 1, '{\"event_ids\": [1002, 1003]}')"
    )

    keyed = (await ask(EVENTS_BATCH, BatchName(request_id=1003))).body
    other = (await ask(EVENTS_BATCH, BatchName(request_id=1004))).body

    assert {**keyed, "updated_at": ""} == {
        "request_id": "1003",
        "execution_id": "1",
        "state": "completed",
        "status": "COMPLETED",
        "error_code": None,
        "message": None,
        "commands_generated": 0,
        "idempotency_key": "k",
        "updated_at": "",
    }
    assert other["idempotency_key"] is None


async def test_stuck_executions_are_those_that_run_for_long(
    ask: Ask, add_log: AddLog, pool: Pool
) -> None:
    await add_log(1, LOG)
    await add_log(2, LOG, status="COMPLETED")
    await add_log(3, LOG)
    await pool.execute(
        "UPDATE noetl.execution_state SET started_at = now() - interval '10 minutes'"
        " WHERE execution_id < 3"
    )

    reply = await ask(EXECUTIONS_STUCK, StuckRequest(older_than_minutes=5, limit=10))

    assert reply.body == {"execution_ids": [1]}
