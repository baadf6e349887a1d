"""Whether an iteration costs the same at the end of a long loop as at its beginning.

Run by hand: ``.venv/bin/python benchmarks/loop.py [--iterations 2000] [--kind noop]``. It
prints the median time between two issued iterations for each tenth of a sequential loop, and
the last tenth's as a multiple of the second's.
"""

import argparse
import asyncio
import statistics
import sys
from itertools import pairwise
from pathlib import Path

import asyncpg

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "e2e"))

import stack as e2e

TOOLS = {"noop": "{kind: noop}", "python": "{kind: python, code: 'result = {\"n\": item}'}"}
PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: bench_loop, path: bench/loop_{kind}}}
workload: {{count: 10}}
workflow:
  - step: start
    loop:
      in: "{{{{ range(count) }}}}"
      iterator: item
      spec: {{mode: sequential}}
    tool: {tool}
"""


async def issue_times(dsn: str, execution_id: int) -> list[float]:
    """Return the commit times of the iterations in milliseconds."""
    connection = await asyncpg.connect(dsn)
    rows = await connection.fetch(
        """
        SELECT extract(EPOCH FROM ingest_time)::float8 * 1000 AS at FROM noetl.event
        WHERE execution_id = $1 AND event_type = 'command.issued' ORDER BY position
        """,
        execution_id,
    )
    await connection.close()
    return [row["at"] for row in rows]


def main() -> None:
    """Print the tenths."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--kind", choices=list(TOOLS), default="noop")
    parser.add_argument("--transport", choices=("nats", "http"), default="nats")
    options = parser.parse_args()
    with e2e.running_stack(environment={"NOETL_WORKER_TRANSPORT": options.transport}) as running:
        with running.client() as client:
            text = PLAYBOOK.format(kind=options.kind, tool=TOOLS[options.kind])
            path = e2e.register(client, text)["path"]
            e2e.finish(client, e2e.execute(client, path, count=100), seconds=60)
            execution_id = e2e.execute(client, path, count=options.iterations)
            status = e2e.finish(client, execution_id, seconds=600, poll_seconds=1)
        times = asyncio.run(issue_times(running.dsn(), execution_id))
    spans = [later - earlier for earlier, later in pairwise(times)]
    size = len(spans) // 10
    tenths = [statistics.median(spans[n * size : (n + 1) * size]) for n in range(10)]
    print(f"{options.iterations} iterations of {options.kind} over {options.transport}: {status}")
    print("median ms by tenth: " + " ".join(f"{value:.2f}" for value in tenths))
    print(f"last tenth / second tenth: {tenths[-1] / tenths[1]:.2f}")


if __name__ == "__main__":
    main()
