"""A claim storm: many workers at the same commands, over HTTP."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator

import asyncpg

from benchmarks.cases.case import Case, Settings
from benchmarks.probes import playbooks
from benchmarks.probes.bench import Bench, bench
from benchmarks.probes.load import load_of, quantile
from benchmarks.report.results import Found, Table

_WORKERS = 64
_COMMANDS = 10_000
_EACH = 100
_POOL = "storm"


def run(settings: Settings) -> Iterator[Found]:
    """Each command is wanted by two of the workers at the same moment."""
    commands = max(_EACH, settings.scaled(_COMMANDS) // _EACH * _EACH)
    spec = f"{{mode: parallel, max_in_flight: {_EACH}}}"
    with bench() as on:
        on.register(playbooks.loop("storm", spec))
        base = on.floor(_WORKERS)
        row = [*on.wait(_storm(on, commands)), base.ms, base.rate]
    columns = ["workers", "commands", "claims/s", "p50 ms", "p99 ms", "granted", "refused", "twice"]
    columns += ["floor ms", "floor/s"]
    notes = ["Two workers ask for each command at once; one may have it. `twice` must be 0."]
    yield Table("claims", "Claim storm", columns, [row], notes)


async def _storm(on: Bench, commands: int) -> list[str | int | float | None]:
    async with load_of(on.stack) as load:
        for number in range(_WORKERS):
            body = {"name": f"storm-{number}", "component_type": "worker_pool", "status": "ready"}
            instance = {"runtime": {"instance": f"i{number}"}, "labels": {"pool_name": _POOL}}
            await load.http.post("/api/worker/pool/register", body | instance)
        for _ in range(commands // _EACH):
            await load.http.post(
                "/api/execute",
                {"path": "bench/storm", "execution_pool": _POOL, "workload": {"count": _EACH}},
            )
        events = await _issued(on.dsn, commands)
        spans: list[float] = []
        outcomes: Counter[int] = Counter()
        granted: Counter[int] = Counter()
        # The same commands in the same order for both halves of the workers.
        halves = (iter(events), iter(events))

        async def worker(number: int) -> None:
            for event_id in halves[number % 2]:
                began = time.perf_counter()
                status = await load.http.status(
                    f"/api/commands/{event_id}/claim", {"worker_id": f"storm-{number}"}
                )
                spans.append((time.perf_counter() - began) * 1000)
                outcomes[status] += 1
                granted[event_id] += status == 200

        began = time.perf_counter()
        await asyncio.gather(*(worker(number) for number in range(_WORKERS)))
        seconds = time.perf_counter() - began
    spans.sort()
    twice = sum(1 for count in granted.values() if count > 1)
    cuts = [quantile(spans, share) for share in (0.5, 0.99)]
    refused = outcomes.total() - outcomes[200]
    rate = outcomes.total() / seconds
    return [_WORKERS, commands, rate, *cuts, outcomes[200], refused, twice]


async def _issued(dsn: str, count: int) -> list[int]:
    """Wait for so many commands of the pool and return their event ids."""
    connection = await asyncpg.connect(dsn)
    async with asyncio.timeout(300):
        while True:
            rows = await connection.fetch(
                "SELECT event_id FROM noetl.command WHERE pool = $1 ORDER BY event_id", _POOL
            )
            if len(rows) >= count:
                break
            await asyncio.sleep(0.2)
    await connection.close()
    return [row["event_id"] for row in rows]


CASE = Case("claims", "64 workers claim 10,000 commands over HTTP, two at each", run)
