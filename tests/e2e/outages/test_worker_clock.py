"""A worker whose clock is wrong works like others, and logs it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen

import httpx
import pytest
from noetl_testkit.stack import Stack, finish, free_port, register
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.e2e

POOL = "clocks"
STEPS = 6
PLAYBOOK = (
    "apiVersion: noetl.io/v2\nkind: Playbook\n"
    "metadata: {name: chain, path: worker_clock/chain}\nworkflow:\n"
) + "".join(
    f"- step: {'start' if number == 0 else f's{number}'}\n  tool: {{kind: noop}}\n"
    + (f"  next: {{arcs: [{{step: s{number + 1}}}]}}\n" if number + 1 < STEPS else "")
    for number in range(STEPS)
)
WRONG_CLOCK = """
import os, time
real, ahead = time.time, float(os.environ["TEST_CLOCK_AHEAD"])
time.time = lambda: real() + ahead
"""
"""The first module that Python loads in a process: others read the clock after it."""


@contextmanager
def worker(stack: Stack, folder: Path, *, ahead: int) -> Iterator[tuple[Popen[bytes], int]]:
    """Run a worker whose wall clock is wrong; yield it and the port of its metrics."""
    (folder / "sitecustomize.py").write_text(WRONG_CLOCK)
    port = free_port()
    made = stack.start_worker(
        f"clock{ahead}",
        log=folder / "log",
        is_warm=False,
        WORKER_POOL_NAME=POOL,
        NOETL_HTTP_PORT=str(port),
        PYTHONPATH=str(folder),
        TEST_CLOCK_AHEAD=str(ahead),
    )
    try:
        yield made, port
    finally:
        made.terminate()
        made.wait(timeout=PATIENCE_SECONDS)


def metric(port: int, name: str) -> float | None:
    """Return a metric of a worker; None while there is none."""
    try:
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    except httpx.TransportError:
        return None
    lines = (line.rpartition(" ") for line in text.splitlines())
    return next((float(value) for found, _, value in lines if found == name), None)


@pytest.mark.parametrize("ahead", [40, -40])
def test_a_worker_with_a_wrong_clock_gets_commands_with_answers_and_warns(
    nats_stack: Stack, tmp_path: Path, ahead: int
) -> None:
    with worker(nats_stack, tmp_path, ahead=ahead) as (_, port), nats_stack.client() as client:
        register(client, PLAYBOOK)
        wait_until(lambda: metric(port, "noetl_worker_clock_ahead_seconds"), what="it has compared")

        def runs_with_answers() -> bool:
            body = {"path": "worker_clock/chain", "execution_pool": POOL}
            started = client.post("/api/execute", json=body).raise_for_status().json()
            assert finish(client, int(started["execution_id"])) == "COMPLETED"
            return bool(metric(port, 'noetl_worker_fast_path_total{outcome="next"}'))

        # An answer that takes long brings no command.
        wait_until(runs_with_answers, what="commands come with answers")
        overdue = metric(port, 'noetl_worker_fast_path_total{outcome="overdue"}')
        difference = metric(port, "noetl_worker_clock_ahead_seconds")

    assert overdue == 0
    assert difference == pytest.approx(ahead, abs=5)
    warnings = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [one["msg"] for one in warnings if one["level"] == "warning"].count("clock_off") == 1
