"""Costs of reads: detail, status, list, events and catalog list, over one connection.

Run by hand: ``.venv/bin/python benchmarks/reads.py``. It starts a stack of its own, runs ten-step
playbooks there and times each read, one after the other. With ``--against URL`` the same is asked
of a second running stack in turn (A B A B …), so that the ratio holds when the machine's speed
drifts: a ratio above 1 says that this checkout is faster.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import httpx

sys.path.insert(0, str(Path(__file__).parent))
from noetl_testkit import stack as e2e
from probes.playbooks import NOOP, chain


def read_paths(execution_id: int) -> dict[str, str]:
    """Return the path of each read by its name."""
    return {
        "detail": f"/api/executions/{execution_id}",
        "status": f"/api/executions/{execution_id}/status",
        "list": "/api/executions?limit=50",
        "events": f"/api/executions/{execution_id}/events?page=1&page_size=50",
        "catalog": "/api/catalog/list",
    }


def prepare(client: httpx.Client, *, executions: int) -> int:
    """Run playbooks to their end; return the id of the last execution."""
    e2e.register(client, chain("noop", NOOP))
    ids = [e2e.execute(client, "bench/noop") for _ in range(executions)]
    for execution_id in ids:
        e2e.finish(client, execution_id)
    return ids[-1]


def timed(client: httpx.Client, name: str, path: str) -> float:
    """Return the milliseconds of one read."""
    began = time.perf_counter()
    answer = client.post(path, json={}) if name == "catalog" else client.get(path)
    answer.raise_for_status()
    return (time.perf_counter() - began) * 1000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reads", type=int, default=400, help="reads of each kind")
    parser.add_argument("--executions", type=int, default=60, help="executions made beforehand")
    parser.add_argument("--against", help="address of another running stack")
    options = parser.parse_args()
    with e2e.running_stack() as running, running.client() as here:
        sides = {"here": (here, read_paths(prepare(here, executions=options.executions)))}
        if options.against:
            other = httpx.Client(base_url=options.against, timeout=60)
            sides["against"] = (other, read_paths(prepare(other, executions=options.executions)))
        print(
            f"{'read':10}" + "".join(f"{side:>9} p50{side:>9} p95" for side in sides) + "    ratio"
        )
        for name in read_paths(0):
            times: dict[str, list[float]] = {side: [] for side in sides}
            for _ in range(options.reads):
                for side, (client, paths) in sides.items():
                    times[side].append(timed(client, name, paths[name]))
            row = f"{name:10}"
            for found in times.values():
                found.sort()
                row += (
                    f"{statistics.median(found):10.2f} ms{found[int(len(found) * 0.95)]:10.2f} ms"
                )
            if options.against:
                ratio = statistics.median(times["against"]) / statistics.median(times["here"])
                row += f"{ratio:9.2f}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
