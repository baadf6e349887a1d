"""An edge that is away costs no worker its work (L3); a worker that is away does."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from noetl_testkit.stack import Stack, execute, finish, register, running_stack
from noetl_testkit.waiting import wait_until

pytestmark = pytest.mark.e2e

PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: slow, path: silent_edge/slow}
workload: {gate: ""}
workflow:
  - step: start
    tool:
      kind: python
      args: {gate: "{{ workload.gate }}"}
      code: |
        import os, time
        while os.path.exists(gate):
            time.sleep(0.02)
        result = 1
"""
STALE_SECONDS = 10
SILENCE = f"""
SELECT now() - max(heartbeat) > interval '{STALE_SECONDS + 2} seconds' FROM noetl.runtime
WHERE kind = 'worker_pool'
"""
"""No worker was heard for the time that it may be silent, and two looks at it."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack whose worker speaks HTTP and counts as gone after a few seconds of silence."""
    environment = {
        "NOETL_WORKER_TRANSPORT": "http",
        "WORKER_HEARTBEAT_INTERVAL": "0.5",
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


def silence(stack: Stack, service: str, gate: Path, *, until: Callable[[], bool]) -> str:
    """Freeze a process while a command runs, until a condition holds; return how the run ended."""
    gate.touch()
    with stack.client() as client:
        execution_id = execute(client, "silent_edge/slow", gate=str(gate))
        wait_until(lambda: "command.started" in log(client, execution_id))
        process = stack.services()[service]["pid"]
        os.kill(process, signal.SIGSTOP)
        try:
            wait_until(until, what="the freeze was long enough", every_seconds=0.1)
        finally:
            os.kill(process, signal.SIGCONT)
        gate.unlink()
        return finish(client, execution_id)


async def is_silent(dsn: str) -> bool:
    """Return whether no worker was heard for longer than one may be silent."""
    connection = await asyncpg.connect(dsn)
    try:
        return bool(await connection.fetchval(SILENCE))
    finally:
        await connection.close()


@pytest.mark.slow
def test_worker_behind_a_frozen_edge_keeps_its_command(stack: Stack, tmp_path: Path) -> None:
    before = taken_away(stack)

    ended = silence(
        stack, "api-gateway", tmp_path / "gate", until=lambda: asyncio.run(is_silent(stack.dsn()))
    )

    assert (ended, taken_away(stack)) == ("COMPLETED", before)


@pytest.mark.slow
def test_frozen_worker_loses_its_command(stack: Stack, tmp_path: Path) -> None:
    """The same silence, but the edge would have heard a heartbeat."""
    before = taken_away(stack)

    ended = silence(stack, "worker", tmp_path / "gate", until=lambda: taken_away(stack) > before)

    assert ended == "COMPLETED"
