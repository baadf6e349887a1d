"""Restate: a service that calls another one ten times, through its server."""

import asyncio
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import uvloop
from noetl.stack.process import free_port
from noetl_testkit.waiting import wait_until

from benchmarks.peers.packages import node_packages
from benchmarks.peers.peer import Level, Peer
from benchmarks.probes.lean_http import LeanHttp
from benchmarks.probes.playbooks import STEPS

_SECONDS = 600
_FLOW = Path(__file__).with_name("restate_flow.mjs")


def measure(folder: Path, levels: list[tuple[int, int]]) -> Iterator[Level]:
    """Run the server and both services, and call the flow over HTTP."""
    packages = node_packages(
        folder / "restate", "@restatedev/restate-server@1", "@restatedev/restate-sdk@1"
    )
    shutil.copy(_FLOW, packages / _FLOW.name)
    data = packages / "data"
    shutil.rmtree(data, ignore_errors=True)
    ingress, admin, node, flow, worker = (free_port() for _ in range(5))
    with contextlib.ExitStack() as held:
        server = packages / "node_modules" / ".bin" / "restate-server"
        settings = {
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
            "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
            "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
        }
        command = [str(server), "--no-logo", "--base-dir", str(data), "--node-name", "bench"]
        log = held.enter_context((packages / "server.log").open("wb"))
        held.enter_context(_running(command, settings, log.fileno()))
        for role, port in (("flow", flow), ("worker", worker)):
            script = ["node", str(packages / _FLOW.name), role, str(port)]
            held.enter_context(_running(script, {"RESTATE_LOGGING": "ERROR"}, log.fileno()))
        wait_until(lambda: _is_up(admin), what="Restate is ready", timeout_seconds=60)
        for port in (flow, worker):
            wait_until(lambda: _registered(admin, port), what="a service is known")  # noqa: B023 (called in this round only)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_flows(ingress, 4, 40))
            for at_once, flows in levels:
                yield runner.run(_flows(ingress, at_once, flows))


async def _flows(port: int, at_once: int, flows: int) -> Level:
    http = LeanHttp(port)
    spans: list[float] = []
    left = iter(range(flows))

    async def chain() -> None:
        for _ in left:
            began = time.perf_counter()
            await http.post("/flow/run", {})
            spans.append((time.perf_counter() - began) * 1000)

    began = time.perf_counter()
    async with asyncio.timeout(_SECONDS):
        await asyncio.gather(*(chain() for _ in range(at_once)))
    seconds = time.perf_counter() - began
    http.close()
    return Level(at_once, statistics.median(spans) / STEPS, flows * STEPS / seconds)


@contextlib.contextmanager
def _running(command: list[str], settings: dict[str, str], log: int) -> Iterator[None]:
    # The server is started by a script that hands on no signal: both are one group.
    process = subprocess.Popen(
        command,
        env={**os.environ, **settings},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)


def _is_up(admin: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{admin}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


def _registered(admin: int, port: int) -> bool:
    try:
        answer = httpx.post(
            f"http://127.0.0.1:{admin}/deployments",
            json={"uri": f"http://127.0.0.1:{port}"},
            timeout=10,
        )
    except httpx.HTTPError:
        return False
    return answer.is_success


PEER = Peer(
    "Restate, service to service",
    "an invocation of a service in another process, its call and result in the replicated log",
    has_hop=True,
    measure=measure,
)
