"""An edge that is away costs no worker its work (L3); a worker that is away does."""

import os
import signal
import time
from collections.abc import Iterator

import httpx
import pytest
from stack import Stack, execute, finish, register, running_stack

PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: slow, path: silent_edge/slow}
workflow:
  - step: start
    tool: {kind: python, code: "import time\\ntime.sleep(8)\\nresult = 1"}
"""
STALE_SECONDS = 6
AWAY_SECONDS = 15


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack whose worker speaks HTTP and counts as gone after six seconds of silence."""
    environment = {
        "NOETL_WORKER_TRANSPORT": "http",
        "WORKER_HEARTBEAT_INTERVAL": "1",
        "NOETL_COMMAND_WORKER_HEARTBEAT_STALE_SECONDS": str(STALE_SECONDS),
        "NOETL_EDGE_HEARTBEAT_SECONDS": "0.5",
        "NOETL_LIVENESS_SECONDS": "0.5",
    }
    with running_stack(environment=environment) as stack, stack.client() as client:
        register(client, PLAYBOOK)
        yield stack


def log(client: httpx.Client, execution_id: int) -> list[str]:
    """Return the types of an execution's events."""
    body = client.get(f"/api/executions/{execution_id}").json()
    return [event["event_type"] for event in body["events"]]


def taken_away(stack: Stack) -> int:
    """Return how often a holder was found silent, as the orchestrator counts it."""
    port = stack.services()["orchestrator"]["port"]
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    name = 'noetl_command_reclaimed_total{reason="lease_expired"} '
    (line,) = (line for line in text.splitlines() if line.startswith(name))
    return int(float(line.removeprefix(name)))


def silence(stack: Stack, service: str) -> tuple[str, bool]:
    """Freeze a process while a command runs.

    Returns how the run ended, and whether its command was taken from the worker.
    """
    before = taken_away(stack)
    with stack.client() as client:
        execution_id = execute(client, "silent_edge/slow")
        deadline = time.monotonic() + 20
        while "command.started" not in log(client, execution_id):
            assert time.monotonic() < deadline, "the command has not started"
            time.sleep(0.05)
        process = stack.services()[service]["pid"]
        os.kill(process, signal.SIGSTOP)
        # The length of the outage is what is tested: no condition ends it.
        time.sleep(AWAY_SECONDS)
        os.kill(process, signal.SIGCONT)
        status = finish(client, execution_id, seconds=60)
    return status, taken_away(stack) > before


@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_worker_behind_a_frozen_edge_keeps_its_command(stack: Stack) -> None:
    assert silence(stack, "api-gateway") == ("COMPLETED", False)


@pytest.mark.e2e
@pytest.mark.timeout(180)
def test_frozen_worker_loses_its_command(stack: Stack) -> None:
    """The same silence, but the edge would have heard a heartbeat."""
    assert silence(stack, "worker") == ("COMPLETED", True)
