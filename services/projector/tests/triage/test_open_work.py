"""The open work of an execution comes from its rows."""

from noetl_contract.http.executions.why import OpenWork
from noetl_pg.database import Database
from noetl_projector.triage.open_work import OpenWorkStore

from services.projector.tests.conftest import AddLog, Pool

STARTED = {"event_type": "playbook_started"}


async def found(db: Database, execution_id: int) -> OpenWork:
    work = await OpenWorkStore(db).find(execution_id)
    assert work is not None
    return work


async def test_commands_timers_children_and_outbox_rows_are_read(
    db: Database, pool: Pool, add_log: AddLog
) -> None:
    enter = {
        "event_type": "step.enter",
        "node": "each",
        "event_id": 50,
        "result": {"status": "ENTERED", "context": {"iterations_expected": 9}},
    }
    await add_log(1, [STARTED, enter])
    await pool.execute("UPDATE noetl.event SET note = $1 WHERE position = 2", {"limit": 2})
    await add_log(2, [STARTED], parent=1)
    for number, (status, pool_name) in enumerate(
        [("COMPLETED", "gpu"), ("RUNNING", "gpu"), ("PENDING", "gpu")]
    ):
        await pool.execute(
            "INSERT INTO noetl.command (command_id, event_id, execution_id, catalog_id, step_name,"
            " tool_kind, status, iter_index, pool, lease_until)"
            " VALUES ($1, $1, 1, 5, 'each', 'python', $2, $3, $4, now())",
            100 + number,
            status,
            number,
            pool_name,
        )
    await pool.execute(
        "INSERT INTO noetl.outbox (execution_id, event_id, kind, status, last_error)"
        " VALUES (1, 102, 'command', 'FAILED', 'no responders')"
    )
    await pool.execute(
        "INSERT INTO noetl.timer (timer_id, execution_id, due_at, kind, payload)"
        " VALUES (7, 1, now(), 'step_timeout', $1)",
        {"event_id": 101},
    )

    work = await found(db, 1)
    assert [(one.step, one.iteration, one.status) for one in work.commands] == [
        ("each", 1, "RUNNING"),
        ("each", 2, "PENDING"),
    ]
    assert work.command_count == 2
    assert (work.commands[1].outbox_status, work.commands[1].outbox_error) == (
        "FAILED",
        "no responders",
    )
    assert [timer.kind for timer in work.timers] == ["step_timeout"]
    assert [(child.execution_id, child.path) for child in work.children] == [("2", "tests/x")]
    (loop,) = work.loops
    assert (loop.step, loop.total, loop.limit, loop.in_flight, loop.ended) == ("each", 9, 2, 2, 1)
    (load,) = work.pools
    assert (load.pool, load.waiting, load.running) == ("gpu", 1, 1)
    assert work.pending_outbox == 1


async def test_a_restarted_one_takes_over_until_it_says_so(
    db: Database, pool: Pool, add_log: AddLog
) -> None:
    begun = {**STARTED, "meta": {"restart": {"execution_id": "77"}}}
    await add_log(1, [begun])
    before = await found(db, 1)
    await add_log(1, [begun, {"event_type": "execution.restored", "node": "playbook"}])
    await pool.execute("UPDATE noetl.event SET note = $1 WHERE position = 2", {"over": True})

    assert before.origin_execution_id == "77"
    assert (await found(db, 1)).origin_execution_id is None


async def test_an_ended_one_has_nothing_open(db: Database, add_log: AddLog) -> None:
    await add_log(1, [STARTED, {"event_type": "playbook.completed"}], status="COMPLETED")

    work = await found(db, 1)
    assert (work.status, work.commands) == ("COMPLETED", [])
    assert await OpenWorkStore(db).find(5) is None
