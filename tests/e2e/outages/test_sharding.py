"""Two shards on two databases under one system (S4)."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from noetl.stack.process import free_port
from noetl_contract.sharding import shard_for
from noetl_testkit.stack import (
    Stack,
    command,
    execute,
    finish,
    register,
    running_stack,
    service,
)
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_for

pytestmark = pytest.mark.e2e

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: two_steps, path: tests/two_steps}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop}
"""

PARENT = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: parent, path: tests/parent}
workflow:
  - step: start
    loop: {in: "{{ range(12) }}", iterator: n, spec: {mode: parallel}}
    tool:
      kind: playbook
      path: tests/child
      return_step: start
      poll_interval: 1
      args: {n: "{{ n }}"}
    next: {arcs: [{step: end}]}
  - step: end
    tool:
      kind: python
      args: {found: "{{ start }}"}
      code: "result = sorted(entry['data']['n'] for entry in found)"
"""
CHILD = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: child, path: tests/child}
workload: {n: -1, gate: ""}
workflow:
  - step: start
    tool:
      kind: python
      args: {n: "{{ n }}", gate: "{{ gate }}"}
      code: |
        import os, time
        while gate and os.path.exists(gate):
            time.sleep(0.02)
        result = {"n": n}
"""
WAITING = PARENT.replace("tests/parent", "tests/waiting").replace(
    'args: {n: "{{ n }}"}', 'args: {n: "{{ n }}", gate: "{{ workload.gate }}"}'
)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    environment = {"NOETL_REQUEST_PATIENCE_SECONDS": "8"}
    with running_stack(arguments=["--shards", "2"], environment=environment) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx.Client]:
    with stack.client() as client:
        register(client, PLAYBOOK)
        yield client


def shard_of(execution_id: int) -> int:
    return shard_for(execution_id, shard_count=2)


def dsn_of(stack: Stack, shard: int) -> str:
    return stack.dsn().rpartition("/")[0] + f"/noetl_shard_{shard}"


async def count_rows(dsn: str, execution_ids: list[int]) -> dict[str, list[int]]:
    """Count an execution's rows in every table that has any of them, in the order of ids."""
    connection = await asyncpg.connect(dsn)
    try:
        tables = await connection.fetch(
            "SELECT c.table_name FROM information_schema.columns c"
            " JOIN information_schema.tables t USING (table_schema, table_name)"
            " WHERE c.table_schema = 'noetl' AND c.column_name = 'execution_id'"
            " AND t.table_type = 'BASE TABLE' ORDER BY 1"
        )
        counts = {}
        for (table,) in tables:
            rows = await connection.fetch(
                f'SELECT execution_id, count(*) AS n FROM noetl."{table}"'
                " WHERE execution_id = ANY($1::bigint[]) GROUP BY 1",
                execution_ids,
            )
            found = {row["execution_id"]: row["n"] for row in rows}
            counts[table] = [found.get(one, 0) for one in execution_ids]
        return counts
    finally:
        await connection.close()


def test_executions_live_where_their_id_says(stack: Stack, client: httpx.Client) -> None:
    ids = [execute(client, "tests/two_steps") for _ in range(40)]
    assert {finish(client, one) for one in ids} == {"COMPLETED"}
    places = [shard_of(one) for one in ids]
    assert set(places) == {0, 1}

    for shard in (0, 1):
        counts = asyncio.run(count_rows(dsn_of(stack, shard), ids))
        assert {"event", "command", "execution_state"} <= set(counts)
        for table, found in counts.items():
            strangers = [n for n, place in zip(found, places, strict=True) if place != shard]
            assert not any(strangers), table
        assert all(
            n == 13 for n, place in zip(counts["event"], places, strict=True) if place == shard
        )
    cluster = asyncio.run(count_rows(stack.dsn().rpartition("/")[0] + "/noetl_cluster", ids))
    assert not any(any(found) for found in cluster.values())


def test_lists_page_over_both_shards(client: httpx.Client) -> None:
    ids = [execute(client, "tests/two_steps") for _ in range(25)]
    for one in ids:
        finish(client, one)
    newest = client.get("/api/executions", params={"limit": 100}).json()
    paged: list[dict[str, object]] = []
    while page := client.get("/api/executions", params={"limit": 7, "offset": len(paged)}).json():
        paged += page

    listed = [int(str(row["execution_id"])) for row in paged]
    assert listed[: len(newest)] == [int(row["execution_id"]) for row in newest]
    assert set(ids) <= set(listed)
    assert len(set(listed)) == len(listed)
    moments = [
        str(row["start_time"] if "start_time" in row else row["started_at"]) for row in paged
    ]
    assert moments == sorted(moments, reverse=True)


def test_everything_about_one_execution_is_found(client: httpx.Client) -> None:
    for _ in range(6):
        one = execute(client, "tests/two_steps")
        assert finish(client, one) == "COMPLETED"
        assert client.get(f"/api/executions/{one}").json()["status"] == "COMPLETED"
        assert client.get(f"/api/executions/{one}/events").status_code == 200
        command_id = next(
            event["event_id"]
            for event in client.get(f"/api/executions/{one}").json()["events"]
            if event["event_type"] == "command.issued"
        )
        # Without the execution in the address every shard is asked.
        assert client.get(f"/api/commands/{command_id}").json()["execution_id"] == one


def test_children_live_on_any_shard(client: httpx.Client) -> None:
    for text in (PARENT, CHILD):
        register(client, text)
    parent = execute(client, "tests/parent")
    assert finish(client, parent) == "COMPLETED"

    log = client.get(f"/api/executions/{parent}").json()["events"]
    done = next(e for e in log if e["event_type"] == "call.done" and e["node_name"] == "end")
    assert done["result"]["context"]["result"]["context"]["data"] == list(range(12))
    listed = client.get("/api/executions", params={"limit": 100}).json()
    mine = [one for one in listed if str(one["parent_execution_id"]) == str(parent)]
    assert len(mine) == 12
    assert {shard_of(int(one["execution_id"])) for one in mine} == {0, 1}


def test_a_cancelled_parent_takes_its_children_along(client: httpx.Client, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    for text in (WAITING, CHILD):
        register(client, text)
    parent = execute(client, "tests/waiting", gate=str(gate))

    def begun() -> list[int] | None:
        listed = client.get("/api/executions", params={"limit": 100}).json()
        found = [
            int(one["execution_id"])
            for one in listed
            if str(one["parent_execution_id"]) == str(parent)
        ]
        return found if len(found) == 12 else None

    children = wait_for(begun, what="all children have begun")
    assert {shard_of(one) for one in children} == {0, 1}
    answer = client.post(f"/api/executions/{parent}/cancel", json={"cascade": True})
    answer.raise_for_status()

    assert finish(client, parent) == "CANCELLED"
    assert {finish(client, one) for one in children} == {"CANCELLED"}
    gate.unlink()  # the scripts of the children go on until then


def test_a_frozen_and_killed_orchestrator_delays_its_shard_only(
    stack: Stack, client: httpx.Client
) -> None:
    pid = stack.services()["orchestrator-s1"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    mine: list[int] = []
    others: list[httpx.Response] = []
    try:
        with httpx.Client(base_url=stack.url, timeout=PATIENCE_SECONDS) as slow:
            body = {"path": "tests/two_steps"}
            # A start names its shard only by the id it gets; those of the frozen one wait.
            asyncio.run(_starts(stack.url, body, mine, others, pid))
            assert {finish(slow, one) for one in mine} == {"COMPLETED"}
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    accepted = [int(answer.json()["execution_id"]) for answer in others if answer.is_success]
    assert mine
    assert others
    assert {shard_of(one) for one in mine} == {0}
    assert {finish(client, one) for one in accepted} <= {"COMPLETED"}
    # Those refused were never begun.
    assert {answer.status_code for answer in others} <= {200, 503}


async def _starts(
    url: str, body: dict[str, str], mine: list[int], others: list[httpx.Response], pid: int
) -> None:
    """Start 20 executions while one shard is frozen, and kill its orchestrator meanwhile."""
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as client:
        tasks = [asyncio.create_task(client.post("/api/execute", json=body)) for _ in range(20)]
        waiting = set(tasks)
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        answered = True
        while answered:
            # Most of the shard that works, and perhaps not those that are slow.
            answered, waiting = await asyncio.wait(waiting, timeout=1.5)
        done = set(tasks) - waiting
        mine += [int(task.result().json()["execution_id"]) for task in done]
        os.kill(pid, signal.SIGKILL)
        others += [await task for task in waiting]


def test_a_shard_that_is_down_is_503_and_never_404(stack: Stack, client: httpx.Client) -> None:
    one = execute(client, "tests/two_steps")
    while shard_of(one) != 0:
        one = execute(client, "tests/two_steps")
    finish(client, one)
    pid = stack.services()["projector-s1"]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        assert client.get(f"/api/executions/{one}/status").json()["status"] == "COMPLETED"
        assert client.get("/api/executions").status_code == 503
        assert client.get("/api/commands/77").status_code == 503
    finally:
        os.kill(pid, signal.SIGCONT)
    assert client.get("/api/commands/77").status_code == 404


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("host=a;user=u,host=b", "NOETL_SHARDS: missing required key: user (entry 1)"),
        ("host=a;user=u;colour=red", "NOETL_SHARDS: unknown key: colour (entry 0)"),
    ],
)
def test_a_bad_map_stops_the_start(value: str, problem: str, tmp_path: Path) -> None:
    environment = {**os.environ, "NOETL_SHARDS": value}
    for arguments in (
        [*command(is_warm=True), "up", "--data", str(tmp_path / "data")],
        service("noetl_orchestrator", is_warm=True),
    ):
        done = subprocess.run(
            arguments,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode != 0
        assert problem in done.stdout + done.stderr


def test_a_process_with_another_map_refuses_the_database(stack: Stack) -> None:
    values = stack.values()
    first, second = values["NOETL_SHARDS"].split(",")
    environment = {
        **os.environ,
        **values,
        "NOETL_SHARDS": f"{second},{first}",
        "NOETL_HTTP_PORT": "0",
    }
    for name in ("orchestrator", "outbox", "projector"):
        done = subprocess.run(
            service(f"noetl_{name}", is_warm=True),
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode != 0
        assert "the database is shard 1 of 2" in done.stdout + done.stderr


def test_the_data_is_not_divided_anew(stack: Stack, tmp_path: Path) -> None:
    identity = tmp_path / "data" / "identity.json"
    identity.parent.mkdir()
    identity.write_bytes((stack.data / "identity.json").read_bytes())
    done = subprocess.run(
        [
            *command(is_warm=True),
            "up",
            "--shards",
            "3",
            "--data",
            str(identity.parent),
            "--port",
            str(free_port()),
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode != 0
    assert "divided into 2 shards" in done.stdout + done.stderr
