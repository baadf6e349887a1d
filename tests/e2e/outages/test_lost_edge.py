"""An edge that is killed loses no request of a page: results come from the next edge (P5)."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from noetl_testkit.stack import Stack, register, running_stack
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, unless_it_hangs

pytestmark = pytest.mark.e2e

PATH = "lost_edge/short"
PLAYBOOK = f"""\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: short, path: {PATH}}}
workload: {{n: 0}}
workflow:
  - step: start
    tool: {{kind: python, input: {{n: "{{{{ workload.n }}}}"}}, code: "result = n"}}
"""
EXECUTE = (
    "mutation ($n: JSON) {"
    f' executePlaybook(name: "{PATH}", variables: $n, clientId: "the-page")'
    " { executionId requestId } }"
)
STARTS = 60


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack() as stack, stack.client() as client:
        register(client, PLAYBOOK)
        yield stack


async def start(
    client: httpx.AsyncClient, number: int, lanes: asyncio.Semaphore
) -> dict[str, str] | None:
    """Start an execution for the page; None when the edge went away meanwhile."""
    body = {"query": EXECUTE, "variables": {"n": {"n": number}}}
    try:
        async with lanes:
            answer = await client.post("/graphql", json=body)
    except httpx.TransportError:
        return None
    told: dict[str, str] = answer.json()["data"]["executePlaybook"]
    return told


async def results(client: httpx.AsyncClient, *, wanted: set[str]) -> list[dict[str, Any]]:
    """Come back as the page, and return its results when all these executions have one."""
    found: list[dict[str, Any]] = []
    query = {"session_token": "any", "client_id": "the-page"}
    async with unless_it_hangs(), client.stream("GET", "/events", params=query) as answer:
        name = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: ") and name == "playbook/result":
                found.append(json.loads(line[6:])["params"])
                if wanted <= {one["executionId"] for one in found}:
                    break
    return found


async def test_p5_a_killed_edge_loses_no_request(stack: Stack) -> None:
    edge = stack.services()["api-gateway"]["pid"]
    assert edge
    async with httpx.AsyncClient(
        base_url=stack.url, timeout=PATIENCE_SECONDS, trust_env=False
    ) as client:
        lanes = asyncio.Semaphore(4)
        running = [asyncio.create_task(start(client, number, lanes)) for number in range(STARTS)]
        # Some are answered, some are on their way, some have not come.
        await eventually(lambda: any(one.done() for one in running[STARTS // 4 :]))
        os.kill(edge, signal.SIGKILL)
        told = [one for one in await asyncio.gather(*running) if one is not None]

        async def begun() -> set[str]:
            query = {"path": PATH, "limit": "100"}
            listed = (await client.get("/api/executions", params=query)).json()
            return {str(one["execution_id"]) for one in listed}

        async def is_back() -> bool:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(is_back, what="there is another edge")
        # None began without a request, whether its page was told or not.
        found = await results(client, wanted=await begun())

    assert told
    by_request = {one["requestId"]: one["executionId"] for one in found}
    assert {one["requestId"]: one["executionId"] for one in told}.items() <= by_request.items()
    assert {one["status"] for one in found} == {"COMPLETED"}
