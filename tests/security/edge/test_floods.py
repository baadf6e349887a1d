"""One client that asks for costly things as fast as it can."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from attacker import list_executions, watched
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until

ONCE = {"path": "security/edge/nowhere", "workload": {}}


@pytest.mark.parametrize(
    ("path", "body", "burst", "address"),
    [
        ("/api/execute", ONCE, 20, "127.0.0.8"),
        ("/api/catalog/register", {"content": "nothing"}, 20, "127.0.0.9"),
        ("/api/postgres/execute", {"query": "select 1"}, 5, "127.0.0.10"),
    ],
)
async def test_a_flood_is_told_to_wait(
    edge_stack: Stack, path: str, body: object, burst: int, address: str
) -> None:
    # From an address of its own, whose rate no other test has used up.
    own = httpx.AsyncHTTPTransport(local_address=address)
    client = httpx.AsyncClient(base_url=edge_stack.url, transport=own, timeout=PATIENCE_SECONDS)
    with watched(edge_stack, list_executions) as witness:
        async with client:
            # All at once: one after the other they may come as slowly as they are allowed to.
            posts = (client.post(path, json=body) for _ in range(burst * 4))
            answers = await asyncio.gather(*posts)

    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert refused[0].json()["error"].endswith("of this client")
    assert len(answers) - len(refused) >= burst
    assert witness.was_served()


def test_a_batch_counts_as_what_is_in_it(edge_stack: Stack) -> None:
    # From an address of its own, whose rate no other test has used up.
    from_elsewhere = httpx.HTTPTransport(local_address="127.0.0.7")
    with httpx.Client(
        base_url=edge_stack.url, transport=from_elsewhere, timeout=PATIENCE_SECONDS
    ) as client:
        batch = {"executions": [ONCE] * 1000}
        before = batches(edge_stack)
        with ThreadPoolExecutor(1) as thread:
            first = thread.submit(client.post, "/api/execute/batch", json=batch)
            wait_until(
                lambda: first.done() or batches(edge_stack) > before,
                what="the first is counted",
            )
            second = client.post("/api/execute/batch", json=batch)

    # The first takes more than the burst of 20 at once, and pays for it afterwards: for minutes.
    assert (first.result().status_code, second.status_code) == (200, 429)


def batches(stack: Stack) -> int:
    """Return how many batches the edge has counted."""
    port = stack.services()["api-gateway"]["port"]
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    name = "noetl_execute_batch_size_count "
    (line,) = (line for line in text.splitlines() if line.startswith(name))
    return int(float(line.removeprefix(name)))
