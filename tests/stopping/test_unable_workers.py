"""A script that a worker can't begin is another worker's: nothing of it has begun."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import Popen

import httpx
import psutil
import pytest
from noetl_testkit.stack import Stack, events, finish, register
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.e2e

POOL = "unable"
PYTHON = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: python, path: tests/unable/python}
workload: {mark: ""}
workflow:
- step: start
  tool:
    kind: python
    input: {mark: "{{ workload.mark }}"}
    code: |
      with open(mark, "a") as lines:
          lines.write("begun\\n")
      result = {}
"""
SHELL = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: shell, path: tests/unable/shell}
workload: {mark: ""}
workflow:
- step: start
  tool:
    kind: shell
    command: echo begun >> {{ workload.mark }}
"""


PIPELINE = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: pipeline, path: tests/unable/pipeline}
workload: {mark: ""}
workflow:
- step: start
  tool:
  - script:
      kind: python
      input: {mark: "{{ workload.mark }}"}
      code: |
        with open(mark, "a") as lines:
            lines.write("begun\\n")
        result = {}
  - after:
      kind: noop
"""


def interpreter(folder: Path) -> tuple[Path, Path]:
    """Return an interpreter, and the file with which it ends at its start from then on."""
    program, ill = folder / "python", folder / "ill"
    program.write_text(f'#!/bin/sh\n[ -e {ill} ] && kill -9 $$\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return program, ill


@contextmanager
def worker(stack: Stack, name: str, **environment: str) -> Iterator[Popen[bytes]]:
    made = stack.start_worker(
        name,
        log=stack.data.parent / "unable.log",
        is_warm=False,
        WORKER_POOL_NAME=POOL,
        # The marks are outside of the directories of runs.
        NOETL_WORKER_SCRIPT_ISOLATED="false",
        **environment,
    )
    try:
        yield made
    finally:
        made.kill()
        made.wait(timeout=PATIENCE_SECONDS)


def kill_children(worker: Popen[bytes]) -> None:
    """Kill the interpreters, as a system without memory does."""
    children = psutil.Process(worker.pid).children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    wait_until(lambda: not any(map(is_alive, children)), what="they are gone")


def is_alive(process: psutil.Process) -> bool:
    """Return whether it runs; a zombie does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start(client: httpx.Client, kind: str, mark: Path) -> int:
    body = {
        "path": f"tests/unable/{kind}",
        "payload": {"mark": str(mark)},
        "execution_pool": POOL,
    }
    answer = client.post("/api/execute", json=body).raise_for_status()
    return int(answer.json()["execution_id"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "transport"), [("python", "nats"), ("shell", "http"), ("pipeline", "nats")]
)
def test_what_never_began_is_tried_elsewhere(
    nats_stack: Stack, tmp_path: Path, kind: str, transport: str
) -> None:
    program, ill = interpreter(tmp_path)
    first, second = tmp_path / "first", tmp_path / "second"
    settings = {
        "NOETL_WORKER_TRANSPORT": transport,
        # The later tries are, the longer it takes nothing after the last one.
        "NOETL_WORKER_SCRIPT_START_SECONDS": "3",
        "PYTHON_PATH": str(program),
    }
    with nats_stack.client() as client:
        for playbook in (PYTHON, SHELL, PIPELINE):
            register(client, playbook)
        with worker(nats_stack, f"ill-{kind}-{transport}", **settings) as unable:
            assert finish(client, start(client, kind, first)) == "COMPLETED"
            ill.touch()
            kill_children(unable)
            execution_id = start(client, kind, second)
            wait_until(lambda: given_back(client, execution_id, unable), what="it is given back")
            assert unable.poll() is None
        with worker(nats_stack, f"well-{kind}-{transport}"):
            assert finish(client, execution_id) == "COMPLETED"

    assert second.read_text().splitlines() == ["begun"]


def given_back(client: httpx.Client, execution_id: int, unable: Popen[bytes]) -> bool:
    """Return whether the command was given back; then stop its worker, which claims no more."""
    types = [event["event_type"] for event in events(client, execution_id)]
    if types.count("command.claimed") < 2:
        return False
    unable.send_signal(signal.SIGSTOP)
    return True


@pytest.mark.slow
def test_where_no_worker_can_begin_it_the_step_fails_with_the_reason(
    nats_stack: Stack, tmp_path: Path
) -> None:
    program, ill = interpreter(tmp_path)
    ill.touch()
    settings = {"NOETL_WORKER_SCRIPT_START_SECONDS": "0.5", "PYTHON_PATH": str(program)}
    with nats_stack.client() as client:
        register(client, PYTHON)
        with worker(nats_stack, "ill-alone", **settings):
            execution_id = start(client, "python", tmp_path / "mark")
            assert finish(client, execution_id) == "FAILED"
            ended = [one for one in events(client, execution_id) if "command." in one["event_type"]]

    assert [one["event_type"] for one in ended].count("command.claimed") == 5
    assert [one["event_type"] for one in ended].count("command.failed") == 1
    assert "Failed to spawn Python process" in str(ended[-1])
    assert not (tmp_path / "mark").exists()
