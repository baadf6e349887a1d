"""One statement whose text takes long to read would stop the projector, and with it all reads."""

import asyncio
import time

import httpx
import pytest
from noetl_testkit.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

# Each takes some milliseconds; the machine may be busy with other tests.
PATIENCE_SECONDS = 4.0
ALLOWED, FAR_TOO_LONG = 60_000, 200_000
TEXTS = {
    "placeholders that never end": "select 1 " + "%(" * FAR_TOO_LONG,
    "dollar quotes that never end": "select 1 " + " ".join(f"$a{n}$" for n in range(40_000)),
    "comments that never end": "select 1 " + "/*" * FAR_TOO_LONG,
    "comments in a row": "select 1 " + "/**/" * FAR_TOO_LONG,
    "operators that the server reads again and again": "select 1 " + "+-" * FAR_TOO_LONG,
    "escapes that never end": "select 1 " + "E'\\" * FAR_TOO_LONG,
    "parentheses before the command": "(" * FAR_TOO_LONG,
}


@pytest.mark.parametrize("size", [ALLOWED, FAR_TOO_LONG])
@pytest.mark.parametrize("kind", TEXTS)
async def test_a_hostile_text_is_answered_at_once_and_others_are_served(
    nats_stack: Stack, kind: str, size: int
) -> None:
    body = {"query": TEXTS[kind][:size], "parameters": [1]}
    async with httpx.AsyncClient(base_url=nats_stack.url, timeout=20) as client:
        # The first connections of all.
        await client.get("/api/executions")
        await client.post("/api/postgres/execute", json={"query": "SELECT 1"})
        began = time.monotonic()
        hostile = asyncio.create_task(client.post("/api/postgres/execute", json=body))
        reads = 0
        while not hostile.done():
            asked = time.monotonic()
            assert (await client.get("/api/executions")).status_code == 200
            assert time.monotonic() - asked < PATIENCE_SECONDS
            reads += 1
        answer = await hostile

    assert time.monotonic() - began < PATIENCE_SECONDS
    assert reads
    assert answer.status_code in {422, 500}, answer.text
    if size == FAR_TOO_LONG:
        assert "NOETL_SQL_CONSOLE_STATEMENT_BYTES" in answer.json()["error"]
