"""A password of the workload is passed on under names that say nothing of it."""

import base64
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest
from noetl_testkit.stack import Stack, events, execute, finish, register

if TYPE_CHECKING:
    from noetl_contract.json import JsonObject

pytestmark = pytest.mark.e2e

CHILD = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: attack_mask_child, path: attack/mask_child}
workload: {p: none}
workflow:
  - step: start
    tool:
      kind: python
      args: {q: "{{ workload.p }}"}
      code: |
        def main(q):
            return {"child_got": q}
"""
PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: attack_mask, path: attack/mask}
workload: {db_password: none, session: {auth0_token: none}}
workflow:
  - step: start
    tool:
      kind: python
      args: {p: "{{ workload.db_password }}", t: "{{ workload.session.auth0_token }}"}
      code: |
        import base64
        from urllib.parse import quote

        def main(p, t):
            spelled = [base64.b64encode(p.encode()).decode(), quote(p, safe="")]
            return {"p": p, "t": t, "text": "user:" + p, "key " + p: 1, "spelled": spelled}
    next: [{step: child}]
  - step: child
    tool: {kind: playbook, path: attack/mask_child, args: {p: "{{ workload.db_password }}"}}
    next: [{step: fail}]
  - step: fail
    tool:
      kind: python
      args: {p: "{{ workload.db_password }}"}
      code: |
        def main(p):
            raise ValueError("no login with " + p)
    next: [{step: end}]
  - step: end
    tool: {kind: http, url: "http://127.0.0.1:1/{{ workload.db_password | urlencode }}"}
"""


@dataclass
class Played:
    """An execution that was given secrets: the texts to hide, and its event stream."""

    execution_id: int
    hidden: tuple[str, ...]
    streamed: str


@pytest.fixture(scope="module")
def played(nats_stack: Stack) -> Played:
    password, token = f"Hunter+{secrets.token_hex(8)}/x", f"tok_{secrets.token_hex(8)}"
    with nats_stack.client() as client:
        register(client, CHILD)
        register(client, PLAYBOOK)
        execution_id = execute(
            client, "attack/mask", db_password=password, session={"auth0_token": token}
        )
        streamed = client.get(f"/api/executions/{execution_id}/events/stream").text
        finish(client, execution_id)
    code = base64.b64encode(password.encode()).decode().rstrip("=")
    return Played(execution_id, (password, token, quote(password, safe=""), code), streamed)


def texts(client: httpx.Client, played: Played) -> dict[str, str]:
    """Return all answers about the execution."""
    number = played.execution_id
    paths = [
        "/api/executions",
        f"/api/executions/{number}",
        f"/api/executions/{number}?page=1&page_size=100",
        f"/api/executions/{number}/events?page_size=100",
        f"/api/executions/{number}/status",
        f"/api/ehdb/executions/{number}",
        f"/api/ehdb/executions/{number}/events",
        f"/api/replay/state?execution_id={number}",
        f"/api/executions/{number}/events/stream",
    ]
    paths += [f"/api/events/{event['event_id']}" for event in events(client, number)]
    paths += [f"/api/events/{event['event_id']}/result" for event in events(client, number)]
    return {path: client.get(path).text for path in paths}


def test_no_answer_shows_it(nats_stack: Stack, played: Played) -> None:
    with nats_stack.client() as client:
        found = texts(client, played)
        listed: list[JsonObject] = client.get("/api/executions").json()
        children = [
            entry["execution_id"]
            for entry in listed
            if str(entry.get("parent_execution_id")) == str(played.execution_id)
        ]
        found |= {
            f"child {child}": client.get(f"/api/executions/{child}").text for child in children
        }

    found["while it ran"] = played.streamed
    shown = [
        (path, text[max(0, text.find(secret) - 60) : text.find(secret) + 20])
        for path, text in found.items()
        for secret in played.hidden
        if secret in text
    ]
    assert shown == []
    assert children
    assert "user:[REDACTED]" in found[f"/api/executions/{played.execution_id}"]
    assert "event: end" in played.streamed


def test_the_steps_got_it_all_the_same(nats_stack: Stack, played: Played) -> None:
    """Stored values are whole: later steps and children work with them."""
    with nats_stack.client() as client:
        rows = events(client, played.execution_id)

    assert any("no login with" in str(row) for row in rows)


def test_no_log_shows_it(nats_stack: Stack, played: Played) -> None:
    for log in (nats_stack.data / "logs").glob("*"):
        text = log.read_text(errors="replace")
        assert not [secret for secret in played.hidden if secret in text], log.name
