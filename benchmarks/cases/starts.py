"""Rate at which executions can be started, and the time until their first step begins."""

import asyncio
import itertools
import time
from collections.abc import Iterator

import asyncpg

from benchmarks.cases.case import Case, Settings
from benchmarks.probes import playbooks
from benchmarks.probes.bench import Bench, bench
from benchmarks.probes.load import load_of, quantile
from benchmarks.report.results import Found, Table


def run(settings: Settings) -> Iterator[Found]:
    """Start without workers, and with a worker."""
    rows: list[list[str | int | float | None]] = []
    with bench() as on:
        on.register(playbooks.chain("one", playbooks.NOOP, 1))
        on.run("one", at_once=4, total=20)
        for at_once in (1, 16, 64):
            total = settings.scaled(200 if at_once == 1 else 5000, at_once)
            base = on.floor(at_once)
            rate, answers = on.wait(_starts(on, at_once, total))
            cuts = [quantile(answers, share) for share in (0.5, 0.99)]
            rows.append(["starts", at_once, total, rate, *cuts, base.ms, base.rate])
        for at_once in (1, 16):
            total = settings.scaled(200 if at_once == 1 else 2000, at_once)
            base = on.floor(at_once)
            done = on.run("one", at_once=at_once, total=total)
            first = on.wait(_to_first_step(on, done.ids))
            cuts = [quantile(first, share) for share in (0.5, 0.99)]
            rate = total / done.seconds
            rows.append(["start to first step", at_once, total, rate, *cuts, base.ms, base.rate])
    columns = ["what", "at once", "executions", "starts/s", "p50 ms", "p99 ms"]
    columns += ["floor ms", "floor/s"]
    notes = [
        "`starts` are answers to requests, of executions whose pool has no worker.",
        "`start to first step` is from the first event of the log to the moment at which the",
        "worker began the tool; the execution is waited for before the next begins.",
    ]
    yield Table("starts", "Starts", columns, rows, notes)


async def _starts(on: Bench, at_once: int, total: int) -> tuple[float, list[float]]:
    answers: list[float] = []
    left = itertools.repeat(None, total)
    async with load_of(on.stack) as load:

        async def chain() -> None:
            for _ in left:
                began = time.perf_counter()
                await load.http.post(
                    "/api/execute", {"path": "bench/one", "execution_pool": "nobody"}
                )
                answers.append((time.perf_counter() - began) * 1000)

        began = time.perf_counter()
        await asyncio.gather(*(chain() for _ in range(at_once)))
        seconds = time.perf_counter() - began
    return total / seconds, sorted(answers)


async def _to_first_step(on: Bench, ids: list[int]) -> list[float]:
    connection = await asyncpg.connect(on.dsn)
    rows = await connection.fetch(
        """
        SELECT extract(EPOCH FROM min(created_at) FILTER (WHERE event_type = 'command.started')
            - min(created_at))::float8 * 1000 AS ms
        FROM noetl.event WHERE execution_id = ANY($1::bigint[]) GROUP BY execution_id
        """,
        ids,
    )
    await connection.close()
    return sorted(row["ms"] for row in rows if row["ms"] is not None)


CASE = Case("starts", "starts a second, and from a start to its first step", run)
