"""Effect of an event on its execution, in every answer that shows it."""

import json

import httpx
import pytest

pytestmark = pytest.mark.e2e

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: golden/fold}
workflow:
- step: start
  tool: {kind: noop}
"""
ENDS = {
    "playbook.completed": "COMPLETED",
    "playbook_completed": "COMPLETED",
    "workflow.completed": "COMPLETED",
    "playbook.failed": "FAILED",
    "playbook_failed": "FAILED",
    "workflow.failed": "FAILED",
    "playbook.cancelled": "CANCELLED",
    "playbook_cancelled": "CANCELLED",
    "execution.cancelled": "CANCELLED",
}
# The first word found decides, in this order: done, exit, completed; then error, failed.
STATUSES = {
    "call.done": "COMPLETED",
    "error.done": "COMPLETED",
    "call.failed.exit": "COMPLETED",
    "call.error": "FAILED",
    "tool.failed": "FAILED",
    "call.DONE": "RUNNING",
    "step.enter": "RUNNING",
}


@pytest.fixture(scope="module")
def playbook(client: httpx.Client) -> None:
    client.post("/api/catalog/register", json={"content": PLAYBOOK}).raise_for_status()


def start(client: httpx.Client) -> str:
    """Start an execution that no worker hears of."""
    body = {"path": "golden/fold", "execution_pool": "golden"}
    return str(client.post("/api/execute", json=body).raise_for_status().json()["execution_id"])


def post(client: httpx.Client, execution_id: str, event_type: str) -> None:
    body = {"execution_id": execution_id, "event_type": event_type, "step": "start"}
    client.post("/api/events", json=body).raise_for_status()


@pytest.mark.usefixtures("playbook")
def test_every_spelling_of_an_end_is_told_alike(
    client: httpx.Client, subtests: pytest.Subtests
) -> None:
    for event_type, status in ENDS.items():
        with subtests.test(event_type):
            execution_id = start(client)
            post(client, execution_id, "call.error")
            url = f"/api/executions/{execution_id}"
            assert client.get(f"{url}/status").json()["status"] == "RUNNING"
            post(client, execution_id, event_type)

            told = client.get(f"{url}/status").json()
            detail = client.get(url).json()
            entries = client.get("/api/executions?path=golden/fold&limit=1").json()
            check = client.get(f"{url}/cancellation-check").json()
            stream = client.get(f"{url}/events/stream?event_type=none").text

            assert [one["status"] for one in (told, detail, *entries, check)] == [status] * 4
            is_cancelled = status == "CANCELLED"
            assert told["is_cancelled"] == check["is_cancelled"] == is_cancelled
            ended = detail["events"][-1]["created_at"]
            assert [detail["completed_at"], entries[0]["completed_at"]] == [ended] * 2
            end = json.loads(stream.rpartition("event: end\ndata: ")[2])
            assert end == {"execution_id": int(execution_id), "status": status}


@pytest.mark.usefixtures("playbook")
def test_a_status_that_is_not_sent_follows_from_the_type(client: httpx.Client) -> None:
    execution_id = start(client)
    for event_type in STATUSES:
        post(client, execution_id, event_type)

    events = client.get(f"/api/executions/{execution_id}").json()["events"]

    told = {event["event_type"]: event["status"] for event in events}
    assert told | STATUSES == told
    results = {event["event_type"]: event["result"] for event in events}
    assert {name: results[name]["status"] for name in STATUSES} == STATUSES


@pytest.mark.usefixtures("playbook")
def test_a_batch_is_written_once_for_a_key_in_either_spelling(client: httpx.Client) -> None:
    execution_id = start(client)
    body = {"execution_id": execution_id, "events": [{"step": "start", "name": "call.note"}]}
    answers = [
        client.post("/api/events/batch", json=body, headers={name: "golden-key"}).json()
        for name in ("idempotency-key", "x-idempotency-key")
    ]

    events = client.get(f"/api/executions/{execution_id}/events?event_type=call.note").json()

    assert answers[0] == answers[1]
    assert [event["event_id"] for event in events["events"]] == answers[0]["event_ids"]
