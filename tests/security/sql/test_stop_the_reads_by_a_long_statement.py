"""One statement whose text takes long to read would stop the projector, and with it all reads."""

import asyncio

import httpx
import psutil
import pytest
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.e2e

# Each takes some milliseconds.
MOST_SECONDS_OF_PROCESSOR = 10.0
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
    async with httpx.AsyncClient(base_url=nats_stack.url, timeout=PATIENCE_SECONDS) as client:
        # The first connections of all.
        await client.get("/api/executions")
        await client.post("/api/postgres/execute", json={"query": "SELECT 1"})
        projector = psutil.Process(nats_stack.services()["projector"]["pid"])
        used = projector.cpu_times().user
        hostile = asyncio.create_task(client.post("/api/postgres/execute", json=body))
        reads = 0
        while not hostile.done():
            assert (await client.get("/api/executions")).status_code == 200
            reads += 1
        answer = await hostile

    assert projector.cpu_times().user - used < MOST_SECONDS_OF_PROCESSOR
    assert reads
    assert answer.status_code in {422, 500}, answer.text
    if size == FAR_TOO_LONG:
        assert "NOETL_SQL_CONSOLE_STATEMENT_BYTES" in answer.json()["error"]
