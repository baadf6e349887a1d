"""Behaviour that the operators' validation scripts check."""

import asyncio
import json
import os
import re
import subprocess
import time

import asyncpg
import httpx
import pytest
from golden import TOKEN
from noetl.stack.process import free_port
from noetl_contract.json import Json, JsonObject
from noetl_testkit.stack import Stack, service
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_for

pytestmark = pytest.mark.e2e

AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
PENDING = "/api/internal/outbox/pending-count"
IDS = (1, 42, 9999999999, 320816801799737344, 9223372036854775807, -1)
COUNTS = (2, 4, 16, 64, 1024)
# One row for each id: the shard of the id for each number of shards.
SHARDS = (
    (1, 1, 5, 21, 405),
    (1, 3, 3, 19, 851),
    (1, 3, 7, 55, 823),
    (0, 2, 14, 62, 702),
    (0, 0, 12, 12, 780),
    (1, 1, 9, 9, 713),
)
PAIRS = [
    (execution_id, count, index)
    for execution_id, row in zip(IDS, SHARDS, strict=True)
    for count, index in zip(COUNTS, row, strict=True)
]
EXTREMES = [(-(1 << 63), 2), (-(1 << 63), 1024), (0, 2), (0, 1024), ((1 << 63) - 1, 1)]
FOREIGN = 99991781514562000
SUBJECT = f"noetl.events.default.default.{FOREIGN}.0"
PAYLOAD = json.dumps({"event_type": "validation.test"})


@pytest.mark.parametrize("authorization", [None, "Bearer WRONG", f"Basic {TOKEN}"])
def test_the_gate_refuses(client: httpx.Client, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    assert client.get(PENDING, headers=headers).status_code == 403


@pytest.mark.parametrize("configured", [None, "", "  "])
def test_without_a_configured_token_nobody_passes(stack: Stack, configured: str | None) -> None:
    environment = {**os.environ, **stack.values()}
    environment.pop("NOETL_INTERNAL_API_TOKEN", None)
    port = free_port()
    environment |= {"NOETL_HTTP_HOST": "127.0.0.1", "NOETL_HTTP_PORT": str(port)}
    if configured is not None:
        environment["NOETL_INTERNAL_API_TOKEN"] = configured
    edge = subprocess.Popen(
        service("noetl_api_gateway", is_warm=True),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        answer = asked_until_it_answers(f"http://127.0.0.1:{port}{PENDING}", edge)
    finally:
        edge.terminate()
        edge.wait(timeout=PATIENCE_SECONDS)
    assert answer.status_code == 503
    assert answer.json()["error"].startswith(
        "Internal API not configured: NOETL_INTERNAL_API_TOKEN env var unset on the server."
    )


def asked_until_it_answers(url: str, process: subprocess.Popen[bytes]) -> httpx.Response:
    def answer() -> httpx.Response | None:
        assert process.poll() is None
        try:
            return httpx.get(url, headers=AUTHORIZED, timeout=PATIENCE_SECONDS)
        except httpx.ConnectError:
            return None

    return wait_for(answer, what=f"{url} answers")


def test_rows_are_counted_claimed_published_and_failed(stack: Stack, client: httpx.Client) -> None:
    found = client.get(PENDING, headers=AUTHORIZED)
    assert re.fullmatch(r'{"pending":\d+}', found.text)

    claimed = claimed_before_the_relay(stack, client, 2)
    assert claimed["claimed"] == len(claimed["rows"]) == 2
    ids = [row["outbox_id"] for row in claimed["rows"]]
    assert ids == sorted(ids)
    row = claimed["rows"][0]
    assert list(row)[:4] == ["outbox_id", "event_id", "execution_id", "subject"]
    # Ours adds under which id the relay would publish the row.
    assert list(row)[4:] == ["payload", "payload_codec", "attempts", "message_id"]
    assert row["attempts"] == 1
    assert post(client, "outbox/mark-published", {"outbox_ids": ids}) == {"marked": len(ids)}

    (last,) = claimed_before_the_relay(stack, client, 1)["rows"]
    failed = {"outbox_id": last["outbox_id"], "error": "no", "attempts": last["attempts"]}
    assert post(client, "outbox/mark-failed", failed) == {"marked": True, "available_at_in": 1}


def claimed_before_the_relay(stack: Stack, client: httpx.Client, count: int) -> JsonObject:
    """Lay out rows and claim them; the outbox service, which looks each second, may be first."""

    def laid_out() -> JsonObject | None:
        rows = asyncio.run(lay_out_rows(stack, count))
        claimed: JsonObject = post(client, "outbox/claim", {"limit": count})
        return claimed if {row["outbox_id"] for row in claimed["rows"]} == set(rows) else None

    return wait_for(laid_out, what="rows are claimed before the outbox service has them")


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(0, 1), (1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 64), (8, 128), (9, 256)],
)
def test_the_pause_doubles(client: httpx.Client, attempts: int, seconds: int) -> None:
    failed = {"outbox_id": (1 << 63) - 1, "error": "no", "attempts": attempts}
    answer = post(client, "outbox/mark-failed", failed)
    assert answer == {"marked": True, "available_at_in": seconds}


def test_events_are_projected_once(client: httpx.Client) -> None:
    execution_id = int(f"9999{int(time.time())}")
    events = [
        {
            "event_id": int(f"{execution_id}{number}"),
            "execution_id": execution_id,
            "event_type": "validation.test",
            "status": "COMPLETED",
        }
        for number in (1, 2)
    ]
    assert post(client, "events/project", {"events": events}) == {"projected": 2, "duplicates": 0}
    repeated = {"events": events[:1]}
    assert post(client, "events/project", repeated) == {"projected": 0, "duplicates": 1}


def test_shards_are_where_the_table_says(client: httpx.Client) -> None:
    assert len(PAIRS) == 30
    for execution_id, count, index in PAIRS:
        query = {"execution_id": str(execution_id), "shard_count": count}
        for path in ("/api/runtime/shard-info", "/sharding/preview"):
            assert client.get(path, params=query).json()["shard_index"] == index, (path, query)


def test_extreme_ids_have_a_shard_that_both_routes_agree_on(client: httpx.Client) -> None:
    for execution_id, count in EXTREMES:
        query = {"execution_id": str(execution_id), "shard_count": count}
        one, other = (
            client.get(path, params=query).json()
            for path in ("/api/runtime/shard-info", "/sharding/preview")
        )
        assert one["execution_id"] == other["execution_id"] == execution_id
        assert one["shard_index"] == other["shard_index"] < count


def post(client: httpx.Client, path: str, body: Json) -> JsonObject:
    answer = client.post(f"/api/internal/{path}", json=body, headers=AUTHORIZED)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def lay_out_rows(stack: Stack, count: int) -> list[int]:
    """Lay out rows that are due again and have the lowest ids of all."""
    connection = await asyncpg.connect(stack.dsn())
    try:
        lowest = await connection.fetchval("SELECT least(min(outbox_id), 0) FROM noetl.outbox")
        rows = [(lowest - number, FOREIGN + lowest - number) for number in range(count, 0, -1)]
        await connection.executemany(
            "INSERT INTO noetl.outbox"
            " (outbox_id, execution_id, event_id, kind, subject, payload, status)"
            " VALUES ($1, $2, $2, 'event', $3, $4::jsonb, 'FAILED')",
            [(outbox_id, event_id, SUBJECT, PAYLOAD) for outbox_id, event_id in rows],
        )
        return [outbox_id for outbox_id, _ in rows]
    finally:
        await connection.close()
