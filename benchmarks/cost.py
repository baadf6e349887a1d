"""Whether a unit costs the same at the end of a long run as at its beginning, and in what memory.

Run by hand: ``.venv/bin/python benchmarks/cost.py [--cases sequential,parallel,…] [--large N]``.
Each case is one execution: loops of 1,000 and ``--large`` iterations (sequential, and parallel
with 50 in flight), a chain of 200 steps, a fan-out and join of 100 steps, 100 children. Printed
is the time between two outcomes, as a median for each tenth of the run, and the largest memory of
each process and its children (PSS: what is shared counts once).
"""

import argparse
import asyncio
import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import asyncpg
import psutil
from noetl_testkit import stack as e2e

HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {{name: {name}, path: bench/{name}}}\n"
NOOP = "tool: {kind: noop}"


def _loop(name: str, spec: str) -> str:
    return (
        HEAD.format(name=name)
        + f"""workload: {{count: 10}}
workflow:
  - step: start
    loop: {{in: "{{{{ range(count) }}}}", iterator: item, spec: {spec}}}
    {NOOP}
    next: {{arcs: [{{step: end}}]}}
  - step: end
    {NOOP}
"""
    )


def _chain(length: int) -> str:
    steps = [
        f"  - step: {'start' if n == 0 else f's{n}'}\n    {NOOP}\n"
        f"    next: {{arcs: [{{step: s{n + 1}}}]}}\n"
        for n in range(length - 1)
    ]
    return (
        HEAD.format(name="chain")
        + "workflow:\n"
        + "".join(steps)
        + f"  - step: s{length - 1}\n    {NOOP}\n"
    )


def _fan(width: int) -> str:
    arcs = ", ".join(f"{{step: b{n}}}" for n in range(width))
    branches = "".join(
        f"  - step: b{n}\n    {NOOP}\n    next: {{arcs: [{{step: join}}]}}\n" for n in range(width)
    )
    return (
        HEAD.format(name="fan")
        + "workflow:\n"
        + f"  - step: start\n    {NOOP}\n    next: {{spec: {{mode: inclusive}}, arcs: [{arcs}]}}\n"
        + branches
        + f"  - step: join\n    {NOOP}\n"
    )


def _children() -> str:
    return (
        HEAD.format(name="children")
        + """workload: {count: 100}
workflow:
  - step: start
    loop: {in: "{{ range(count) }}", iterator: item, spec: {mode: parallel, max_in_flight: 10}}
    tool: {kind: playbook, path: bench/chain_child, return_step: start, args: {n: "{{ item }}"}}
"""
    )


CHILD = HEAD.format(name="chain_child") + f"workflow:\n  - step: start\n    {NOOP}\n"
SEQUENTIAL = _loop("sequential", "{mode: sequential}")
PARALLEL = _loop("parallel", "{mode: parallel, max_in_flight: 50}")


def cases(large: int) -> dict[str, tuple[str, int]]:
    """Return playbook and number of units by case."""
    return {
        "sequential 1000": (SEQUENTIAL, 1000),
        f"sequential {large}": (SEQUENTIAL, large),
        "parallel 1000": (PARALLEL, 1000),
        f"parallel {large}": (PARALLEL, large),
        "chain 200": (_chain(200), 200),
        "fan-out 100": (_fan(100), 100),
        "children 100": (_children(), 100),
    }


async def outcome_times(dsn: str, execution_id: int) -> list[float]:
    """Return the commit times of the outcomes in milliseconds."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        """
        SELECT extract(EPOCH FROM ingest_time)::float8 * 1000 AS at FROM noetl.event
        WHERE execution_id = $1 AND event_type = 'command.completed' ORDER BY position
        """,
        execution_id,
    )
    await connection.close()
    return [row["at"] for row in rows]


@contextmanager
def memory(pids: Callable[[], dict[str, int]]) -> Iterator[dict[str, float]]:
    """Record the largest memory of each process in MB while the block runs."""
    largest: dict[str, float] = {}
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            for name, pid in pids().items():
                try:
                    process = psutil.Process(pid)
                    family = [process, *process.children(recursive=True)]
                    used = sum(one.memory_full_info().pss for one in family) / 1e6
                except psutil.Error:
                    continue
                largest[name] = max(largest.get(name, 0.0), used)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield largest
    finally:
        over.set()
        thread.join(timeout=5)


def main() -> None:
    """Print a line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="", help="beginnings of names, by commas")
    parser.add_argument("--large", type=int, default=10_000)
    parser.add_argument("--transport", choices=("nats", "http"), default="nats")
    options = parser.parse_args()
    wanted = tuple(filter(None, options.cases.split(",")))
    with (
        e2e.running_stack(environment={"NOETL_WORKER_TRANSPORT": options.transport}) as running,
        running.client() as client,
    ):
        e2e.register(client, CHILD)
        pids = {name: one["pid"] for name, one in running.services().items()}
        with memory(lambda: pids) as largest:
            for name, (text, count) in cases(options.large).items():
                if wanted and not name.startswith(wanted):
                    continue
                path = e2e.register(client, text)["path"]
                execution_id = e2e.execute(client, path, count=count)
                status = e2e.finish(client, execution_id, seconds=1200, poll_seconds=1)
                times = asyncio.run(outcome_times(running.dsn(), execution_id))
                spans = [later - earlier for earlier, later in pairwise(times)]
                size = max(1, len(spans) // 10)
                # Outcomes of one commit share its time: the mean of a tenth, not its median,
                # where many are in flight.
                middle = statistics.mean if "sequential" not in name else statistics.median
                tenths = [middle(spans[n * size : (n + 1) * size] or [0.0]) for n in range(10)]
                ratio = tenths[-1] / tenths[1] if tenths[1] else float("nan")
                print(
                    f"{name:18} {status:10} {(times[-1] - times[0]) / 1000:7.1f} s"
                    f"  tenths ms {' '.join(f'{value:.2f}' for value in tenths)}"
                    f"  last/second {ratio:.2f}",
                    flush=True,
                )
    print("MB at most: " + ", ".join(f"{name} {used:.0f}" for name, used in largest.items()))


if __name__ == "__main__":
    main()
