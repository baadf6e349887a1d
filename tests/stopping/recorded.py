"""Workers killed between `call.done` and `command.completed`: ``make recorded``, for minutes.

Each command's tool must have run once, and its execution must have gone on within three seconds.
"""

import argparse
import asyncio
import os
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
from noetl_testkit.oracles.judging import judge
from noetl_testkit.stack import Stack, finish, register, running_stack
from standin import POOL, StandIn, run_and_kill

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: recorded, path: recorded/two}
workflow:
  - step: start
    tool: {kind: noop}
    next: {arcs: [{step: after}]}
  - step: after
    tool: {kind: noop}
"""
WITHIN_SECONDS = 3.0
_GAPS = """
SELECT extract(EPOCH FROM ended.ingest_time - done.ingest_time)::FLOAT8 AS seconds
FROM noetl.event AS done
INNER JOIN noetl.event AS ended
    ON ended.execution_id = done.execution_id AND ended.node_name = done.node_name
    AND ended.event_type = 'command.completed' AND ended.meta ->> 'reason' = 'result_recorded'
WHERE done.execution_id = ANY($1) AND done.event_type = 'call.done'
"""
"""Measures from a result to the commit of the command's end, which holds all that follows."""


@dataclass
class Found:
    """Results of the kills of one kind of worker."""

    kills: int
    gaps: list[float]
    runs: Counter[str]
    statuses: Counter[str]

    @property
    def is_right(self) -> bool:
        """Whether each tool ran once, and each execution went on in time."""
        once = set(self.runs.values()) <= {1}
        in_time = max(self.gaps) <= WITHIN_SECONDS
        return once and in_time and set(self.statuses) == {"COMPLETED"}

    def line(self) -> str:
        """Return the printed line about it."""
        twice = sum(count > 1 for count in self.runs.values())
        return (
            f"{self.kills} kills: {dict(self.statuses)}, tools run twice: {twice}, "
            f"seconds until it went on: p50 {statistics.median(self.gaps):.2f}, "
            f"longest {max(self.gaps):.2f}"
        )


def kill_many(stack: Stack, runs: Path, *, over_http: bool, kills: int) -> Found:
    """Kill the workers of both steps of half as many executions."""
    stand_in = StandIn(stack.values()["NOETL_NATS_URL"], runs, over_http=over_http)
    runs.write_text("")
    with stack.client() as client:
        register(client, PLAYBOOK)
        started = [_start(client) for _ in range(kills // 2)]
        for _ in range(2 * len(started)):
            run_and_kill(stand_in)
        statuses = Counter(finish(client, one) for one in started)
    gaps = asyncio.run(_gaps(stack, started))
    return Found(len(gaps), gaps, Counter(runs.read_text().splitlines()), statuses)


def _start(client: httpx.Client) -> int:
    body = {"path": "recorded/two", "execution_pool": POOL}
    answer = client.post("/api/execute", json=body)
    answer.raise_for_status()
    return int(answer.json()["execution_id"])


async def _gaps(stack: Stack, executions: list[int]) -> list[float]:
    connection = await asyncpg.connect(stack.dsn())
    try:
        return [row["seconds"] for row in await connection.fetch(_GAPS, executions)]
    finally:
        await connection.close()


def main() -> None:
    """Kill workers of both transports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of each kind of worker")
    kills = parser.parse_args().kills
    is_right = True
    with running_stack() as stack:
        for over_http, name in ((True, "contract's HTTP"), (False, "messages")):
            runs = stack.scratch / f"runs-{over_http}"
            found = kill_many(stack, runs, over_http=over_http, kills=kills)
            print(f"{name}: {found.line()}", flush=True)
            is_right = is_right and found.is_right
        findings = asyncio.run(judge(stack.dsn()))
        print(findings.line(), *findings.problems, sep="\n")
        is_right = is_right and not findings.problems
    raise SystemExit(os.EX_OK if is_right else os.EX_SOFTWARE)


if __name__ == "__main__":
    main()
