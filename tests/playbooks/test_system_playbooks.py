"""The system playbooks do their services' work while these leave it, and beside them nothing twice.

Both forms of them do, that of http steps and that of plug-ins.

`NOETL_TEST_SYSTEM_ROWS` says how many outbox rows and events are laid out (10000 by hand).
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg
import httpx
import nats
import pytest
from nats.js.api import ConsumerConfig
from noetl.commands.modules import with_module
from noetl_contract.json import Json
from noetl_testkit.stack import Stack, execute, finish, register, running_stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.e2e

ROWS = int(os.environ.get("NOETL_TEST_SYSTEM_ROWS", "300"))
TOKEN = "the-right-token"
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
ROOT = Path(__file__).parents[2]
PLAYBOOKS = ROOT / "playbooks" / "system"
PLUGINS = ROOT / "examples" / "plugins" / "system"
NAMES = ("outbox_publisher", "projector", "scheduled_cleanup")
HTTP, PLUGIN = "", "by_plugin/"
"""The forms, by the part of the path that distinguishes them."""
FIRST = 325077236512452608
SHOWN_PATH = "laid/out"

LAY_OUT = f"""
WITH numbers AS (SELECT n, {FIRST} + n * 4096 AS id FROM generate_series(1, $1::INTEGER) AS n),

states AS (
    INSERT INTO noetl.execution_state
        (execution_id, catalog_id, path, version, status, position, ended_at)
    SELECT id, 1, '{SHOWN_PATH}', 1, 'COMPLETED', 1, now() FROM numbers
),

events AS (
    INSERT INTO noetl.event
        (execution_id, catalog_id, event_id, position, event_type, node_name, status, result)
    SELECT id, 1, id + 1, 1, 'playbook.completed', 'playbook', 'COMPLETED',
        '{{"status": "COMPLETED", "context": {{"text": "{{{{ not.ours }}}}"}}}}'
    FROM numbers
)

INSERT INTO noetl.outbox (outbox_id, execution_id, event_id, kind, subject, message_id)
SELECT n, id, id + 1, 'event', 'noetl.events.default.default.' || id || '.0', 'e:' || id || ':1'
FROM numbers
"""


def fetch(stack: Stack, statement: str, *values: object) -> list[Json]:
    async def run() -> list[Json]:
        connection = await asyncpg.connect(stack.dsn())
        try:
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    return asyncio.run(run())


def published(stack: Stack) -> Counter[str]:
    """Count the messages of the stream of events by their ids."""

    async def run() -> Counter[str]:
        client = await nats.connect(stack.values()["NOETL_NATS_URL"])
        try:
            js = client.jetstream()
            reader = await js.pull_subscribe(
                "noetl.events.>", stream="NOETL_EVENTS", config=ConsumerConfig(ack_policy="none")
            )
            left = (await js.stream_info("NOETL_EVENTS")).state.messages
            found: Counter[str] = Counter()
            while left:
                messages = await reader.fetch(min(left, 500), timeout=PATIENCE_SECONDS)
                found.update((one.headers or {})["Nats-Msg-Id"] for one in messages)
                left -= len(messages)
            return found
        finally:
            await client.close()

    return asyncio.run(run())


@contextlib.contextmanager
def system_worker(stack: Stack) -> Iterator[None]:
    """Run a worker of the system pool, which alone has the secrets."""
    address = urlsplit(stack.values()["NOETL_NATS_URL"])
    process = stack.start_worker(
        "system-1",
        log=stack.data.parent / "system-worker.log",
        WORKER_POOL_NAME="system",
        NOETL_KEYCHAIN_ENV_VARS="NOETL_INTERNAL_API_TOKEN,SYSTEM_NATS_PASSWORD",
        NOETL_INTERNAL_API_TOKEN=TOKEN,
        SYSTEM_NATS_PASSWORD=unquote(address.password or ""),
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=PATIENCE_SECONDS)


@contextlib.contextmanager
def system_stack(**environment: str) -> Iterator[tuple[Stack, httpx.Client]]:
    """Run a stack whose internal routes are open, with the system pool and its playbooks."""
    wanted = {"NOETL_INTERNAL_API_TOKEN": TOKEN, **environment}
    with (
        running_stack(environment=wanted) as stack,
        system_worker(stack),
        stack.client() as client,
    ):
        for name in NAMES:
            plugin = PLUGINS / f"{name}.yaml"
            register(client, with_module(plugin.read_text(), plugin))
            for form in (HTTP, PLUGIN):
                kept = register(client, (PLAYBOOKS / form / f"{name}.yaml").read_text())
                assert "problems" not in kept
        yield stack, client


def begin(stack: Stack, client: httpx.Client, name: str, **workload: Json) -> int:
    address = urlsplit(stack.values()["NOETL_NATS_URL"])
    workload |= {"server_url": stack.url}
    if name.endswith("outbox_publisher"):
        workload |= {
            "nats_url": f"nats://{address.hostname}:{address.port}",
            "nats_user": unquote(address.username or ""),
            "nats_password_alias": "SYSTEM_NATS_PASSWORD",
        }
    return execute(client, f"system/{name}", **workload)


def run(stack: Stack, client: httpx.Client, name: str, **workload: Json) -> None:
    """Run a system playbook to its good end; nothing of it shows the token."""
    execution_id = begin(stack, client, name, **workload)
    assert finish(client, execution_id) == "COMPLETED"
    body = client.get(f"/api/executions/{execution_id}").json()
    assert body["soft_errors"] == 0
    assert TOKEN not in client.get(f"/api/executions/{execution_id}/events").text
    ours = "SELECT count(*) FROM noetl.command WHERE execution_id = $1 AND worker_id <> 'system-1'"
    assert fetch(stack, ours, execution_id)[0][0] == 0


def laid_out_ids() -> set[str]:
    return {f"e:{FIRST + n * 4096}:1" for n in range(1, ROWS + 1)}


def assert_published_once(stack: Stack) -> None:
    found = published(stack)
    assert laid_out_ids() - found.keys() == set()
    assert {name: count for name, count in found.items() if count > 1} == {}
    left = "SELECT count(*) FROM noetl.outbox WHERE outbox_id <= $1 AND status <> 'PUBLISHED'"
    assert fetch(stack, left, ROWS)[0][0] == 0


def assert_projected_once(stack: Stack) -> None:
    rows = fetch(
        stack,
        "SELECT count(*) AS rows, min(position) AS low, max(position) AS high"
        " FROM noetl.execution WHERE path = $1 AND status = 'COMPLETED'",
        SHOWN_PATH,
    )
    assert tuple(rows[0]) == (ROWS, 1, 1)
    counters = fetch(
        stack,
        "SELECT status, executions FROM noetl.execution_counter"
        " WHERE path = $1 AND executions <> 0",
        SHOWN_PATH,
    )
    assert [tuple(row) for row in counters] == [("COMPLETED", ROWS)]


@pytest.mark.parametrize("form", [HTTP, PLUGIN])
def test_the_playbooks_do_what_the_services_leave(form: str) -> None:
    paused = {"NOETL_OUTBOX_RELAY_EVENTS": "false", "NOETL_PROJECTOR_FOLLOW": "false"}
    with system_stack(**paused) as (stack, client):
        fetch(stack, LAY_OUT, ROWS)
        pending = client.get("/api/internal/outbox/pending-count", headers=AUTHORIZED).json()
        assert pending["pending"] >= ROWS
        assert published(stack) == Counter()
        _check_internal_api(client)
        # Rows marked as failed wait for their next try, and the playbook takes what is due.
        waiting = "SELECT count(*) FROM noetl.outbox WHERE outbox_id <= $1 AND available_at > now()"
        wait_until(lambda: fetch(stack, waiting, ROWS)[0][0] == 0, what="all rows are due")

        run(stack, client, f"{form}outbox_publisher", batch_size=min(500, ROWS // 3))
        run(stack, client, f"{form}projector", batch_size=min(1000, ROWS // 3))

        assert_published_once(stack)
        assert_projected_once(stack)

        run(stack, client, f"{form}outbox_publisher")
        run(stack, client, f"{form}projector")

        assert_published_once(stack)
        assert_projected_once(stack)

        _project_events(stack, client)
        _clean_up(stack, client, form)


def _check_internal_api(client: httpx.Client) -> None:
    """Repeat the assertions of operators' own check of these routes."""
    root = "/api/internal"
    for headers in ({}, {"authorization": "Bearer WRONG"}, {"authorization": f"Basic {TOKEN}"}):
        assert client.get(f"{root}/outbox/pending-count", headers=headers).status_code == 403
    client.headers.update(AUTHORIZED)
    claim = client.post(f"{root}/outbox/claim", json={"limit": 2}).json()
    assert claim["claimed"] == len(claim["rows"]) == 2
    row = client.post(f"{root}/outbox/claim", json={"limit": 1}).json()["rows"][0]
    failed = {"outbox_id": row["outbox_id"], "error": "x", "attempts": row["attempts"]}
    marked = client.post(f"{root}/outbox/mark-failed", json=failed).json()
    assert (marked["marked"], marked["available_at_in"] >= 1) == (True, True)
    for one in claim["rows"]:
        back = {"outbox_id": one["outbox_id"], "error": "x", "max_delay_seconds": 1}
        client.post(f"{root}/outbox/mark-failed", json=back).raise_for_status()
    first = {"event_id": 1, "execution_id": 99991781514562, "event_type": "validation.test"}
    events = [first, {**first, "event_id": 2}]
    projected = client.post(f"{root}/events/project", json={"events": events}).json()
    again = client.post(f"{root}/events/project", json={"events": [first]}).json()
    assert projected == {"projected": 2, "duplicates": 0}
    assert again == {"projected": 0, "duplicates": 1}
    for name in AUTHORIZED:
        del client.headers[name]


def _project_events(stack: Stack, client: httpx.Client) -> None:
    """Append as many events to one log, each of them sent twice."""
    page = 500
    counts = Counter[str]()
    for _ in range(2):
        for first in range(0, ROWS, page):
            events = [
                {"event_id": 10 + n, "execution_id": 9999, "event_type": "validation.test"}
                for n in range(first, min(first + page, ROWS))
            ]
            answer = client.post(
                "/api/internal/events/project", json={"events": events}, headers=AUTHORIZED
            )
            answer.raise_for_status()
            counts.update(answer.json())
    assert counts == {"projected": ROWS, "duplicates": ROWS}
    (row,) = fetch(
        stack,
        "SELECT count(*), count(DISTINCT event_id), min(position), max(position)"
        " FROM noetl.event WHERE execution_id = 9999",
    )
    assert tuple(row) == (ROWS, ROWS, 1, ROWS)


def _clean_up(stack: Stack, client: httpx.Client, form: str) -> None:
    fetch(
        stack,
        "INSERT INTO noetl.command (command_id, event_id, execution_id, catalog_id, step_name,"
        " status, completed_at) SELECT n, n, n, 1, 's', 'COMPLETED', now() - make_interval("
        "days => n) FROM generate_series(1, 20) AS n",
    )

    run(stack, client, f"{form}scheduled_cleanup", command_retention_days=7)

    old = fetch(stack, "SELECT event_id FROM noetl.command WHERE event_id <= 20 ORDER BY 1")
    assert [row["event_id"] for row in old] == list(range(1, 7))


PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: waits, path: system_test/waits}
workload: {n: 1}
workflow:
  - step: start
    tool: {kind: container, image: x}
"""
SUBSCRIPTION = """
apiVersion: noetl.io/v2
kind: Subscription
metadata: {name: orders, path: subscriptions/orders}
spec:
  source: webhook
  mode: push
  ingress: {gateway_path: /hooks/orders, verify: {type: bearer, secret: orders_key}}
  dispatch: {playbook: system_test/waits}
"""


def _check_routes(client: httpx.Client) -> None:
    """Starts, ends, replay and subscriptions on the whole stack."""
    register(client, PLAYBOOK)
    client.post(
        "/api/catalog/register", json={"content": SUBSCRIPTION, "resource_type": "subscription"}
    ).raise_for_status()
    start = {"path": "system_test/waits", "payload": {"n": 5}, "execution_pool": "nobody"}
    batch = client.post(
        "/api/execute/batch",
        json={"executions": [start, {"path": "nope"}, {**start, "dedup": {"key": "k"}}] * 2},
    ).json()
    assert [batch[name] for name in ("count", "started", "duplicates", "failed")] == [6, 3, 1, 2]
    first, other, third = (
        int(one["execution_id"]) for one in batch["results"] if one["status"] == "started"
    )
    again = [
        client.post("/api/execute", json=start, headers={"idempotency-key": "i"}).json()
        for _ in range(2)
    ]
    assert again[0]["execution_id"] == again[1]["execution_id"]

    ended = {"status": "FAILED", "error": "forced by operator"}
    finalized = client.post(f"/api/executions/{first}/finalize", json=ended).json()
    assert finalized["message"] == "Execution finalized with status: FAILED"
    once_more = client.post(f"/api/executions/{first}/finalize", json={"status": "COMPLETED"})
    assert once_more.json()["message"] == "Execution already in FAILED state"
    assert client.post(f"/api/executions/{other}/stop").json()["status"] == "cancelled"
    rerun = int(client.post(f"/api/executions/{first}/rerun", json={}).json()["execution_id"])
    assert client.get(f"/api/executions/{rerun}").json()["workload"] == {"n": 5}
    log = client.get(f"/api/executions/{first}").json()["events"]
    result = client.get(f"/api/events/{log[-1]['event_id']}/result").json()
    assert (result["event_type"], result["error"]) == ("playbook_failed", "forced by operator")
    for row in log:
        query = {"execution_id": first, "as_of_event_id": row["event_id"]}
        state = client.get("/api/replay/state", params=query).json()
        assert state["event_count"] == row["position"]
    assert state["execution"]["status"] == "FAILED"

    callback = f"/api/internal/container-callback/{third}/start"
    news = {"state": "succeeded", "job_name": "job-1"}
    told = [client.post(callback, json=news, headers=AUTHORIZED) for _ in range(2)]
    assert [one.status_code for one in told] == [202, 202]
    assert told[0].json() == told[1].json()

    one = client.post("/api/subscriptions/register", json={"path": "subscriptions/orders"}).json()
    path = f"/api/subscriptions/{one['subscription_id']}"
    assert client.post(f"{path}/activate").json()["state"] == "ACTIVE"
    event = {"execution_id": one["subscription_id"], "event_type": "x", "step": "ingress"}
    assert client.post("/api/events", json=event).json()["status"] == "ok"
    assert client.get(path).json() in client.get("/api/subscriptions").json()["subscriptions"]
    status = client.get(f"/api/executions/{one['subscription_id']}/status").json()
    assert status["status"] == "RUNNING"
    stuck = client.post("/api/executions/cleanup", json={"dry_run": True}).json()
    assert stuck["message"] == "No stuck executions found older than 5 minutes"


def test_beside_the_services_nothing_happens_twice() -> None:
    with system_stack() as (stack, client):
        fetch(stack, LAY_OUT, ROWS)
        _check_routes(client)
        begun = [
            begin(stack, client, f"{form}{name}", batch_size=50)
            for name in ("outbox_publisher", "projector")
            for form in (HTTP, PLUGIN) * 2
        ]
        assert {finish(client, one) for one in begun} == {"COMPLETED"}
        run(stack, client, "projector")

        left = "SELECT count(*) FROM noetl.outbox WHERE outbox_id <= $1 AND status <> 'PUBLISHED'"
        wait_until(
            lambda: fetch(stack, left, ROWS)[0][0] == 0,
            what="all rows are published",
        )
        assert_published_once(stack)
        assert_projected_once(stack)
