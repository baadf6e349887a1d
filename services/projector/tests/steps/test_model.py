"""The read model of steps, folded from recorded logs in pieces of any size."""

import asyncio
import json
import random
from datetime import datetime
from pathlib import Path
from typing import Any

from noetl_contract.events import status_of_terminal
from noetl_contract.rpc.projector import (
    EXECUTIONS_STATUS,
    EXECUTIONS_STEPS,
    ExecutionName,
    StepsPage,
)
from noetl_projector.projection.store import ProjectionStore

from services.projector.tests.conftest import Ask, Pool

HISTORIES = sorted(Path(__file__).parents[4].joinpath("tests/histories").glob("*.jsonl"))
# A step that a cycle has put back is shown as its newest run ended.
SHOWN = {"c": "COMPLETED", "f": "FAILED", "s": "SKIPPED", "p": "COMPLETED"}
COLUMNS = (
    "event_id", "position", "event_type", "node_name", "node_type", "status", "context", "result",
    "meta", "error", "worker_id", "note", "ingest_time",
)  # fmt: skip
MODEL = "SELECT * FROM noetl.execution_step WHERE execution_id = $1 ORDER BY first_position"


def read(path: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the rows of a recorded log, and the steps folded from them."""
    _, *rows, tail = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["ingest_time"] = datetime.fromisoformat(row["created_at"])
    return rows, tail["result"]


async def write(pool: Pool, execution_id: int, rows: list[dict[str, Any]]) -> None:
    """Write a log as another execution's; its state row is at the beginning."""
    await pool.execute(
        "INSERT INTO noetl.execution_state (execution_id, catalog_id, path, version, position)"
        " VALUES ($1, 5, 'tests/x', 1, 0)",
        execution_id,
    )
    places = ", ".join(f"${number}" for number in range(1, len(COLUMNS) + 2))
    await pool.executemany(
        f"INSERT INTO noetl.event (catalog_id, execution_id, {', '.join(COLUMNS)})"
        f" VALUES (5, {places})",
        [(execution_id, *(row.get(name) for name in COLUMNS)) for row in rows],
    )


async def go_to(pool: Pool, logs: dict[int, list[dict[str, Any]]], share: float = 1.0) -> None:
    """Move state rows to a part of their logs."""
    values = []
    for execution_id, rows in logs.items():
        position = max(1, round(share * len(rows)))
        ends = [status_of_terminal(row["event_type"]) for row in rows[:position]]
        status = next((str(end) for end in ends if end is not None), "RUNNING")
        values.append((execution_id, position, status))
    await pool.executemany(
        "UPDATE noetl.execution_state SET position = $2, status = $3,"
        " ended_at = CASE WHEN $3 != 'RUNNING' THEN '2026-12-01T00:00:00Z'::TIMESTAMPTZ END"
        " WHERE execution_id = $1",
        values,
    )


async def model(pool: Pool, execution_id: int) -> list[tuple[Any, ...]]:
    return [tuple(row.values())[1:] for row in await pool.fetch(MODEL, execution_id)]


async def shown(ask: Ask, execution_id: int, **wanted: Any) -> Any:
    reply = await ask(EXECUTIONS_STEPS, StepsPage(execution_id=execution_id, **wanted))
    return reply.body


async def ended_steps(ask: Ask, execution_id: int) -> Any:
    reply = await ask(EXECUTIONS_STATUS, ExecutionName(execution_id=execution_id))
    return reply.body["completed_steps"]


def of_other(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "execution_id"}


def ended_in(rows: list[dict[str, Any]], result: dict[str, Any]) -> list[str]:
    """Return the steps of a log that ended, in order; a status names these."""
    ended: dict[str, int] = {}
    for row in rows:
        is_late = (row.get("meta") or {}).get("late")
        if row["event_type"] in {"command.completed", "step.exit"} and not is_late:
            ended[row["node_name"]] = row["position"]
    is_running = result["status"] == "RUNNING"
    names = [name for name in ended if not (is_running and name in result["open"])]
    return sorted(names, key=lambda name: ended[name])


async def test_states_are_those_that_the_engine_has(ask: Ask, pool: Pool) -> None:
    """Read without a model, as of an execution from before there was one."""
    for number, path in enumerate(HISTORIES, 1):
        rows, result = read(path)
        await write(pool, number, rows)
        await go_to(pool, {number: rows})

        body = await shown(ask, number)

        states = {one["step"]: one["state"] for one in body["steps"]}
        cut_off = "RUNNING" if result["status"] == "RUNNING" else "CANCELLED"
        wanted = {step: SHOWN.get(phase, cut_off) for step, phase in result["steps"].items()}
        assert states == wanted, path.stem
        assert await ended_steps(ask, number) == ended_in(rows, result), path.stem


async def test_a_log_folded_in_pieces_amounts_to_the_same(
    ask: Ask, pool: Pool, store: ProjectionStore
) -> None:
    """Pieces of any size, messages seen twice, and readers between model and log."""
    chance = random.Random(7)  # noqa: S311 -- pieces, no secrets
    whole = {1000 + number: read(path)[0] for number, path in enumerate(HISTORIES)}
    pieces = {1000 + execution_id: rows for execution_id, rows in whole.items()}
    for execution_id, rows in (whole | pieces).items():
        await write(pool, execution_id, rows)
    for share in [*sorted(chance.random() for _ in range(3)), 1.0]:
        await go_to(pool, whole | pieces, share)
        for execution_id in whole:
            both = (execution_id, 1000 + execution_id)
            steps = [of_other(await shown(ask, one)) for one in both]
            ended = [await ended_steps(ask, one) for one in both]
            assert steps[0] == steps[1]
            assert ended[0] == ended[1]
        moved = [execution_id for execution_id in pieces if chance.random() < 0.7]
        await asyncio.gather(*(store.move_executions(moved) for _ in range(2)))
    await store.move_executions([*whole, *pieces])

    for execution_id in whole:
        assert await model(pool, 1000 + execution_id) == await model(pool, execution_id) != []
