"""What waiting costs, and whether all that wait go on, each once.

Run by hand: ``make waits``, or ``.venv/bin/python benchmarks/waits.py [--size N]``. On a stack of
its own, N executions wait, half of them for a signal and half for a time. Printed are: the time
from a signal to the commit of the next step at 100 waiting; memory of the processes and statements
of an idle minute, without and with the N; and, when all are released at once, whether each went on
exactly once. It ends with 1 if one is lost or doubled.
"""

import argparse
import asyncio
import statistics
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
from noetl_testkit import stack as e2e

PATH = "bench/waits"
PLAYBOOK = f"""
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: waits, path: {PATH}}}
workload: {{until: "2000-01-01", sleeps: false}}
workflow:
  - step: start
    tool: {{kind: sleep, duration: 0}}
    next:
      arcs:
        - {{step: nap, when: "{{{{ workload.sleeps }}}}"}}
        - {{step: review}}
  - step: review
    tool: {{kind: wait, signal: go, timeout: 30d}}
    next: {{arcs: [{{step: end}}]}}
  - step: nap
    tool: {{kind: sleep, until: "{{{{ workload.until }}}}"}}
    next: {{arcs: [{{step: end}}]}}
  - step: end
    tool: {{kind: noop}}
"""
AT_ONCE = 64
WAITING = "SELECT count(*) FROM noetl.timer WHERE kind = 'wait'"


class Bench:
    """A stack, and what was started on it."""

    def __init__(self, stack: e2e.Stack, client: httpx.AsyncClient, pool: asyncpg.Pool) -> None:
        self.stack = stack
        self.client = client
        self.pool = pool

    async def start(self, count: int, **workload: object) -> list[int]:
        """Start executions and return their ids."""
        ids: list[int] = []

        async def one() -> None:
            while True:
                answer = await self.client.post(
                    "/api/execute", json={"path": PATH, "workload": workload}
                )
                if answer.status_code != 503:
                    break
                await asyncio.sleep(0.2)
            answer.raise_for_status()
            ids.append(int(answer.json()["execution_id"]))

        await at_once(one, count)
        return ids

    async def until_waiting(self, count: int) -> None:
        """Wait until so many wait in their step, not in the first nap."""
        question = """
            SELECT count(*) FROM noetl.timer
            WHERE kind = 'wait' AND payload ->> 'step' IN ('review', 'nap')
        """
        await self.until(question, lambda found: found >= count)

    async def until(self, question: str, is_it: object, seconds: float = 1800.0) -> None:
        """Ask the database until the answer is the one."""
        end = time.monotonic() + seconds
        while not is_it(await self.pool.fetchval(question)):  # type: ignore[operator]
            if time.monotonic() > end:
                raise TimeoutError(question)
            await asyncio.sleep(0.5)

    async def signal(self, execution_id: int, signal_id: str) -> float:
        """Send a signal; return the seconds until the commit of what follows was told."""
        while True:
            began = time.perf_counter()
            answer = await self.client.post(
                f"/api/executions/{execution_id}/signals/go", json={"id": signal_id}
            )
            if answer.status_code != 503:
                break
            await asyncio.sleep(0.2)
        answer.raise_for_status()
        assert answer.json()["status"] == "taken", answer.text
        return time.perf_counter() - began

    async def idle(self, seconds: float) -> tuple[float, dict[str, int]]:
        """Return statements a second of an idle time, and the memory of the processes in MiB."""
        question = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1"
        name = self.stack.values()["POSTGRES_DB"]
        await asyncio.sleep(3.0)
        before = await self.pool.fetchval(question, name)
        await asyncio.sleep(seconds)
        after = await self.pool.fetchval(question, name)
        return (after - before) / seconds, self.memory()

    def memory(self) -> dict[str, int]:
        """Return the memory of the processes in MiB."""
        found = {}
        for name, service in self.stack.services().items():
            status = Path(f"/proc/{service['pid']}/status").read_text()
            line = next(one for one in status.splitlines() if one.startswith("VmRSS"))
            found[name] = int(line.split()[1]) // 1024
        return {name: size for name, size in found.items() if name not in {"nats", "postgres"}}


async def at_once(work: object, count: int) -> None:
    """Run something so many times, some at the same time."""
    left = iter(range(count))

    async def run() -> None:
        for _ in left:
            await work()  # type: ignore[operator]

    await asyncio.gather(*(run() for _ in range(min(AT_ONCE, count))))


async def latency(bench: Bench) -> None:
    """Signals one after the other while a hundred wait."""
    ids = await bench.start(200)
    await bench.until_waiting(200)
    times = []
    for execution_id in ids[:100]:
        times.append(await bench.signal(execution_id, "latency"))
        await asyncio.sleep(0.02)
    times.sort()
    median = statistics.median(times) * 1000
    print(
        f"signal to next step, 100 to 200 waiting: median {median:.1f} ms, "
        f"p99 {times[98] * 1000:.1f} ms, longest {times[-1] * 1000:.1f} ms"
    )
    for execution_id in ids[100:]:
        await bench.signal(execution_id, "latency")
    await bench.until("SELECT count(*) FROM noetl.timer", lambda found: not found)


async def crowd(bench: Bench, size: int, idle_seconds: float) -> bool:
    """Let many wait, and release all at once; return whether all went on once."""
    calm, memory = await bench.idle(idle_seconds)
    print(f"nobody waits: {calm:.2f} statements a second, MiB {memory}")
    # Enough for all to be there before.
    room = timedelta(seconds=idle_seconds + 20 + size / 12)
    until = datetime.now(UTC) + room
    began = time.monotonic()
    sleepers = await bench.start(size // 2, sleeps=True, until=until.isoformat())
    waiters = await bench.start(size - size // 2)
    await bench.until_waiting(size)
    took = time.monotonic() - began
    print(f"{size} wait after {took:.0f} s")
    if until - datetime.now(UTC) < timedelta(seconds=idle_seconds):
        print("the machine is too slow for this size: the sleeps end before the idle time does")
    busy, memory = await bench.idle(idle_seconds)
    print(f"{size} wait: {busy:.2f} statements a second, MiB {memory}")
    await asyncio.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()))
    began = time.monotonic()
    left = iter(waiters)
    await at_once(lambda: bench.signal(next(left), "go"), len(waiters))
    print(f"{len(waiters)} signals taken in {time.monotonic() - began:.0f} s")
    running = (
        f"SELECT count(*) FROM noetl.execution_state WHERE status = 'RUNNING' AND path = '{PATH}'"
    )
    await bench.until(running, lambda found: not found)
    print(f"all {size} have ended {time.monotonic() - began:.0f} s after the release")
    return await whole(bench, [*sleepers, *waiters])


async def whole(bench: Bench, ids: list[int]) -> bool:
    """Say whether every execution went on exactly once."""
    rows = await bench.pool.fetch(
        """
        SELECT
            s.execution_id, s.status,
            count(*) FILTER (WHERE e.event_type = 'call.done' AND e.node_name != 'start') AS calls,
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
        headers = {"authorization": f"Bearer {stack.admin_key()}"} if stack.admin_key() else {}
        limits = httpx.Limits(max_connections=AT_ONCE)
        async with (
            httpx.AsyncClient(
                base_url=stack.url, timeout=60.0, limits=limits, headers=headers
            ) as client,
            asyncpg.create_pool(stack.dsn(), min_size=1, max_size=2) as pool,
        ):
            with stack.client() as edge:
                e2e.register(edge, PLAYBOOK)
            bench = Bench(stack, client, pool)
            await latency(bench)
            return 0 if await crowd(bench, options.size, options.idle_seconds) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
