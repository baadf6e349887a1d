"""A stopping worker ends the commands it can, and gives the rest back without harm."""

import contextlib
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from subprocess import Popen

import httpx
import pytest
from noetl_testkit.stack import Stack, events, finish, register
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.e2e

POOL = "shrinking"
STEP = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: slow, path: tests/shrinking}
workload: {gate: "", mark: ""}
workflow:
- step: start
  tool:
    kind: shell
    command: |
      echo begun >> {{ workload.mark }}
      until [ -e {{ workload.gate }} ]; do sleep 0.1; done
"""


class Pool:
    """Workers of a pool of their own, beside the stack's."""

    _workers: dict[str, Popen[bytes]]

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._workers = {}

    def start(self, name: str, *, grace: float) -> None:
        self._workers[name] = self._stack.start_worker(
            name,
            log=self._stack.data.parent / "shrinking.log",
            NOETL_SHUTDOWN_GRACE_SECONDS=str(grace),
            WORKER_POOL_NAME=POOL,
            WORKER_MAX_CONCURRENT="4",
            # The marks are outside of the directories of runs.
            NOETL_WORKER_SCRIPT_ISOLATED="false",
        )

    def tell_to_stop(self, name: str) -> None:
        self._workers[name].send_signal(signal.SIGTERM)

    def ended(self, name: str) -> int:
        """Wait for the end of a worker; return its exit code."""
        return self._workers.pop(name).wait(timeout=PATIENCE_SECONDS)

    def close(self) -> None:
        for worker in self._workers.values():
            worker.kill()
            worker.wait(timeout=PATIENCE_SECONDS)


@contextlib.contextmanager
def pool_of(stack: Stack) -> Iterator[Pool]:
    pool = Pool(stack)
    try:
        yield pool
    finally:
        pool.close()


def start(client: httpx.Client, gate: Path, mark: Path) -> int:
    """Start the playbook in the pool, and return the execution; its step ends with the gate."""
    body = {
        "path": "tests/shrinking",
        "payload": {"gate": str(gate), "mark": str(mark)},
        "execution_pool": POOL,
    }
    answer = client.post("/api/execute", json=body).raise_for_status()
    return int(answer.json()["execution_id"])


def begun(mark: Path) -> int:
    return len(mark.read_text().splitlines()) if mark.exists() else 0


def has_begun(mark: Path, times: int) -> bool:
    return begun(mark) == times


def test_a_stopped_worker_ends_what_its_grace_allows(nats_stack: Stack, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with pool_of(nats_stack) as pool, nats_stack.client() as client:
        register(client, STEP)
        marks = [tmp_path / f"mark-{number}" for number in range(6)]
        ids = [start(client, gate, mark) for mark in marks]
        pool.start("shrink-1", grace=PATIENCE_SECONDS)
        wait_until(lambda: sum(map(begun, marks)) == 4)
        pool.tell_to_stop("shrink-1")
        pool.start("shrink-2", grace=PATIENCE_SECONDS)
        gate.touch()

        assert pool.ended("shrink-1") == 0
        assert [finish(client, one) for one in ids] == ["COMPLETED"] * 6
        assert [begun(mark) for mark in marks] == [1] * 6


@pytest.mark.slow
def test_a_command_outlives_more_stopped_workers_than_it_has_attempts(
    nats_stack: Stack, tmp_path: Path
) -> None:
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    with pool_of(nats_stack) as pool, nats_stack.client() as client:
        register(client, STEP)
        execution_id = start(client, gate, mark)
        for number in range(1, 4):
            name = f"cut-{number}"
            # Of this three tenths are for the goodbye, which has to fit on a busy machine.
            pool.start(name, grace=10.0)
            wait_until(partial(has_begun, mark, number))
            pool.tell_to_stop(name)
            assert pool.ended(name) == 0
        gate.touch()
        pool.start("cut-4", grace=PATIENCE_SECONDS)

        assert finish(client, execution_id) == "COMPLETED"
        types = [event["event_type"] for event in events(client, execution_id)]
        assert types.count("command.claimed") == 4
        assert begun(mark) == 4
