"""Nonsense from outside: a clear refusal or a dead letter with its reason, and life goes on."""

import asyncio
import json
from typing import TYPE_CHECKING

import nats
import pytest
from nats.js.api import ConsumerConfig, DeliverPolicy
from noetl_testkit.stack import Stack, execute, finish, register
from noetl_testkit.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    import httpx

pytestmark = pytest.mark.e2e

GOOD = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: good, path: nonsense/good}
workflow:
  - step: start
    tool: {kind: noop}
"""


@pytest.fixture(scope="module")
def stack(nats_stack: Stack) -> Stack:
    with nats_stack.client() as client:
        register(client, GOOD)
    return nats_stack


def assert_alive(stack: Stack) -> None:
    """A playbook still runs, so no consumer is stuck behind the nonsense."""
    with stack.client() as client:
        assert finish(client, execute(client, "nonsense/good")) == "COMPLETED"


BROKEN_PLAYBOOKS = {
    "broken yaml": ("workflow: [", "line 2 column 1"),
    "not a mapping": ("- 1\n- 2\n", "metadata"),
    "no start": (GOOD.replace("step: start", "step: begin"), "start"),
    "arc to nowhere": (GOOD + "    next: {arcs: [{step: nowhere}]}\n", "nowhere"),
    "duplicate step": (GOOD + "  - step: start\n    tool: {kind: noop}\n", "start"),
    "wrong api version": (GOOD.replace("noetl.io/v2", "noetl.io/v9"), "noetl.io/v9"),
}


@pytest.mark.parametrize("name", list(BROKEN_PLAYBOOKS))
def test_broken_playbook_is_refused_and_names_the_problem(stack: Stack, name: str) -> None:
    """Refused at registration, or at the start where the contract registers first."""
    text, names = BROKEN_PLAYBOOKS[name]
    text = text.replace("nonsense/good", f"nonsense/{name.replace(' ', '-')}")
    with stack.client() as client:
        answer = client.post("/api/catalog/register", json={"content": text})
        if answer.status_code == 200:
            path = answer.json()["path"]
            answer = client.post("/api/execute", json={"path": path})

    assert 400 <= answer.status_code < 500, answer.text
    assert names in answer.text


BAD_REQUESTS = {
    "not json": ("/api/execute", b"{nope", 400),
    "a list": ("/api/execute", b"[]", 422),
    "wrong type": ("/api/execute", b'{"path": 5}', 422),
    "neither path nor id": ("/api/execute", b"{}", 422),
    "unknown path": ("/api/execute", b'{"path": "no/such"}', 404),
    "payload is text": ("/api/execute", b'{"path": "nonsense/good", "payload": "x"}', 422),
    "event without type": ("/api/events", b'{"execution_id": 1, "step": "a"}', 422),
    "float id": ("/api/events", b'{"execution_id": 1.5, "step": "a", "event_type": "x"}', 422),
    "id out of range": (
        "/api/events",
        b'{"execution_id": 99999999999999999999, "step": "a", "event_type": "x"}',
        422,
    ),
    "deep nesting": ("/api/execute", b'{"path": ' + b"[" * 5000 + b"]" * 5000 + b"}", None),
    "content is a number": ("/api/catalog/register", b'{"content": 1}', 422),
}


@pytest.mark.parametrize("name", list(BAD_REQUESTS))
def test_bad_request_gets_a_clear_4xx(stack: Stack, name: str) -> None:
    path, body, status = BAD_REQUESTS[name]
    with stack.client() as client:
        answer = client.post(path, content=body, headers={"content-type": "application/json"})

    assert 400 <= answer.status_code < 500, answer.text
    if status is not None:
        assert status == answer.status_code, answer.text
    assert answer.text


def test_body_over_the_limit_is_refused(stack: Stack) -> None:
    body = json.dumps({"path": "nonsense/good", "payload": {"x": "y" * (3 << 20)}})
    with stack.client() as client:
        answer = client.post(
            "/api/execute", content=body, headers={"content-type": "application/json"}
        )

    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/executions/1"),
        ("GET", "/api/executions/1/status"),
        ("POST", "/api/executions/1/cancel"),
        ("GET", "/api/commands/1"),
        ("GET", "/api/no/such/route"),
        ("GET", "/api/executions/not-a-number"),
    ],
)
def test_unknown_things_are_4xx(stack: Stack, method: str, path: str) -> None:
    with stack.client() as client:
        answer = client.request(method, path)

    assert 400 <= answer.status_code < 500, answer.text


def test_claim_of_an_unknown_command_is_409_so_that_real_workers_ack_it(stack: Stack) -> None:
    with stack.client() as client:
        answer = client.post("/api/commands/12345/claim", json={"worker_id": "w"})

    assert answer.status_code == 409, answer.text


def test_nul_characters_are_not_a_server_error(stack: Stack) -> None:
    with stack.client() as client:
        execution_id = execute(client, "nonsense/good", text="a\u0000b")

        assert finish(client, execution_id) == "COMPLETED"


GARBAGE = [b"", b"garbage \xff\xfe", b"[]", b'{"type": "no.such"}', b'{"type": "execute"}']


@pytest.mark.parametrize(
    "subject", ["noetl_ingress.0.1", "noetl_ingress.0.1.execute", "noetl.commands.shared.1"]
)
async def test_garbage_on_a_stream_becomes_dead_letters(stack: Stack, subject: str) -> None:
    connection = await nats.connect(stack.values()["NOETL_NATS_URL"])
    try:
        js = connection.jetstream()
        last = (await js.stream_info("noetl_dead")).state.last_seq
        sent = [(await js.publish(subject, body)).seq for body in GARBAGE]
        reader = await js.subscribe(
            "noetl_dead.>", stream="noetl_dead", config=ConsumerConfig(opt_start_seq=last + 1),
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE, ordered_consumer=True,
        )  # fmt: skip
        letters = [(await reader.next_msg(timeout=PATIENCE_SECONDS)).headers or {} for _ in GARBAGE]
    finally:
        await connection.close()

    assert sorted(int(letter["Noetl-Dead-Sequence"]) for letter in letters) == sent
    assert all(letter["Noetl-Dead-Reason"] for letter in letters)
    await asyncio.to_thread(assert_alive, stack)


def test_event_for_an_unknown_execution_is_refused(stack: Stack) -> None:
    body = {"execution_id": 7, "step": "a", "event_type": "command.completed", "payload": {}}
    with stack.client() as client:
        answer: httpx.Response = client.post("/api/events", json=body)

    assert 400 <= answer.status_code < 500, answer.text
