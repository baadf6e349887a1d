"""A running stack that is measured, and the work done there."""

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import asyncpg
import httpx
import orjson
import psutil
from load import worker
from load.fire import Figures, fire
from load.kept import Pool, request
from noetl.stack.process import free_port
from noetl_testkit import stack as e2e
from noetl_testkit.waiting import wait_until
from probes.playbooks import NOOP, STEPS, chain

_ONE_STEP = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: bench_one, path: bench/one}
workflow:
  - step: start
    tool: {kind: noop}
"""
_STEP_TIMES = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY took)
FROM (
    SELECT
        1000 * extract(
            EPOCH FROM lead(e.ingest_time) OVER (PARTITION BY e.execution_id ORDER BY e.position)
            - e.ingest_time
        ) AS took
    FROM noetl.event AS e
    INNER JOIN (
        SELECT s.execution_id FROM noetl.execution_state AS s
        WHERE s.path = 'bench/noop' ORDER BY s.started_at DESC LIMIT $1
    ) AS newest USING (execution_id)
    WHERE e.event_type IN ('command.issued', 'playbook.completed')
) AS steps
"""
_OPEN = "SELECT count(*) FROM noetl.execution_state WHERE status = 'RUNNING'"
_LONGEST_RUN_SECONDS = 120
_LOOK_SECONDS = 0.02
_WORKER = "w-bench"
_WATCHED = ("api-gateway", "orchestrator", "outbox", "projector", "catalog", "nats", "postgres")
_EVENT_IDS = count(time.time_ns())


@dataclass(frozen=True, slots=True)
class IssuedCommand:
    """A command that is not claimed yet."""

    execution_id: int
    event_id: int
    command_id: str
    step: str

    def claim(self) -> bytes:
        """Return the request that claims it."""
        body = orjson.dumps({"worker_id": _WORKER})
        return request("POST", f"/api/commands/{self.event_id}/claim", body)

    def event(self, event_type: str) -> bytes:
        """Return the request that reports an event of its run, under a fresh id."""
        body = {
            "execution_id": self.execution_id,
            "event_type": event_type,
            "step": self.step,
            "status": "success" if event_type == "command.completed" else "COMPLETED",
            "created_at": "2026-06-14T10:15:30.123456Z",
            "context": {
                "command_id": self.command_id,
                "call_index": 0,
                "result": {"status": "success", "context": {"data": {"n": 1}}},
            },
            "event_id": next(_EVENT_IDS),
            "worker_id": _WORKER,
            "meta": {"attempts": 0},
        }
        return request("POST", "/api/events", orjson.dumps(body))


@dataclass(frozen=True, slots=True)
class Side:
    """A stack of one checkout."""

    python: Path
    url: str
    dsn: str
    nats_url: str
    environment: Mapping[str, str]
    pids: Mapping[str, int]

    @contextmanager
    def spending(self, name: str, figures: dict[str, float], *, units: int) -> Iterator[None]:
        """Add the processor's microseconds a unit that services spend on the block.

        They hardly depend on what else the machine does.
        """
        before = {service: _processor_seconds(pid) for service, pid in self.pids.items()}
        yield
        together = f"{name} us together"
        figures[together] = 0.0
        for service, pid in self.pids.items():
            spent = (_processor_seconds(pid) - before[service]) * 1e6 / units
            figures[f"{name} us {service}"] = spent
            figures[together] += spent

    def start(self, number: int, path: str = "bench/one") -> Figures:
        """Start so many executions over 16 connections."""
        body = orjson.dumps({"path": path})
        return fire(self.url, [request("POST", "/api/execute", body)], connections=16, count=number)

    def commands(self) -> list[IssuedCommand]:
        """Return the commands that are not claimed yet."""
        text = (
            "SELECT execution_id, event_id, command_id, step_name"
            " FROM noetl.command WHERE status = 'PENDING' ORDER BY event_id"
        )
        return [IssuedCommand(*row) for row in asyncio.run(_fetch(self.dsn, text))]

    def end(self, commands: Sequence[IssuedCommand]) -> None:
        """Report the ends of claimed commands."""
        for event_type in ("call.done", "command.completed"):
            fire(self.url, [one.event(event_type) for one in commands], connections=16)

    def open_count(self) -> int:
        """Return how many executions run."""
        number: int = asyncio.run(_fetch(self.dsn, _OPEN))[0][0]
        return number

    def ended(self, number: int) -> list[int]:
        """Return ended executions of ten steps, which are run where there are none."""
        text = (
            "SELECT execution_id FROM noetl.execution_state"
            " WHERE status = 'COMPLETED' AND path = 'bench/noop' LIMIT 20"
        )
        found = asyncio.run(_fetch(self.dsn, text))
        if len(found) < number:
            self.start(number, "bench/noop")
            self.drain()
            found = asyncio.run(_fetch(self.dsn, text))
        return [row[0] for row in found]

    def drain(self, *, players: int = 4) -> None:
        """Work off all that runs."""
        with self._playing(players):
            wait_until(
                lambda: not self.open_count(),
                what="all executions have ended",
                timeout_seconds=120,
                every_seconds=0.2,
            )

    def played(self, players: int, *, executions: int) -> float:
        """Return the steps a second that players do, each with 16 executions at once."""
        with self._playing(players):
            return self.run(executions, at_once=16 * players)

    def run(self, executions: int, *, at_once: int) -> float:
        """Run executions of ten steps; return the steps a second."""
        return asyncio.run(self._run(executions, at_once))

    async def _run(self, executions: int, at_once: int) -> float:
        """Keep all connections: to open one for each look would cost as much as a step."""
        data = request("POST", "/api/execute", orjson.dumps({"path": "bench/noop"}))
        pool, left = Pool(self.url), executions
        connection = await asyncpg.connect(self.dsn)
        try:
            began = time.perf_counter()
            while (open_now := await connection.fetchval(_OPEN)) or left:
                room = min(left, at_once - open_now)
                for status, answer in await asyncio.gather(*(pool.ask(data) for _ in range(room))):
                    if status != 200:
                        raise RuntimeError(f"a start was refused: {status} {answer[:200]!r}")
                left -= max(room, 0)
                await asyncio.sleep(_LOOK_SECONDS)
                if time.perf_counter() - began > _LONGEST_RUN_SECONDS:
                    raise TimeoutError(f"{open_now} executions have not ended")
            return executions * STEPS / (time.perf_counter() - began)
        finally:
            await connection.close()

    def step_ms(self, executions: int) -> float:
        """Return the median milliseconds of a step of the newest executions, by commit time."""
        return float(asyncio.run(_fetch(self.dsn, _STEP_TIMES, executions))[0][0])

    @contextmanager
    def _playing(self, players: int) -> Iterator[None]:
        running = [
            subprocess.Popen(
                worker.command(
                    self.nats_url, self.url, "shared", permits=16, name=f"player-{number}"
                ),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for number in range(players)
        ]
        try:
            yield
        finally:
            for one in running:
                output, _ = one.communicate(timeout=60)
                print("  player:", output.decode().strip())

    @contextmanager
    def worker(self, transport: str) -> Iterator[None]:
        """Run the checkout's own worker on a transport."""
        environment = {
            **os.environ,
            **self.environment,
            "NOETL_WORKER_TRANSPORT": transport,
            "WORKER_POOL_NAME": "default",
            "NOETL_HTTP_PORT": str(free_port()),
            "NOETL_LOG_LEVEL": "warning",
        }
        process = subprocess.Popen([str(self.python), "-m", "noetl_worker"], env=environment)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


@contextmanager
def opened(checkout: Path) -> Iterator[Side]:
    """Run a stack of a checkout, with the playbooks registered."""
    python = checkout / ".venv/bin/python"
    process = subprocess.Popen(
        [str(python), str(Path(__file__).with_name("stand.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        printed = json.loads(process.stdout.readline())
        with httpx.Client(base_url=printed["url"], timeout=35) as client:
            e2e.register(client, _ONE_STEP)
            e2e.register(client, chain("noop", NOOP))
        pids = {name: pid for name, pid in printed.pop("pids").items() if name in _WATCHED}
        yield Side(python, printed["url"], printed["dsn"], printed["NOETL_NATS_URL"], printed, pids)
    finally:
        process.communicate(timeout=60)


def _processor_seconds(pid: int) -> float:
    """Return the seconds that a process has spent, with its children, also the ended ones."""
    process = psutil.Process(pid)
    spent = sum(process.cpu_times()[:4])
    for child in process.children():
        with suppress(psutil.NoSuchProcess):
            spent += sum(child.cpu_times()[:2])
    return float(spent)


async def _fetch(dsn: str, text: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return list(await connection.fetch(text, *arguments))
    finally:
        await connection.close()
