"""Time from a cancel or a time limit to the end of a tool's work: ``make stops``, for minutes.

Each tool does something that can be seen from outside of NoETL: a process, a statement of the
database, an open connection. A run lets it begin, cancels its execution or lets its time come, and
takes the time until it can't be seen any more. Then the oracles look at every log.
"""

import argparse
import asyncio
import itertools
import math
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import asyncpg
import httpx
from noetl_testkit.oracles.judging import judge
from noetl_testkit.stack import Stack, register, running_stack
from noetl_testkit.waiting import eventually

_LOOK_SECONDS = 0.01
_OPENING_SECONDS = 2.0
_MARKS = itertools.count(random.SystemRandom().randrange(10**6, 10**7))

SHELL = """
      kind: shell
      command: "sleep {{ workload.mark }} & sleep {{ workload.mark }}; wait"
"""
PYTHON = """
      kind: python
      args: {mark: "{{ workload.mark }}"}
      code: |
        import subprocess
        result = subprocess.run(["sleep", str(mark)]).returncode
"""
POSTGRES = """
      kind: postgres
      auth: stops_pg
      query: "SELECT pg_sleep(3600), '{{ workload.mark }}' AS mark"
"""
HTTP = """
      kind: http
      url: "{{ workload.host }}/{{ workload.mark }}"
      timeout: 3600
"""
DUCKDB = """
      kind: duckdb
      query: "SELECT sum(a.range * b.range % 7) FROM range(1000000000) a, range(100000) b"
"""
CHILD = """
      kind: playbook
      path: stops/shell
      args: {mark: "{{ workload.mark }}"}
      return_step: start
      timeout: 3600
"""
TOOLS = {
    "shell": SHELL,
    "python": PYTHON,
    "postgres": POSTGRES,
    "http": HTTP,
    "duckdb": DUCKDB,
    "playbook": CHILD,
}


ENDINGS = ("cancel", "deadline", "limit")
"""A cancel, ``spec.timeout`` of the playbook, and that of the step."""
LIMIT_SECONDS = 6.0


def path_of(name: str, ending: str) -> str:
    """Return the path of a tool's playbook that ends in some way."""
    return f"stops/{name}" if ending == "cancel" else f"stops/{name}_{ending}"


def playbook(name: str, ending: str = "cancel") -> str:
    """Return the playbook of one tool."""
    limit = f"spec: {{timeout: {LIMIT_SECONDS}}}"
    return f"""apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: {name}, path: {path_of(name, ending)}}}
{limit if ending == "deadline" else "spec: {}"}
workload: {{mark: "", host: ""}}
workflow:
  - step: start
    {limit if ending == "limit" else "spec: {}"}
    tool:{TOOLS[name]}"""


def has_process(mark: str) -> bool:
    """Return whether a process names a mark in its arguments."""
    return any(
        arguments.startswith(b"sleep\0") and mark.encode() in arguments
        for arguments in map(_arguments, Path("/proc").iterdir())
    )


def _arguments(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


@dataclass
class World:
    """A stack with the traces of its tools' work that are seen from outside."""

    worker_port: int
    client: httpx.AsyncClient
    database: "asyncpg.Connection[asyncpg.Record]"
    host: str
    connections: set[str]

    async def is_running(self, tool: str, mark: str) -> bool:
        """Return whether the work of a tool can be seen."""
        match tool:
            case "postgres":
                return bool(
                    await self.database.fetchval(
                        "SELECT count(*) FROM pg_stat_activity"
                        " WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE $1",
                        f"%{mark}%",
                    )
                )
            case "http":
                return mark in self.connections
            case "duckdb":
                return await self.slots() > 0
            case _:
                return has_process(mark)

    async def slots(self) -> int:
        """Return how many commands the worker runs."""
        text = (await self.client.get(f"http://127.0.0.1:{self.worker_port}/metrics")).text
        name = "noetl_worker_concurrent_dispatches "
        (line,) = (line for line in text.splitlines() if line.startswith(name))
        return int(float(line.removeprefix(name)))

    async def begin(self, tool: str, mark: str, ending: str = "cancel") -> str:
        """Start an execution and wait until its tool works; return its id."""
        body = {
            "path": path_of(tool, ending),
            "workload": {"mark": mark, "host": self.host},
        }
        answer = await self.client.post("/api/execute", json=body)
        answer.raise_for_status()
        await eventually(lambda: self.is_running(tool, mark), what=f"{tool} works")
        return str(answer.json()["execution_id"])

    async def cancel(self, execution_id: str) -> None:
        """Cancel an execution."""
        (await self.client.post(f"/api/executions/{execution_id}/cancel")).raise_for_status()

    async def seconds_until_gone(self, tool: str, mark: str, execution_id: str) -> float:
        """Cancel, and return after how many seconds the work can't be seen any more."""
        began = time.monotonic()
        await self.cancel(execution_id)
        await self._gone(tool, mark)
        return time.monotonic() - began

    async def seconds_after_limit(self, tool: str, mark: str, execution_id: str) -> float:
        """Return how long after its time, from the start on, the work can't be seen any more."""
        await self._gone(tool, mark)
        gone = time.time()
        status = (await self.client.get(f"/api/executions/{execution_id}/status")).json()
        return gone - datetime.fromisoformat(status["start_time"]).timestamp() - LIMIT_SECONDS

    async def _gone(self, tool: str, mark: str) -> None:
        async def is_gone() -> bool:
            return not await self.is_running(tool, mark)

        await eventually(is_gone, what=f"{tool} is stopped", every_seconds=_LOOK_SECONDS)


def fresh_mark() -> str:
    """Return a number of seconds that no other process sleeps, written as numbers are."""
    return f"{next(_MARKS)}.5"


@asynccontextmanager
async def opened(stack: Stack) -> AsyncIterator[World]:
    """Watch a stack, and register the playbooks."""
    connections: set[str] = set()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode()
        mark = line.split()[1].strip("/") if line else ""
        connections.add(mark)
        try:
            while await reader.read(4096):
                pass
        except OSError:
            pass
        connections.discard(mark)
        writer.close()

    login = stack.database_login()
    with stack.client() as client:
        body = {"name": "stops_pg", "type": "postgres", "data": login}
        client.post("/api/credentials", json=body).raise_for_status()
        for tool, ending in itertools.product(TOOLS, ENDINGS):
            register(client, playbook(tool, ending))
        headers = client.headers
    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    database = await asyncpg.connect(stack.dsn())
    try:
        async with httpx.AsyncClient(
            base_url=stack.url, headers=headers, timeout=35, trust_env=False
        ) as http:
            port = stack.services()["worker"]["port"]
            assert port is not None
            yield World(port, http, database, host, connections)
    finally:
        await database.close()
        server.close()


@dataclass
class Times:
    """Seconds of one tool."""

    seconds: list[float] = field(default_factory=list)

    def line(self, tool: str) -> str:
        """Return the printed line about it."""
        ordered = sorted(self.seconds)
        middle, last = statistics.median(ordered), ordered[math.ceil(len(ordered) * 0.95) - 1]
        return f"{tool:9} {len(ordered):4} {middle:8.3f} {last:8.3f} {ordered[-1]:8.3f}"


async def measure(stack: Stack, *, rounds: int, ending: str) -> dict[str, Times]:
    """Stop each tool many times, one after the other."""
    # The child of a step whose time is over goes on.
    tools = [tool for tool in TOOLS if (tool, ending) != ("playbook", "limit")]
    found = {tool: Times() for tool in tools}
    async with opened(stack) as world:
        for _ in range(rounds):
            for tool, times in found.items():
                mark = fresh_mark()
                execution_id = await world.begin(tool, mark, ending)
                if ending != "cancel":
                    times.seconds.append(await world.seconds_after_limit(tool, mark, execution_id))
                else:
                    if tool == "duckdb":  # its slot is taken before its statement begins
                        await asyncio.sleep(_OPENING_SECONDS)
                    times.seconds.append(await world.seconds_until_gone(tool, mark, execution_id))
                await eventually(lambda: _is_idle(world), what="the slot is free")
    return found


async def _is_idle(world: World) -> bool:
    return await world.slots() == 0


def main() -> None:
    """Measure on both transports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="ends of each tool")
    parser.add_argument("--endings", nargs="*", choices=ENDINGS, default=ENDINGS)
    options = parser.parse_args()
    problems: list[str] = []
    for transport in ("nats", "http"):
        with running_stack(environment={"NOETL_WORKER_TRANSPORT": transport}) as stack:
            for ending in options.endings:
                found = asyncio.run(measure(stack, rounds=options.rounds, ending=ending))
                print(f"{transport}: seconds from the {ending} until the work is gone")
                print("tool      runs      p50      p95  longest")
                print("\n".join(times.line(tool) for tool, times in found.items()), flush=True)
            findings = asyncio.run(judge(stack.dsn()))
            print(findings.line())
            problems += findings.problems
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
