"""Costs of a cycle of fat results, round by round, and of reading its log for others.

Run by hand: ``.venv/bin/python benchmarks/fat_cycle.py [--rounds N] [--iterations N]``. It starts a
stack of its own, runs a loop whose iterations each give some kilobytes again and again, and prints
for each round its time and the size of its commands. Then it reads that log in large pages, with
all contexts, and times reads of another execution meanwhile.
"""

import argparse
import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
import httpx
from noetl_testkit import stack as e2e

RESULT_CHARS = 4900
PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: fat_cycle, path: bench/fat_cycle}}
workload: {{items: {items}, rounds: {rounds}}}
workflow:
  - step: start
    tool: {{kind: noop}}
    set: {{ctx.round: 1}}
    next: work
  - step: work
    loop:
      in: "{{{{ workload.items }}}}"
      iterator: item
      spec: {{mode: parallel, max_in_flight: 20}}
    tool:
      - {{name: fetch, kind: noop, result: {{n: "{{{{ item }}}}"}}}}
      - name: save
        kind: noop
        result: {{text: "{{{{ '%{chars}s' | format(fetch.n) }}}}"}}
    next: check
  - step: check
    tool: {{kind: noop}}
    set: {{ctx.round: "{{{{ ctx.round + 1 }}}}"}}
    next:
      arcs:
        - {{step: work, when: "{{{{ ctx.round <= workload.rounds }}}}"}}
        - {{step: end}}
  - step: end
    tool: {{kind: noop, result: {{good: "{{{{ work.stats.success }}}}"}}}}
"""
SMALL = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: small, path: bench/small}
workflow: [{step: start, tool: {kind: noop}}]
"""
ROUNDS = """
WITH entered AS (
    SELECT position, row_number() OVER (ORDER BY position) AS round
    FROM noetl.event WHERE execution_id = $1 AND event_type = 'step.enter' AND node_name = 'work'
)
SELECT
    n.round, count(*) AS commands, avg(length(e.context::text))::int AS chars,
    extract(epoch FROM max(done.created_at) - min(e.created_at))::float AS seconds
FROM noetl.event AS e
CROSS JOIN LATERAL (
    SELECT max(round) AS round FROM entered WHERE entered.position < e.position
) AS n
CROSS JOIN LATERAL (
    SELECT d.created_at FROM noetl.event AS d
    WHERE d.execution_id = $1 AND d.event_type = 'command.completed' AND d.position > e.position
        AND d.node_name = 'work' ORDER BY d.position LIMIT 1
) AS done
WHERE e.execution_id = $1 AND e.event_type = 'command.issued' AND e.node_name = 'work'
GROUP BY n.round ORDER BY n.round
"""


async def rounds_of(dsn: str, execution_id: int) -> list[asyncpg.Record]:
    """Return number, commands, size of a command and seconds of each round."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(ROUNDS, execution_id)
    finally:
        await connection.close()


def timed(read: Callable[[], httpx.Response], *, seconds: float) -> list[float]:
    """Return the milliseconds of one read after the other, as many as the time allows."""
    times: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        read().raise_for_status()
        times.append((time.perf_counter() - began) * 1000)
    return times


@contextmanager
def reading(url: str, path: str) -> Iterator[list[float]]:
    """Read the same again and again in the background; yields the milliseconds of each time."""
    done, times = threading.Event(), list[float]()

    def run() -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not done.is_set():
                began = time.perf_counter()
                client.get(path).raise_for_status()
                times.append((time.perf_counter() - began) * 1000)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield times
    finally:
        done.set()
        thread.join()


def shown(times: list[float]) -> str:
    """Return count, median, 99th percentile and maximum."""
    ordered = sorted(times)
    last = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    middle = statistics.median(ordered)
    return f"{len(ordered):5} reads  p50 {middle:7.1f}  p99 {last:7.1f}  max {ordered[-1]:7.1f} ms"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement of reads")
    options = parser.parse_args()
    text = PLAYBOOK.format(
        items=list(range(options.iterations)), rounds=options.rounds, chars=RESULT_CHARS
    )
    with e2e.running_stack() as running, running.client() as client:
        e2e.register(client, text)
        e2e.register(client, SMALL)
        other = e2e.execute(client, "bench/small")
        e2e.finish(client, other)
        fat = e2e.execute(client, "bench/fat_cycle")
        print("ended", e2e.finish(client, fat, seconds=600))
        for row in asyncio.run(rounds_of(running.dsn("noetl"), fat)):
            print(
                f"round {row['round']:3}  {row['commands']:5} commands of {row['chars']:8} chars"
                f"  {row['seconds']:7.2f} s"
            )
        status = f"/api/executions/{other}/status"
        print(f"{'alone':42}", shown(timed(lambda: client.get(status), seconds=options.seconds)))
        for path in (
            f"/api/executions/{fat}",
            f"/api/executions/{fat}?include=context",
            f"/api/executions/{fat}/events?page_size=2000",
        ):
            with reading(running.url, path) as heavy:
                others = timed(lambda: client.get(status), seconds=options.seconds)
            name = path.replace(str(fat), "…").removeprefix("/api/")
            print(f"{'beside ' + name:42}", shown(others))
            print(f"{'  itself':42}", shown(heavy))


if __name__ == "__main__":
    main()
