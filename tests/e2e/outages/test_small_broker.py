"""A stack on a broker that takes 64 KB a message: larger ones go in parts (W13)."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from noetl_testkit.nats import NatsServer
from noetl_testkit.stack import Stack, events, execute, finish, register, running_stack

pytestmark = pytest.mark.e2e

PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: large, path: small_broker/large}
workload: {text: ""}
workflow:
  - step: start
    tool:
      kind: python
      input: {text: "{{ workload.text }}"}
      code: |
        result = {"length": len(text), "echo": text[:90000]}
    next: {arcs: [{step: large}]}
  - step: large
    tool:
      kind: python
      input: {length: "{{ start.length }}"}
      code: |
        result = {"length": length, "rows": ["x" * 100] * 10000}
    next: {arcs: [{step: error}]}
  - step: error
    tool:
      kind: python
      input: {from: "{{ large.length }}"}
      code: |
        raise ValueError("y" * 300000)
"""
FAILING = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: failing, path: small_broker/failing}
workload: {text: ""}
workflow:
  - step: start
    tool: {kind: http, url: "{{ workload.text }}"}
"""
TEXT = "x y " * 300_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a broker of its own."""
    server = NatsServer(tmp_path_factory.mktemp("broker") / "small")
    server.instance = replace(server.instance, max_payload_bytes=64 << 10)
    server.start()
    try:
        with (
            running_stack(environment={"NOETL_NATS_URL": server.url}) as stack,
            stack.client() as client,
        ):
            register(client, PLAYBOOK)
            register(client, FAILING)
            yield stack
    finally:
        server.kill()


def test_w13_a_start_and_results_above_the_limit(stack: Stack) -> None:
    with stack.client() as client:
        execution_id = execute(client, "small_broker/large", text=TEXT)

        assert finish(client, execution_id) == "COMPLETED"
        log = events(client, execution_id)

    done = [event for event in log if event["event_type"] == "call.done"]
    assert len(done) == 3


def test_w13_an_error_above_the_limit(stack: Stack) -> None:
    with stack.client() as client:
        execution_id = execute(client, "small_broker/failing", text="no url " * 40_000)

        assert finish(client, execution_id) == "FAILED"


def test_w13_an_event_above_the_limit(stack: Stack) -> None:
    with stack.client() as client:
        execution_id = execute(client, "small_broker/large", text="x")
        finish(client, execution_id)
        answer = client.post(
            "/api/events",
            json={
                "execution_id": str(execution_id),
                "event_type": "step.note",
                "step": "start",
                "payload": {"text": TEXT},
            },
        )
        answer.raise_for_status()
        (note,) = [one for one in events(client, execution_id) if one["event_type"] == "step.note"]

    assert note["result"]["context"] == {"text": TEXT}
