"""The doctor as a command, on a running stack with trouble planted in it."""

import asyncio
import json
import subprocess

import asyncpg
import pytest
from noetl_contract.json import JsonObject
from noetl_testkit.stack import Stack, command, register
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until

POOL = "doctor-nobody"
PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: doctor, path: monitoring/doctor}
workflow:
  - step: start
    tool: {kind: noop}
"""
PARKED = "too large for the doctor"
SICK = ("process_", "edge_", "login_", "broker_", "service_", "database_", "schema_", "wrong_")


async def plant(stack: Stack, execution_id: int) -> None:
    """Make a command old without waiting, and give up a row of the outbox."""
    connection = await asyncpg.connect(stack.dsn())
    try:
        await connection.execute(
            "UPDATE noetl.command SET created_at = now() - interval '4 minutes' WHERE pool = $1",
            POOL,
        )
        await connection.execute(
            "INSERT INTO noetl.outbox (execution_id, event_id, kind, status, last_error)"
            " VALUES ($1, 1, 'message', 'PARKED', $2)",
            execution_id,
            PARKED,
        )
    finally:
        await connection.close()


async def clean(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.dsn())
    try:
        await connection.execute("DELETE FROM noetl.outbox WHERE last_error = $1", PARKED)
    finally:
        await connection.close()


def examined(stack: Stack) -> tuple[int, JsonObject]:
    done = subprocess.run(
        [*command(is_warm=True), "doctor", "--json", "--data", str(stack.data)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def sick(report: JsonObject) -> list[JsonObject]:
    return [one for one in report["findings"] if one["code"].startswith(SICK)]


@pytest.mark.e2e
def test_planted_trouble_is_found(nats_stack: Stack) -> None:
    with nats_stack.client() as client:
        register(client, PLAYBOOK)
        body = {"path": "monitoring/doctor", "execution_pool": POOL}
        execution_id = client.post("/api/execute", json=body).json()["execution_id"]
        asyncio.run(plant(nats_stack, int(execution_id)))
        reports: list[tuple[int, JsonObject]] = []

        def is_well_but_for_that() -> bool:
            reports.append(examined(nats_stack))
            return sick(reports[-1][1]) == []

        try:
            # On a busy machine a part of the stack may be too slow for the doctor, once.
            wait_until(is_well_but_for_that, what="nothing is found but what was planted")
        finally:
            client.post(f"/api/executions/{execution_id}/cancel", json={}).raise_for_status()
            asyncio.run(clean(nats_stack))

    code, report = reports[-1]
    found = {(one["code"], one["place"]): one for one in report["findings"]}
    pool = found["pool_without_workers", POOL]
    assert (code, report["status"]) == (3, "critical")
    assert pool["text"].startswith(f"pool {POOL}: 1 command waiting, the oldest for 4m ")
    assert PARKED in json.dumps(
        [one for one in report["findings"] if one["code"] == "outbox_parked"]
    )
    assert set(report["looked_at"]) == {
        "processes", "edge", "broker", "services", "database", "pools",
    }  # fmt: skip
