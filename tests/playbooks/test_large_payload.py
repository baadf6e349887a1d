"""A payload that is large for a command: each row of a loop over it is worked on, once."""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

import asyncpg
import httpx
import orjson
import pytest
from noetl_contract.json import JsonObject
from noetl_testkit.stack import Stack, execute, finish, register, running_stack
from noetl_testkit.waiting import wait_until

pytestmark = pytest.mark.e2e

LOOP = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: rows_{mode}, path: tests/rows_{mode}}}
workload: {{rows: [], token: none}}
workflow:
  - step: start
    tool: {{kind: noop}}
    next: each
  - step: each
    loop: {{in: "{{{{ workload.rows }}}}", iterator: row, spec: {spec}}}
    tool:
      - told:
          kind: noop
          result: {{id: "{{{{ row.id }}}}", of: "{{{{ workload.rows | length }}}}"}}
      - same:
          kind: noop
          result: {{row: "{{{{ workload.rows[_index] }}}}", told: "{{{{ told.id }}}}"}}
"""
PARALLEL = LOOP.format(mode="parallel", spec="{mode: parallel, max_in_flight: 16}")
SEQUENTIAL = LOOP.format(mode="sequential", spec="{mode: sequential}")
CALLS = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: rows_calls, path: tests/rows_calls}
workload: {rows: []}
workflow:
  - step: start
    loop: {in: "{{ workload.rows }}", iterator: row, spec: {mode: parallel, max_in_flight: 8}}
    tool:
      kind: playbook
      path: tests/rows_called
      return_step: start
      payload: {row: "{{ row }}"}
"""
CALLED = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: rows_called, path: tests/rows_called}
workload: {row: {}}
workflow:
  - step: start
    tool: {kind: noop, result: {row: "{{ workload.row }}"}}
"""
CHAIN = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: chain_of_50, path: tests/chain_of_50}
workload: {text: ""}
workflow:
""" + "".join(
    f"  - step: {'start' if n == 0 else f's{n}'}\n"
    '    tool: {kind: noop, result: {length: "{{ workload.text | length }}"}}\n'
    + (f"    next: s{n + 1}\n" if n < 49 else "")
    for n in range(50)
)
SCRIPT = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: large_script, path: tests/large_script}
workload: {rows: [], token: none}
workflow:
  - step: start
    tool: {kind: noop}
    next: script
  - step: script
    tool:
      kind: python
      code: "result = {'ids': [one['id'] for one in variables['workload']['rows']][-1]}"
    next: call
  - step: call
    tool: {kind: http, url: "http://127.0.0.1:9/{{ workload.token }}"}
"""


def rows(count: int) -> list[JsonObject]:
    """Return rows of some 75 bytes."""
    return [
        {"id": n, "name": f"customer {n:06}", "mail": f"{n:06}@example.org"} for n in range(count)
    ]


def fetched(stack: Stack, query: str, *values: Any) -> list[asyncpg.Record]:
    """Return the answer of a stack's database."""

    async def ask() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(stack.dsn())
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    return asyncio.run(ask())


def issued_bytes(stack: Stack, execution_id: int, step: str) -> tuple[int, int]:
    """Return the number of a step's commands, and the largest row of one, as text."""
    (row,) = fetched(
        stack,
        "SELECT count(*) AS count, max(length(e.context::TEXT) + length(e.meta::TEXT)"
        "   + length(c.meta::TEXT)) AS largest"
        " FROM noetl.event AS e JOIN noetl.command AS c USING (execution_id, event_id)"
        " WHERE e.execution_id = $1 AND e.node_name = $2 AND e.event_type = 'command.issued'",
        execution_id,
        step,
    )
    return row["count"], row["largest"]


def results(stack: Stack, execution_id: int, step: str) -> list[Any]:
    """Return the data of a step's runs."""
    return [
        orjson.loads(row["data"])
        for row in fetched(
            stack,
            "SELECT result #> '{context,result,context,data}' AS data FROM noetl.event"
            " WHERE execution_id = $1 AND node_name = $2 AND event_type = 'call.done'",
            execution_id,
            step,
        )
    ]


def check_rows(stack: Stack, execution_id: int, expected: list[JsonObject]) -> None:
    """Check that each row was worked on once, and the values that its templates have seen."""
    found = results(stack, execution_id, "each")
    assert len(found) == len(expected)
    found.sort(key=lambda one: one["same"]["row"]["id"])
    assert [one["same"]["row"] for one in found] == expected
    assert {str(one["told"]["of"]) for one in found} == {str(len(expected))}
    assert [int(one["same"]["told"]) for one in found] == [one["id"] for one in expected]


def names(client: httpx.Client, stack: Stack) -> None:
    """Wait until orchestrators name large payloads: they first listen for siblings."""
    path = register(client, CHAIN)["path"]

    def is_short() -> bool:
        started = client.post(
            "/api/execute",
            json={"path": path, "workload": {"text": "x" * 5000}, "execution_pool": "nobody"},
        ).json()
        execution_id = int(started["execution_id"])
        client.post(f"/api/executions/{execution_id}/cancel")
        return issued_bytes(stack, execution_id, "start")[1] < 3000

    wait_until(is_short, what="large payloads are named", every_seconds=0.2)


@pytest.mark.slow
def test_the_bytes_of_an_iteration_do_not_grow_with_the_payload(transport_stack: Stack) -> None:
    sizes = {}
    with transport_stack.client() as client:
        names(client, transport_stack)
        path = register(client, PARALLEL)["path"]
        for count in (500, 2000):
            execution_id = execute(client, path, rows=rows(count))
            assert finish(client, execution_id) == "COMPLETED"
            check_rows(transport_stack, execution_id, rows(count))
            number, sizes[count] = issued_bytes(transport_stack, execution_id, "each")
            assert number == count
    # The digits of the index and of the count.
    assert sizes[2000] <= sizes[500] + 16
    assert sizes[2000] < 3000


@pytest.mark.slow
def test_loops_of_other_kinds_and_chains(transport_stack: Stack) -> None:
    with transport_stack.client() as client:
        names(client, transport_stack)
        sequential = register(client, SEQUENTIAL)["path"]
        register(client, CALLED)
        calls, chain = register(client, CALLS)["path"], register(client, CHAIN)["path"]
        first = execute(client, sequential, rows=rows(200))
        second = execute(client, calls, rows=rows(120))
        third = execute(client, chain, text="x" * 1_500_000)
        for execution_id in (first, second, third):
            assert finish(client, execution_id) == "COMPLETED"

    check_rows(transport_stack, first, rows(200))
    assert issued_bytes(transport_stack, first, "each")[1] < 3000
    found = sorted(one["row"]["id"] for one in results(transport_stack, second, "start"))
    assert found == list(range(120))
    assert issued_bytes(transport_stack, second, "start")[1] < 3000
    for step in ("start", "s1", "s49"):
        assert issued_bytes(transport_stack, third, step) == (1, pytest.approx(1500, abs=1500))
        (data,) = results(transport_stack, third, step)
        assert int(data["length"]) == 1_500_000


def test_scripts_see_the_payload_and_its_secrets_are_masked(transport_stack: Stack) -> None:
    secret = "s3cret-of-a-payload"
    with transport_stack.client() as client:
        names(client, transport_stack)
        path = register(client, SCRIPT)["path"]
        execution_id = execute(client, path, rows=rows(800), token=secret)
        assert finish(client, execution_id) == "FAILED"
        told = client.get(f"/api/executions/{execution_id}").text
    (data,) = results(transport_stack, execution_id, "script")
    assert data == {"ids": 799}
    assert secret not in told
    (count,) = fetched(
        transport_stack,
        "SELECT count(*) FILTER (WHERE position > 1 AND strpos(e::TEXT, $2) > 0) AS told,"
        " count(*) FILTER (WHERE strpos(e::TEXT, '[REDACTED]') > 0) AS masked"
        " FROM noetl.event AS e WHERE execution_id = $1",
        execution_id,
        secret,
    )
    # The rendered address of its call is the command's own.
    assert (count["told"], count["masked"] >= 2) == (1, True)


def test_a_worker_of_others_is_given_whole_contexts(nats_stack: Stack) -> None:
    """Claim and read of a command are as they were before the log had short contexts."""
    with nats_stack.client() as client:
        names(client, nats_stack)
        path = register(client, PARALLEL)["path"]
        started = client.post(
            "/api/execute",
            json={"path": path, "workload": {"rows": rows(900)}, "execution_pool": "theirs"},
        ).json()
        execution_id = int(started["execution_id"])
        (command,) = fetched(
            nats_stack, "SELECT event_id FROM noetl.command WHERE execution_id = $1", execution_id
        )
        event_id = command["event_id"]

        read = client.get(f"/api/commands/{event_id}").json()
        claimed = client.post(f"/api/commands/{event_id}/claim", json={"worker_id": "theirs"})
        client.post(f"/api/executions/{execution_id}/cancel")

    assert claimed.status_code == 200, claimed.text
    body = claimed.json()
    assert set(body) == {
        *("status", "event_id", "execution_id", "node_id", "node_name", "action", "context"),
        "meta",
    }
    assert body["context"] == read["context"]
    assert set(body["context"]) == {"tool_config", "args", "render_context"}
    scope = body["context"]["render_context"]
    workload = {"rows": rows(900), "token": "none"}
    assert scope["workload"] == scope["ctx"]["workload"] == workload
    assert scope["rows"] == scope["ctx"]["rows"] == rows(900)


@pytest.mark.slow
def test_a_killed_orchestrator_goes_on_from_the_log() -> None:
    """6,000 rows; rows read from the log again come once each, with the right element."""
    with running_stack() as stack, stack.client() as client:
        names(client, stack)
        path = register(client, PARALLEL)["path"]
        execution_id = execute(client, path, rows=rows(6000))

        def ended() -> int:
            return int(
                fetched(
                    stack,
                    "SELECT count(*) FROM noetl.event WHERE execution_id = $1"
                    " AND node_name = 'each' AND event_type = 'command.completed'",
                    execution_id,
                )[0][0]
            )

        for wanted in (500, 2500):
            wait_until(lambda wanted=wanted: ended() >= wanted)
            for name, service in stack.services().items():
                if name.startswith("orchestrator"):
                    with suppress(ProcessLookupError):
                        os.kill(service["pid"], signal.SIGKILL)
        assert finish(client, execution_id) == "COMPLETED"
        (count,) = fetched(
            stack,
            "SELECT count(DISTINCT c.iter_index) AS indices, count(*) AS commands"
            " FROM noetl.command AS c WHERE execution_id = $1 AND step_name = 'each'"
            " AND status = 'COMPLETED'",
            execution_id,
        )
        assert dict(count) == {"indices": 6000, "commands": 6000}
        found = results(stack, execution_id, "each")
        seen = {one["same"]["row"]["id"]: one["same"]["row"] for one in found}
        assert seen == {row["id"]: row for row in rows(6000)}
