"""Growth with the work done: memory of the services, bytes on disk."""

import asyncio
from collections.abc import Iterator

import asyncpg
import nats
from noetl_contract.streams import STREAMS

from benchmarks.cases.case import Case, Settings
from benchmarks.probes import playbooks
from benchmarks.probes.bench import Bench, bench
from benchmarks.probes.cpu import SERVICES, memory
from benchmarks.report.results import Found, Plot, Table

_EXECUTIONS = 20_000
_AT_ONCE = 32
_REST_SECONDS = 75.0


def run(settings: Settings) -> Iterator[Found]:
    """Run executions in ten portions, and rest after them."""
    portion = settings.scaled(_EXECUTIONS, 10 * _AT_ONCE) // 10
    rows: list[list[str | int | float | None]] = []
    series: dict[str, list[tuple[float, float]]] = {}
    with bench() as on:
        on.register(playbooks.chain("noop", playbooks.NOOP))
        on.run("noop", at_once=4, total=20)
        before = on.wait(_disk(on))
        for number in range(1, 11):
            on.run("noop", at_once=_AT_ONCE, total=portion)
            used = memory(on.stack)
            rows.append([number * portion, *(used.get(name, 0.0) for name in SERVICES)])
            for name, size in used.items():
                series.setdefault(name, []).append((float(number * portion), size))
        on.wait(asyncio.sleep(_REST_SECONDS * min(1.0, settings.scale * 10)))
        used = memory(on.stack)
        rows.append([f"{rows[-1][0]:,}, rested", *(used.get(name, 0.0) for name in SERVICES)])
        after = on.wait(_disk(on))
    columns = ["executions", *(f"{name} MB" for name in SERVICES)]
    notes = ["What processes share counts once, so PostgreSQL's buffers do."]
    yield Table("memory", "Memory after so many executions of ten steps", columns, rows, notes)
    yield Plot("memory", "Memory over executions", "executions", "MB", series)
    events = after["events"] - before["events"]
    columns = ["where", "bytes an event", "bytes a step"]
    steps = 10 * portion * playbooks.STEPS
    disk: list[list[str | int | float | None]] = [
        [where, (size - before[where]) / events, (size - before[where]) / steps]
        for where, size in after.items()
        if where != "events"
    ]
    notes = [
        f"{events / steps:.1f} events a step. Tables and indexes before a vacuum; what the",
        "write-ahead log and the streams hold is bounded and counts as far as it grew.",
    ]
    yield Table("disk", "Disk", columns, disk, notes)


async def _disk(on: Bench) -> dict[str, int]:
    """Return the number of events, and the bytes of tables and streams, by name."""
    connection = await asyncpg.connect(on.dsn)
    found = {
        "events": await connection.fetchval("SELECT count(*) FROM noetl.event"),
        "PostgreSQL, all": await connection.fetchval("SELECT pg_database_size(current_database())"),
    }
    for table in ("event", "command", "outbox", "execution_state", "execution"):
        found[f"PostgreSQL, {table}"] = await connection.fetchval(_SIZE, f"noetl.{table}")
    await connection.close()
    bus = await nats.connect(on.nats_url)
    for spec in STREAMS[:4]:
        found[f"NATS, {spec.name}"] = (await bus.jetstream().stream_info(spec.name)).state.bytes
    await bus.close()
    return found


_SIZE = """
SELECT coalesce(
    sum(pg_total_relation_size(relid)), pg_total_relation_size($1::text::regclass)
)::bigint
FROM pg_partition_tree($1::text::regclass)
"""

CASE = Case("growth", "memory of each service over 20,000 executions, disk per event", run)
