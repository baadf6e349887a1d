"""Costs of a system that has nothing to do: statements a second and CPU."""

import asyncio
from collections.abc import Iterator

import asyncpg

from benchmarks.cases.case import Case, Settings
from benchmarks.probes import playbooks
from benchmarks.probes.bench import Bench, bench
from benchmarks.probes.cpu import SERVICES, CpuTimes
from benchmarks.probes.idle_workers import IdleWorkers
from benchmarks.probes.load import load_of
from benchmarks.report.results import Found, Table

_WORKERS = 2000
# Loops that found something to do look more often for a while.
_SETTLE_SECONDS = 45.0
# Sessions that rest report their transactions to the server after ten seconds.
_STATISTICS_SECONDS = 11.0


def run(settings: Settings) -> Iterator[Found]:
    """Measure without other workers than the stack's, and with many."""
    rows: list[list[str | int | float | None]] = []
    answers: list[str] = []
    with bench() as on:
        on.register(playbooks.chain("noop", playbooks.NOOP))
        on.run("noop", at_once=4, total=20)
        for count in (0, settings.scaled(_WORKERS)):
            statements, cpu, statuses = on.wait(_idle(on, count, settings.scaled(120, 20)))
            used = [cpu.get(name, 0.0) for name in SERVICES]
            rows.append([count, statements, *used, sum(cpu.values())])
            answers.append(statuses)
    columns = ["idle workers", "transactions/s", *(f"{name} % CPU" for name in SERVICES), "all %"]
    notes = [
        "Transactions are those of the database, nearly always one statement each; percent are of",
        "one core. A worker that is idle sends a heartbeat every 15 s over HTTP, and one request",
        "for a command every 30 s to the bus, which says every second that it is alive, and",
        f"answered them so: {answers[-1] or 'not'}.",
    ]
    yield Table("idle", "A system with nothing to do", columns, rows, notes)


async def _idle(on: Bench, count: int, seconds: float) -> tuple[float, dict[str, float], str]:
    async with load_of(on.stack) as load:
        workers = IdleWorkers(load, count)
        async with workers.running():
            await asyncio.sleep(min(_SETTLE_SECONDS, seconds))
            before = await _transactions(on.dsn)
            cpu = CpuTimes(on.stack)
            await asyncio.sleep(seconds)
            used = cpu.used()
            after = await _transactions(on.dsn)
    percent = {name: 100 * one / seconds for name, one in used.items()}
    statuses = ", ".join(
        f"{status} {times} times" for status, times in workers.answers.most_common()
    )
    return (after - before) / (seconds + _STATISTICS_SECONDS), percent, statuses


async def _transactions(dsn: str) -> int:
    """Count the transactions of the database until some seconds ago."""
    await asyncio.sleep(_STATISTICS_SECONDS)
    connection = await asyncpg.connect(dsn)
    found: int = await connection.fetchval(
        "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = "
        "current_database()"
    )
    await connection.close()
    return found


CASE = Case("idle", "statements a second and CPU with 0 and 2,000 idle workers", run)
