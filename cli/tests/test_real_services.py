"""The commands with the real services behind them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from noetl.stack.datadir import DataDirectory
from noetl.stack.process import free_port
from noetl_testkit.stack import command
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.e2e

[COMMAND] = command()
PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: it, path: tests/it}
workload: {n: 0, gate: ""}
workflow:
  - step: start
    tool:
      kind: python
      input: {n: "{{ n }}", gate: "{{ gate }}"}
      code: |
        import os, time
        while gate and os.path.exists(gate):
            time.sleep(0.02)
        result = {"n": n}
    next: {arcs: [{step: second}]}
  - step: second
    tool:
      kind: python
      input: {n: "{{ start.n }}"}
      code: "result = {'before': n}"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "it.yaml"
    path.write_text(PLAYBOOK)
    return path


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that keeps the playbook's first step running until it is removed."""
    path = tmp_path / "gate"
    path.touch()
    return path


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    return DataDirectory(tmp_path / "data")


@contextmanager
def started(
    data: DataDirectory, *words: str, signal_number: signal.Signals = signal.SIGINT
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a stack until the end of the block, if it lives that long."""
    log = data.root.with_suffix(".log")
    with log.open("ab") as output:
        process = subprocess.Popen(
            words,
            stdout=output,
            stderr=output,
            env={**os.environ, "NOETL_DATA_DIR": str(data.root)},
        )
    ready = log.read_text().count("Ctrl-C stops") + 1
    try:
        wait_until(
            lambda: process.poll() is not None or log.read_text().count("Ctrl-C stops") == ready,
            what="the stack is ready",
        )
        assert process.poll() is None, log.read_text()
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal_number)
        process.wait(timeout=PATIENCE_SECONDS)


def run_command(file: Path, data: DataDirectory, *, is_warm: bool = False) -> list[str]:
    return [*command(is_warm=is_warm), "run", str(file), "--data", str(data.root)]


def run(
    file: Path, data: DataDirectory, *arguments: str, is_warm: bool = False
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*run_command(file, data, is_warm=is_warm), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


def test_a_stack_comes_up_runs_a_playbook_and_goes_down(file: Path, data: DataDirectory) -> None:
    port = free_port()
    with started(data, COMMAND, "up", "--port", str(port), "--workers", "2") as up:
        finished = run(file, data)
        status = subprocess.run(
            [COMMAND, "status", "--json", "--data", str(data.root)],
            capture_output=True,
            check=True,
        )
        rebuilt = subprocess.run(
            [COMMAND, "rebuild", "--json", "--data", str(data.root)],
            capture_output=True,
            check=True,
        )

    entries = {entry["name"]: entry for entry in json.loads(status.stdout)["services"]}
    assert (finished.returncode, json.loads(finished.stdout)) == (0, {"before": 0}), finished.stderr
    assert up.returncode == 0
    assert entries.keys() == {
        *("nats", "postgres", "api-gateway", "orchestrator", "outbox", "projector", "catalog"),
        *("worker-1", "worker-2"),
    }
    assert {(entry["state"], entry["restarts"]) for entry in entries.values()} == {("ready", 0)}
    assert entries["api-gateway"]["port"] == port
    assert json.loads(rebuilt.stdout) == {"rewritten": 1, "removed": 0}


@pytest.mark.slow
def test_an_execution_outlives_a_kill_of_the_whole_stack(
    file: Path, data: DataDirectory, gate: Path
) -> None:
    up = ("up", "--port", str(free_port()))
    with started(data, COMMAND, *up) as first:
        following = subprocess.Popen(
            [
                *run_command(file, data, is_warm=True),
                *("--set", "n=3", "--set", f"gate={gate}"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert following.stderr is not None
        wait_until(lambda: "… start" in following.stderr.readline())
        first.kill()
    try:
        with started(data, *command(is_warm=True), *up):
            gate.unlink()
            result, said = following.communicate(timeout=PATIENCE_SECONDS)
    finally:
        following.kill()

    assert (following.returncode, json.loads(result)) == (0, {"before": 3}), said


def test_a_run_without_a_stack_brings_its_own_and_takes_it_away(
    file: Path, data: DataDirectory, gate: Path
) -> None:
    other_gate = gate.with_name("other")
    other_gate.touch()
    with (
        subprocess.Popen(
            [*run_command(file, data, is_warm=True), "--set", "n=1", "--set", f"gate={gate}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as first,
        ThreadPoolExecutor(1) as pool,
    ):
        stderr = first.stderr
        assert stderr is not None
        wait_until(data.is_held, what="the first run has a stack")
        given = ("--set", "n=2", "--set", f"gate={other_gate}")
        later = pool.submit(run, file, data, *given, is_warm=True)
        wait_until(data.is_used, what="the second run has found it")
        gate.unlink()
        wait_until(lambda: "another run uses" in stderr.readline())
        other_gate.unlink()
        second = later.result()
        said, _ = first.communicate(timeout=PATIENCE_SECONDS)

    assert (first.returncode, json.loads(said)) == (0, {"before": 1})
    assert (second.returncode, json.loads(second.stdout)) == (0, {"before": 2}), second.stderr
    assert "starting a local stack" not in second.stderr
    assert not data.is_held()
    assert {entry["state"] for entry in (data.state() or {})["services"]} == {"stopped"}


@pytest.mark.slow
def test_ctrl_c_ends_a_run_and_its_stack(file: Path, data: DataDirectory, gate: Path) -> None:
    process = subprocess.Popen(
        [*run_command(file, data, is_warm=True), "--set", f"gate={gate}"],
        stderr=subprocess.PIPE,
        text=True,
    )
    stderr = process.stderr
    assert stderr is not None
    wait_until(lambda: "… start" in stderr.readline())
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "CANCELLED" in stderr.readline())
    gate.unlink()
    _, said = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 130, said
    assert not data.is_held()


@pytest.mark.slow
def test_server_and_worker_start_as_modules(file: Path, data: DataDirectory) -> None:
    """Start the modules that the NoETL command line runs for `server start` and `worker start`.

    It doesn't wait for the server, so the worker may well be there first.
    """
    port = free_port()
    server = (sys.executable, "-m", "noetl.server", "--host", "127.0.0.1", "--port", str(port))
    worker = subprocess.Popen(
        [sys.executable, "-m", "noetl.worker"],
        env={**os.environ, "NOETL_DATA_DIR": str(data.root)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with started(data, *server, "--init-db", signal_number=signal.SIGTERM) as process:
            finished = run(
                file, data, "--server-url", f"http://127.0.0.1:{port}", "--timeout", "60"
            )
            worker.terminate()
            worker.wait(timeout=PATIENCE_SECONDS)
    finally:
        worker.kill()

    names = {entry["name"] for entry in (data.state() or {})["services"]}
    assert (finished.returncode, json.loads(finished.stdout)) == (0, {"before": 0}), finished.stderr
    assert "worker" not in names
    assert process.returncode == 0
