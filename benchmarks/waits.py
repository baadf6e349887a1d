"""Cost of waiting, and a check that all that wait go on, each once.

Run by hand: ``make waits``, or ``.venv/bin/python benchmarks/waits.py [--size N]``. On a stack of
its own, N executions wait, half of them for a signal and half for a time. Printed are: the time
from a signal to the commit of the next step at 100 waiting; memory of the processes and statements
of an idle minute, heartbeats apart, without and with the N, once the outbox is empty again; and,
when all are released at once, whether each went on exactly once. It ends with 1 if one is lost or
doubled.
"""

import argparse
import asyncio
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from noetl_testkit import stack as e2e
from probes.lean_http import LeanHttp

PATH = "bench/waits"
PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: {name}, path: {path}/{name}}}
workload: {{until: "2000-01-01"}}
workflow:
  - step: start
    tool: {tool}
    next: {{arcs: [{{step: end}}]}}
  - step: end
    tool: {{kind: noop}}
"""
KINDS = {
    "signal": "{kind: wait, signal: go, timeout: 30d}",
    "time": '{kind: sleep, until: "{{ workload.until }}"}',
}
AT_ONCE = 256
# Published rows are kept for two minutes; taking them away is still a part of starting.
_CLEARED_SECONDS = 300
_HEARTBEATS = ("touch_runtimes", "renew_machine")
_STATEMENT = re.compile(r"@@([^|]*)\|([^|]*)\| LOG: +(?:execute [^:]*|statement): ")


class Bench:
    """A stack, and the executions started on it."""

    def __init__(self, stack: e2e.Stack, edge: LeanHttp, pool: asyncpg.Pool) -> None:
        self.stack = stack
        self.edge = edge
        self.pool = pool

    async def start(self, kind: str, count: int, **workload: object) -> list[int]:
        """Start executions and return their ids."""
        ids: list[int] = []

        async def one(_number: int) -> None:
            body = {"path": f"{PATH}/{kind}", "workload": workload}
            ids.append(int((await self.edge.post("/api/execute", body))["execution_id"]))

        await at_once(one, range(count))
        return ids

    async def until_waiting(self, count: int) -> None:
        """Wait until so many wait."""
        question = "SELECT count(*) FROM noetl.timer WHERE kind = 'wait'"
        await self.until(question, lambda found: found >= count)

    async def until(
        self, question: str, is_it: Callable[[int], bool], seconds: float = 7200.0
    ) -> None:
        """Ask the database until the answer is the one."""
        end = time.monotonic() + seconds
        while not is_it(await self.pool.fetchval(question)):
            if time.monotonic() > end:
                raise TimeoutError(question)
            await asyncio.sleep(0.5)

    async def signal(self, execution_id: int, signal_id: str) -> float:
        """Send a signal; return the seconds until its answer, which comes after the commit."""
        began = time.perf_counter()
        path = f"/api/executions/{execution_id}/signals/go"
        answer = await self.edge.post(path, {"id": signal_id})
        assert answer["status"] == "taken", answer
        return time.perf_counter() - began

    async def idle(self, seconds: float) -> str:
        """Return statements and heartbeats a second of an idle time, and the memory in MiB.

        The server logs each statement for that long, once loops have found that nothing comes.
        """
        await asyncio.sleep(min(seconds, 45.0))
        await self._log_statements("all")
        await asyncio.sleep(3.0)
        log = self.stack.data / "logs" / "postgres.log"
        begin = log.stat().st_size
        await asyncio.sleep(seconds)
        with log.open("rb") as file:
            file.seek(begin)
            text = file.read().decode(errors="replace")
        await self._log_statements("none")
        beats, statements = Counter[str](), Counter[str]()
        for entry in text.split("\n@@"):
            found = _STATEMENT.match(f"@@{entry.removeprefix('@@')}")
            # The administrator's login is this program's.
            if found is not None and found[1] != self.stack.values()["POSTGRES_USER"]:
                is_beat = any(f"/* {name} */" in entry for name in _HEARTBEATS)
                (beats if is_beat else statements)[found[2]] += 1
        who = ", ".join(f"{name} {n / seconds:.2f}" for name, n in statements.most_common())
        return (
            f"{statements.total() / seconds:.2f} statements a second ({who}), "
            f"{beats.total() / seconds:.2f} heartbeats a second, MiB {self.memory()}"
        )

    async def _log_statements(self, which: str) -> None:
        await self.pool.execute("ALTER SYSTEM SET log_line_prefix = '@@%u|%a| '")
        await self.pool.execute(f"ALTER SYSTEM SET log_statement = '{which}'")
        await self.pool.execute("SELECT pg_reload_conf()")

    def memory(self) -> dict[str, int]:
        """Return the memory of the processes in MiB."""
        found = {}
        for name, service in self.stack.services().items():
            status = Path(f"/proc/{service['pid']}/status").read_text()
            line = next(one for one in status.splitlines() if one.startswith("VmRSS"))
            found[name] = int(line.split()[1]) // 1024
        return {name: size for name, size in found.items() if name not in {"nats", "postgres"}}


async def at_once[T](work: Callable[[T], Awaitable[object]], items: Iterable[T]) -> None:
    """Run something for each item, some at the same time."""
    left = iter(items)

    async def run() -> None:
        for item in left:
            await work(item)

    await asyncio.gather(*(run() for _ in range(AT_ONCE)))


async def latency(bench: Bench) -> None:
    """Signals one after the other while a hundred wait."""
    ids = await bench.start("signal", 200)
    await bench.until_waiting(200)
    times = []
    for execution_id in ids[:100]:
        times.append(await bench.signal(execution_id, "latency"))
        await asyncio.sleep(0.02)
    times.sort()
    median = statistics.median(times) * 1000
    print(
        f"signal to next step, 100 to 200 waiting: median {median:.1f} ms, "
        f"p99 {times[98] * 1000:.1f} ms, longest {times[-1] * 1000:.1f} ms",
        flush=True,
    )
    for execution_id in ids[100:]:
        await bench.signal(execution_id, "latency")
    await bench.until("SELECT count(*) FROM noetl.timer", lambda found: not found)


async def crowd(bench: Bench, size: int, idle_seconds: float) -> bool:
    """Let many wait, and release all at once; return whether all went on once."""
    print(f"nobody waits: {await bench.idle(idle_seconds)}", flush=True)
    began = time.monotonic()
    waiters = await bench.start("signal", size - size // 2)
    rate = len(waiters) / (time.monotonic() - began)
    # Enough for the others to be there before, at this rate.
    room = timedelta(seconds=3 * idle_seconds + _CLEARED_SECONDS + 1.5 * (size // 2) / rate)
    until = datetime.now(UTC) + room
    sleepers = await bench.start("time", size // 2, until=until.isoformat())
    await bench.until_waiting(size)
    took = time.monotonic() - began
    print(f"{size} wait after {took:.0f} s ({size / took:.0f} a second)", flush=True)
    await bench.until("SELECT count(*) FROM noetl.outbox", lambda found: not found)
    if until - datetime.now(UTC) < timedelta(seconds=2 * idle_seconds + 5):
        print("the machine is too slow for this size: the sleeps end before the idle time does")
    print(f"{size} wait: {await bench.idle(idle_seconds)}", flush=True)
    await asyncio.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()))
    began = time.monotonic()
    await at_once(lambda one: bench.signal(one, "go"), waiters)
    print(f"{len(waiters)} signals taken in {time.monotonic() - began:.0f} s", flush=True)
    running = (
        "SELECT count(*) FROM noetl.execution_state "
        f"WHERE status = 'RUNNING' AND path LIKE '{PATH}/%'"
    )
    await bench.until(running, lambda found: not found)
    print(f"all {size} have ended {time.monotonic() - began:.0f} s after the release")
    print(f"then: MiB {bench.memory()}", flush=True)
    return await whole(bench, [*sleepers, *waiters])


async def whole(bench: Bench, ids: list[int]) -> bool:
    """Return whether every execution went on exactly once."""
    rows = await bench.pool.fetch(
        """
        SELECT
            s.execution_id, s.status,
            count(*) FILTER (WHERE e.event_type = 'call.done') AS calls,
            count(*) FILTER (WHERE e.event_type = 'command.issued') AS issued,
            count(*) FILTER (WHERE e.event_type = 'playbook.completed') AS ends
        FROM noetl.execution_state AS s
        INNER JOIN noetl.event AS e ON e.execution_id = s.execution_id
        WHERE s.execution_id = ANY($1::BIGINT[])
        GROUP BY s.execution_id, s.status
        """,
        ids,
    )
    right = [row for row in rows if tuple(row)[1:] == ("COMPLETED", 2, 1, 1)]
    timers = await bench.pool.fetchval("SELECT count(*) FROM noetl.timer")
    lost, wrong = len(ids) - len(rows), len(rows) - len(right)
    print(f"lost {lost}, doubled or wrong {wrong}, timers left {timers}")
    return not (lost or wrong or timers)


async def main() -> int:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    options = parser.parse_args()
    with e2e.running_stack(environment={}) as stack:
        async with asyncpg.create_pool(stack.dsn(), min_size=1, max_size=2) as pool:
            with stack.client() as client:
                for name, tool in KINDS.items():
                    e2e.register(client, PLAYBOOK.format(name=name, path=PATH, tool=tool))
            bench = Bench(stack, LeanHttp(stack.port, stack.admin_key()), pool)
            await latency(bench)
            return 0 if await crowd(bench, options.size, options.idle_seconds) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
