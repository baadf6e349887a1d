"""Rows of steps are counted once, bounded, rebuilt, and end with their execution."""

from typing import Any

import pytest
from noetl_contract.json import JsonObject
from noetl_contract.rpc.projector import EXECUTIONS_STATUS, ExecutionName
from noetl_projector.projection import store as projection_store
from noetl_projector.projection.store import ProjectionStore

from services.projector.tests.conftest import AddLog, Ask, Pool
from services.projector.tests.steps.test_model import model, shown

STARTED = {"event_type": "playbook_started", "node": "playbook"}
ENDED = {"event_type": "playbook.completed", "node": "playbook"}


def loop(done: int, *, total: int) -> list[JsonObject]:
    """Return the log of a sequential loop."""
    begun = {"status": "ENTERED", "context": {"iterations_expected": total}}
    log: list[JsonObject] = [STARTED, {"event_type": "step.enter", "result": begun}]
    for index in range(done):
        command = {"status": "success", "context": {"command_id": f"1:start:{index}:i{index}"}}
        log += [
            {"event_type": "command.issued", "meta": {"iteration_index": index}},
            {"event_type": "call.done", "result": command},
            {"event_type": "command.completed", "result": command},
        ]
    return log


async def test_a_loop_is_one_row_and_its_iterations_count_once(
    ask: Ask, pool: Pool, store: ProjectionStore, add_log: AddLog
) -> None:
    await add_log(1, loop(40, total=50))
    for _ in range(2):
        await store.move_executions([1])
    await add_log(1, loop(50, total=50))

    (step,) = (await shown(ask, 1))["steps"]
    await store.move_executions([1])
    (row,) = await model(pool, 1)

    assert step["iterations"] == {"total": 50, "done": 50, "failed": 0}
    assert (step["state"], step["runs"]) == ("COMPLETED", 1)
    assert (await shown(ask, 1))["steps"] == [step]
    assert row[2] == 2 + 3 * 50


async def test_a_long_log_is_folded_in_bounded_parts(
    ask: Ask,
    pool: Pool,
    store: ProjectionStore,
    add_log: AddLog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await add_log(1, loop(40, total=50))
    await add_log(2, loop(40, total=50))
    await store.move_executions([1])
    monkeypatch.setattr(projection_store, "_MOST_ROWS", 7)

    await store.approach(2, times=3)
    reached = await pool.fetchval(
        "SELECT steps_position FROM noetl.execution WHERE execution_id = 2"
    )
    between = await shown(ask, 2)
    await store.move_executions([2])

    assert reached == 21
    assert between == await shown(ask, 2)
    assert _of_one_time(await model(pool, 2)) == _of_one_time(await model(pool, 1)) != []


def _of_one_time(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Leave out the times: the logs were written one after the other."""
    return [(*row[:5], *row[8:]) for row in rows]


async def test_what_is_left_of_an_earlier_model_does_not_count(
    ask: Ask, pool: Pool, store: ProjectionStore, add_log: AddLog
) -> None:
    """The rows of executions were wiped, those of steps were not; and the other way round."""
    await add_log(1, loop(40, total=50))
    await store.move_executions([1])
    right, kept = await shown(ask, 1), await model(pool, 1)
    await pool.execute("DELETE FROM noetl.execution")

    assert await shown(ask, 1) == right
    await store.move_executions([1])
    assert (await shown(ask, 1), await model(pool, 1)) == (right, kept)

    await pool.execute("DELETE FROM noetl.execution_step")
    await pool.execute(
        "INSERT INTO noetl.execution_step (execution_id, step, first_position, position)"
        " VALUES (7, 'stray', 1, 1)"
    )
    await store.rebuild_page(after=None, limit=100)
    assert (await shown(ask, 1), await model(pool, 1)) == (right, kept)
    assert await model(pool, 7) == []


async def test_a_row_of_the_log_that_cannot_be_kept_stops_nobody(
    ask: Ask, store: ProjectionStore, add_log: AddLog
) -> None:
    """A client may post any step name, and any number."""
    odd: list[JsonObject] = [
        {"event_type": "command.completed", "node": "n" * 5000},
        {"event_type": "step.enter", "node": "odd", "result": {"context": {
            "iterations_expected": 9**19}, "status": "x"}},
        {"event_type": "step.enter", "node": "odder", "result": {"context": {
            "iterations_expected": "many"}, "status": "x"}},
    ]  # fmt: skip
    await add_log(1, [STARTED, *odd])
    await add_log(2, loop(1, total=1))

    await store.move_executions([1, 2])

    names = [one["step"] for one in (await shown(ask, 1))["steps"]]
    assert names == ["odd", "odder"]
    assert (await shown(ask, 2))["steps"][0]["state"] == "COMPLETED"


async def test_steps_come_in_pages_and_by_state(
    ask: Ask, store: ProjectionStore, add_log: AddLog
) -> None:
    log: list[JsonObject] = [STARTED]
    for number in range(7):
        log.append({"event_type": "step.enter", "node": f"s{number}"})
        if number % 2:
            log.append({"event_type": "command.completed", "node": f"s{number}"})
    await add_log(1, log)
    await store.move_executions([1])
    names, after = [], 0
    while True:
        page = await shown(ask, 1, limit=3, after=after)
        names.append([one["step"] for one in page["steps"]])
        if page["next"] is None:
            break
        after = int(page["next"])
    done = await shown(ask, 1, state="COMPLETED")
    await add_log(1, [*log, ENDED], status="COMPLETED")
    cut_off = await shown(ask, 1, state="CANCELLED")
    status = (await ask(EXECUTIONS_STATUS, ExecutionName(execution_id=1))).body

    assert names == [["s0", "s1", "s2"], ["s3", "s4", "s5"], ["s6"]]
    assert [one["step"] for one in done["steps"]] == ["s1", "s3", "s5"]
    assert [one["step"] for one in cut_off["steps"]] == ["s0", "s2", "s4", "s6"]
    assert status["completed_steps"] == ["s1", "s3", "s5"]
