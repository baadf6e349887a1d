"""The worker as a process: start, health, the orderly end and the sudden one."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil
import pytest
from noetl.stack.process import free_port
from noetl_bus.broker import connect
from noetl_bus.settings import NatsSettings
from noetl_bus.topology import ensure_topology
from noetl_contract.rpc import RpcReply
from noetl_contract.streams import STREAMS, pool_durable
from noetl_contract.subjects import command_subject
from noetl_testkit.bus import flush
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from worker_control_plane import ControlPlane, control_plane, make_command, make_notification
from worker_edge import scripted_edge

SLEEPER = """
import os, subprocess, time
child = subprocess.Popen(["sleep", "1000"])
open({path!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
time.sleep({seconds})
result = "slept"
"""


class Process:
    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    async def get(self, path: str) -> httpx.Response | None:
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                return await client.get(f"{self.url}{path}")
        except httpx.TransportError:
            return None

    async def is_ready(self) -> bool:
        answer = await self.get("/readyz")
        return answer is not None and answer.status_code == 200

    def below(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    async def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)


@asynccontextmanager
async def running_worker(nats_url: str, **env: str) -> AsyncIterator[Process]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "noetl_worker",
        env={
            "PATH": os.environ["PATH"],
            "NOETL_NATS_URL": nats_url,
            "NOETL_HTTP_PORT": str(port),
            "WORKER_ID": "w-1",
            "NOETL_SHUTDOWN_GRACE_SECONDS": "60",
            "NOETL_LOG_FORMAT": "json",
            **env,
        },
    )
    try:
        made = Process(process, port)
        await eventually(made.is_ready, what="the worker is ready")
        yield made
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.fixture
async def plane(nats_url: str) -> AsyncIterator[ControlPlane]:
    async with control_plane(nats_url) as made:
        yield made


def sleeper(path: Path, *, seconds: float) -> dict[str, Any]:
    code = SLEEPER.format(path=str(path), seconds=seconds)
    return make_command("python", config={"code": code})


def is_alive(process: psutil.Process) -> bool:
    """Return whether it runs; a zombie does not."""
    try:
        return process.status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False


async def pids_in(path: Path) -> list[int]:
    await eventually(lambda: path.exists() and path.read_text(), what="the script runs")
    text = await asyncio.to_thread(path.read_text)
    return [int(word) for word in text.split()]


async def test_a_worker_starts_registers_runs_and_tells(plane: ControlPlane, nats_url: str) -> None:
    async with running_worker(nats_url, WORKER_POOL_NAME="default") as worker:
        command = make_command("python", config={"code": "result = x", "args": {"x": 5}})
        await plane.notify(make_notification(1, command=command))
        result = await plane.result_of(1)
        health = await worker.get("/healthz")

        lines = [
            'noetl_worker_pulls_total{outcome="claimed"} 1.0',
            'noetl_worker_dispatch_duration_seconds_count{tool_kind="python"} 1.0',
            "noetl_worker_concurrent_dispatches 0.0",
            "noetl_worker_unconfirmed 0.0",
            (
                'noetl_worker_nats_consumer_pending{consumer="noetl_worker_pool_shared",'
                'stream="NOETL_COMMANDS"} 0.0'
            ),
        ]

        async def are_shown() -> bool:
            metrics = await worker.get("/metrics")
            return metrics is not None and all(line in metrics.text for line in lines)

        await eventually(are_shown, what="all metrics are shown")
        metrics = await worker.get("/metrics")

    assert result["data"] == 5
    registrations = [body for name, body in plane.calls if name == "runtime.register"]
    assert [body["name"] for body in registrations] == ["w-1"]
    assert health is not None
    assert health.status_code == 200
    assert metrics is not None
    began = 'noetl_worker_fast_path_total{outcome="%s"} 1.0'
    assert began % "quick" in metrics.text or began % "started" in metrics.text


async def test_sigterm_lets_work_in_flight_end_and_deregisters(
    plane: ControlPlane, nats_url: str, tmp_path: Path
) -> None:
    async with running_worker(nats_url) as worker:
        await plane.notify(make_notification(1, command=sleeper(tmp_path / "pids", seconds=1.5)))
        await pids_in(tmp_path / "pids")
        below = worker.below()
        await flush(plane.bus)
        code = await worker.end(signal.SIGTERM)

    assert code == 0
    assert (await plane.result_of(1))["data"] == "slept"
    assert plane.calls[-1][0] == "runtime.deregister"
    await eventually(lambda: not any(map(is_alive, below)), what="all are gone")


async def test_sigterm_kills_what_outlives_the_grace(
    plane: ControlPlane, nats_url: str, tmp_path: Path
) -> None:
    async with running_worker(nats_url, NOETL_SHUTDOWN_GRACE_SECONDS="2") as worker:
        await plane.notify(make_notification(1, command=sleeper(tmp_path / "pids", seconds=1000)))
        await pids_in(tmp_path / "pids")
        below = worker.below()
        code = await worker.end(signal.SIGTERM)

    assert code == 0
    assert plane.of("outcome", 1) == []
    assert plane.calls[-1][0] == "runtime.deregister"
    await eventually(lambda: not any(map(is_alive, below)), what="all are gone")


async def test_a_thread_that_never_ends_does_not_keep_the_worker(
    plane: ControlPlane, nats_url: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    # Without a writer, opening it waits where nothing can interrupt.
    query = f"SELECT * FROM read_csv('{tmp_path / 'pipe'}')"
    command = make_command("duckdb", config={"query": query, "timeout_seconds": 1})

    async with running_worker(nats_url, NOETL_WORKER_DUCKDB_PATHS=str(tmp_path)) as worker:
        await plane.notify(make_notification(1, command=command))
        result = await plane.result_of(1)
        code = await worker.end(signal.SIGTERM)

    assert result["status"] == "timeout"
    assert code == 0


async def test_sigkill_leaves_no_process_behind(
    plane: ControlPlane, nats_url: str, tmp_path: Path
) -> None:
    async with running_worker(nats_url) as worker:
        await plane.notify(make_notification(1, command=sleeper(tmp_path / "pids", seconds=1000)))
        pids = await pids_in(tmp_path / "pids")
        below = worker.below()
        directories = {one.cwd() for one in below if "noetl-python-" in one.cwd()}
        await worker.end(signal.SIGKILL)
        await eventually(lambda: not any(map(is_alive, below)), what="all are gone")
        # Who removes a directory has no parent any more that could report its end to us.
        await eventually(
            lambda: not any(map(os.path.exists, directories)), what="so are the directories"
        )

    assert set(pids) <= {one.pid for one in below}
    assert directories


async def test_a_script_with_too_many_processes_is_killed(
    plane: ControlPlane, nats_url: str
) -> None:
    code = (
        "import os, time\nfor _ in range(40):\n"
        "  if os.fork() == 0: time.sleep(1000)\ntime.sleep(1000)"
    )
    command = make_command("python", config={"code": code})

    async with running_worker(nats_url, NOETL_WORKER_PYTHON_PROCESSES="20") as worker:
        await plane.notify(make_notification(1, command=command))
        result = await plane.result_of(1)
        below = worker.below()

    assert (result["status"], result["exit_code"]) == ("error", -1)
    assert len(below) < 10


async def test_a_forgotten_worker_registers_again_as_the_same_process(
    plane: ControlPlane, nats_url: str
) -> None:
    plane.runtime_answer = lambda operation, _request: (
        RpcReply(status=404, error="Runtime not found")
        if operation == "runtime.heartbeat"
        else {"status": "ok"}
    )

    async with running_worker(nats_url, WORKER_HEARTBEAT_INTERVAL="0.2"):
        await eventually(
            lambda: len([1 for name, _ in plane.calls if name == "runtime.register"]) >= 3,
            what="it registers again",
        )

    registrations = [body for name, body in plane.calls if name == "runtime.register"]
    assert len({body["runtime"]["instance"] for body in registrations}) == 1


async def test_a_worker_waits_for_the_catalog_before_it_pulls(
    plane: ControlPlane, nats_url: str
) -> None:
    plane.runtime_answer = lambda _operation, _request: RpcReply(status=503, error="starting")

    async def start() -> dict[str, Any]:
        async with running_worker(nats_url):
            return await plane.outcome(1)

    starting = asyncio.create_task(start())
    await eventually(lambda: len(plane.calls) >= 2, what="it asks")
    await plane.notify(make_notification(1, command=make_command()))
    asked = len(plane.calls)
    await eventually(lambda: len(plane.calls) >= asked + 2, what="it asks again")
    before = list(plane.messages)
    plane.runtime_answer = lambda _operation, _request: {"status": "ok"}
    await starting

    assert before == []


@pytest.mark.parametrize(
    ("fast_path", "reported"),
    [("true", ["/api/commands/1/reports"]), ("false", ["/api/events"] * 3)],
)
async def test_the_http_transport_needs_no_orchestrator(
    nats_url: str, fast_path: str, reported: list[str]
) -> None:
    def reports() -> list[str]:
        return [path for _, path, _ in list(edge.calls) if path.endswith(("/reports", "/events"))]

    with scripted_edge() as edge:
        note = make_notification(1, server_url=edge.url)
        command = make_command("noop")
        edge.claim = lambda _event_id, _count: (
            200,
            {"status": "ok", "event_id": 1, "execution_id": 7, "node_id": "start",
             "node_name": "start", "action": "noop", "context": command["context"],
             "meta": {"command_id": "7:start:1"}},
        )  # fmt: skip
        async with connect(NatsSettings(nats_url=nats_url), name="test") as bus:
            await ensure_topology(bus, STREAMS, (pool_durable("shared"),))
            async with running_worker(
                nats_url,
                NOETL_WORKER_TRANSPORT="http",
                NOETL_SERVER_URL=edge.url,
                NOETL_FAST_PATH_ENABLED=fast_path,
            ) as worker:
                subject = command_subject("shared", execution_id=7)
                await bus.publish(subject, orjson.dumps(note), message_id=None)
                await eventually(lambda: len(reports()) >= len(reported), what="its reports")
                code = await worker.end(signal.SIGTERM)

    assert code == 0
    assert reports() == reported
    paths = [path for _, path, _ in edge.calls]
    assert paths[0] == "/api/worker/pool/register"
    assert "/api/commands/1/claim" in paths
    assert paths[-1] == "/api/worker/pool/deregister"
