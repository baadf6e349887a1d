"""Counts of one noop step: rows, publishes and commits."""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass

import asyncpg
import nats
from noetl_contract.streams import STREAMS

from benchmarks.cases.case import Case, Settings
from benchmarks.probes import playbooks
from benchmarks.probes.bench import Bench, bench
from benchmarks.report.results import Found, Table

# Sessions that rest report their rows to the server after ten seconds.
_STATISTICS_SECONDS = 12.0
_PARTITION = re.compile(r"_(\d{4}_q\d|default)$")
_WRITTEN = ("n_tup_ins", "n_tup_upd", "n_tup_hot_upd", "n_tup_del")


@dataclass(frozen=True)
class _Counters:
    """Numbers that only grow: rows by table, the last sequence by stream, transactions."""

    rows: dict[str, tuple[int, ...]]
    published: dict[str, int]
    writing: int


def run(settings: Settings) -> Iterator[Found]:
    """Count at 1 and at 64 at once, after the stack has run for a while."""
    numbers: list[list[str | int | float | None]] = []
    written: list[list[str | int | float | None]] = []
    for transport in settings.transports:
        with bench(transport) as on:
            on.register(playbooks.chain("noop", playbooks.NOOP))
            on.run("noop", at_once=8, total=24)
            for at_once in (1, 64):
                total = settings.scaled(100 if at_once == 1 else 1280, at_once)
                before = on.wait(_counters(on))
                ids = on.run("noop", at_once=at_once, total=total).ids
                after = on.wait(_counters(on))
                steps = total * playbooks.STEPS
                commits = on.wait(_log_commits(on, ids))
                numbers.append([transport, at_once, *_per_step(before, after, commits, steps)])
                written += [
                    [transport, at_once, table, *cells]
                    for table, cells in _rows_per_step(before, after, steps)
                ]
    columns = [
        *("transport", "at once", "outbox rows", "stream publishes", "commits of the log"),
        *("transactions that write", *(spec.name for spec in STREAMS[:4])),
    ]
    notes = [
        "A commit of the log counts once, whatever it holds of how many executions;",
        "transactions that write are those of all services, the outbox' marks and the read",
        "models included. The starts and ends of the executions are in it.",
    ]
    yield Table("counts", "Per noop step", columns, numbers, notes)
    columns = ["transport", "at once", "table", "inserted", "updated", "of them HOT", "deleted"]
    yield Table("counts_rows", "Rows written per noop step, by table", columns, written)


async def _counters(on: Bench) -> _Counters:
    await asyncio.sleep(_STATISTICS_SECONDS)
    connection = await asyncpg.connect(on.dsn)
    rows = await connection.fetch(
        f"SELECT relname, {', '.join(_WRITTEN)} FROM pg_stat_user_tables WHERE schemaname = 'noetl'"
    )
    writing = await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
    await connection.close()
    bus = await nats.connect(on.nats_url)
    js = bus.jetstream()
    last = {spec.name: (await js.stream_info(spec.name)).state.last_seq for spec in STREAMS}
    await bus.close()
    by_table: dict[str, tuple[int, ...]] = {}
    for row in rows:
        # A partition counts for its table.
        name = _PARTITION.sub("", row["relname"])
        old = by_table.get(name, (0,) * len(_WRITTEN))
        by_table[name] = tuple(a + row[one] for a, one in zip(old, _WRITTEN, strict=True))
    return _Counters(by_table, last, int(writing))


async def _log_commits(on: Bench, ids: list[int]) -> int:
    """Count the transactions that wrote events of these executions."""
    connection = await asyncpg.connect(on.dsn)
    found: int = await connection.fetchval(
        "SELECT count(DISTINCT xmin::text) FROM noetl.event WHERE execution_id = ANY($1::bigint[])",
        ids,
    )
    await connection.close()
    return found


def _per_step(before: _Counters, after: _Counters, commits: int, steps: int) -> list[float]:
    published = [
        (after.published[spec.name] - before.published[spec.name]) / steps for spec in STREAMS
    ]
    outbox = after.rows["outbox"][0] - before.rows["outbox"][0]
    writing = (after.writing - before.writing) / steps
    return [outbox / steps, sum(published), commits / steps, writing, *published[:4]]


def _rows_per_step(
    before: _Counters, after: _Counters, steps: int
) -> Iterator[tuple[str, list[float]]]:
    for table, counts in sorted(after.rows.items()):
        old = before.rows.get(table, (0,) * len(_WRITTEN))
        cells = [(new - was) / steps for new, was in zip(counts, old, strict=True)]
        if sum(cells) >= 0.005:
            yield table, cells


CASE = Case("counts", "rows, publishes and commits of a noop step at 1 and at 64", run)
