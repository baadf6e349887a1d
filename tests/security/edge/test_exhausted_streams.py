"""One client that wants all event streams."""

import contextlib

import httpx
import pytest
from attacker import connect, status_of
from noetl_contract.json import JsonObject
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import wait_for

SLEEPER = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: sleeper, path: security/edge/sleeper}
workflow:
  - step: start
    tool: {kind: shell, command: sleep 60}
"""


@pytest.fixture(scope="module")
def execution_id(edge_stack: Stack) -> int:
    with edge_stack.client() as client:
        # Floods of other tests may have used up what this address may do.
        document, start = {"content": SLEEPER}, {"path": "security/edge/sleeper"}
        wait_for(lambda: _accepted(client, "/api/catalog/register", document))
        started = wait_for(lambda: _accepted(client, "/api/execute", start))
        return int(started["execution_id"])


def _accepted(client: httpx.Client, path: str, body: JsonObject) -> JsonObject | None:
    answer = client.post(path, json=body)
    if answer.status_code == 429:
        return None
    answer.raise_for_status()
    return dict(answer.json())


def test_an_address_gets_its_share_of_streams(edge_stack: Stack, execution_id: int) -> None:
    asked = b"GET /api/executions/%d/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with contextlib.ExitStack() as held:
        clients = [held.enter_context(connect(edge_stack)) for _ in range(12)]
        for client in clients:
            client.sendall(asked % execution_id)
        answers = [client.recv(4096) for client in clients]

    statuses = [status_of(answer) for answer in answers]
    refused = next(answer for answer in answers if status_of(answer) == 429)
    assert sorted(set(statuses)) == [200, 429]
    assert statuses.count(200) == 8
    assert b"retry-after: 5" in refused
    with edge_stack.client() as client:
        client.post(f"/api/executions/{execution_id}/cancel").raise_for_status()
