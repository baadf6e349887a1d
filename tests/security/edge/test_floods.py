"""One client that asks for costly things as fast as it can."""

import httpx
import pytest
from attacker import list_executions, watched
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import PATIENCE_SECONDS

ONCE = {"path": "security/edge/nowhere", "workload": {}}


@pytest.mark.parametrize(
    ("path", "body", "burst", "address"),
    [
        ("/api/execute", ONCE, 20, "127.0.0.8"),
        ("/api/catalog/register", {"content": "nothing"}, 20, "127.0.0.9"),
        ("/api/postgres/execute", {"query": "select 1"}, 5, "127.0.0.10"),
    ],
)
def test_a_flood_is_told_to_wait(
    edge_stack: Stack, path: str, body: object, burst: int, address: str
) -> None:
    # From an address of its own, whose rate no other test has used up.
    own = httpx.HTTPTransport(local_address=address)
    client = httpx.Client(base_url=edge_stack.url, transport=own, timeout=PATIENCE_SECONDS)
    with watched(edge_stack, list_executions) as witness, client:
        answers = [client.post(path, json=body) for _ in range(burst * 4)]

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
        batch = {"executions": [ONCE] * 25}
        first = client.post("/api/execute/batch", json=batch)
        second = client.post("/api/execute/batch", json=batch)

    # The first takes more than the burst of 20 at once, and pays for it afterwards.
    assert (first.status_code, second.status_code) == (200, 429)
