"""Times of a step, hop by hop: the way of a command and of its outcome."""

from collections.abc import Iterator

import asyncpg

from benchmarks.cases.case import Case, Settings
from benchmarks.probes import playbooks
from benchmarks.probes.bench import Bench, bench
from benchmarks.probes.bus_watch import BusWatch
from benchmarks.probes.load import load_of, quantile
from benchmarks.report.results import Found, Plot, Table

_HOPS = (
    "command on the bus → tool begins",
    "tool begins → tool has ended",
    "tool has ended → outcome on the bus",
    "outcome on the bus → commit begins",
    "commit begins → next command on the bus",
)
_BINS = 40


def run(settings: Settings) -> Iterator[Found]:
    """Measure one execution at a time over each transport."""
    columns = ["transport", "hop", "p50 ms", "p95 ms", "p99 ms", "seen"]
    rows = []
    plots = []
    for transport in settings.transports:
        with bench(transport) as on:
            on.register(playbooks.chain("noop", playbooks.NOOP))
            on.run("noop", at_once=1, total=10)
            hops = on.wait(_hops(on, settings.scaled(200)))
        if not all(hops.values()):
            raise RuntimeError(f"no step was seen whole on the bus over {transport}")
        for hop, spans in hops.items():
            spans.sort()
            cuts = [quantile(spans, share) for share in (0.5, 0.95, 0.99)]
            rows.append([transport, hop, *cuts, len(spans)])
        plots.append(_histogram(transport, hops))
    notes = [
        "The tool's moments are the worker's own, the commit's beginning is the database's,",
        "the others are when a listener on the bus heard of them, all by one clock. The next",
        "command comes with the answer to the outcome, or by the queue.",
        "The listener takes a copy of every message, so sums are above the time of a step.",
    ]
    yield Table("hops", "A noop step hop by hop, one execution at a time", columns, rows, notes)
    yield from plots


async def _hops(on: Bench, total: int) -> dict[str, list[float]]:
    watch = BusWatch()
    async with load_of(on.stack) as load:
        await watch.watch(load.connection)
        done = await load.run("bench/noop", at_once=1, total=total)
    found: dict[str, list[float]] = {hop: [] for hop in _HOPS}
    connection = await asyncpg.connect(on.dsn)
    for execution_id in done.ids:
        moments = await connection.fetch(_MOMENTS, execution_id)
        begun, ended, issued = (
            [row["at"] for row in moments if row["kind"] == kind]
            for kind in ("command.started", "call.done", "command.issued")
        )
        columns = (
            watch.commands[execution_id],
            begun,
            ended,
            watch.outcomes[execution_id],
            issued[1:],
            watch.commands[execution_id][1:],
        )
        # A message that was sent twice makes the order say nothing.
        if {len(one) for one in columns[:4]} != {playbooks.STEPS}:
            continue
        for hop, before, after in zip(_HOPS, columns, columns[1:], strict=False):
            pairs = zip(before, after, strict=False)
            found[hop] += [max(0.0, (late - early) * 1000) for early, late in pairs]
    await connection.close()
    return found


# When a tool began and ended by the worker's clock, when a commit began by the database's.
_MOMENTS = """
SELECT event_type AS kind, extract(EPOCH FROM CASE
    WHEN event_type = 'command.issued' THEN ingest_time
    ELSE created_at AT TIME ZONE 'UTC'
END)::float8 AS at
FROM noetl.event
WHERE execution_id = $1
    AND event_type IN ('command.started', 'call.done', 'command.issued')
ORDER BY position
"""


def _histogram(transport: str, hops: dict[str, list[float]]) -> Plot:
    """Share of steps by time, the same bins for all hops; the slowest are off the picture."""
    top = max((quantile(sorted(spans), 0.95) for spans in hops.values()), default=1.0)
    width = (top or 1.0) / _BINS
    series = {}
    for hop, spans in hops.items():
        counts = [0] * (_BINS + 1)
        for span in spans:
            counts[min(_BINS, int(span / width))] += 1
        series[hop.replace("→", "to")] = [
            (round(number * width, 4), 100 * count / max(1, len(spans)))
            for number, count in enumerate(counts[:_BINS])
        ]
    title = f"A noop step hop by hop over {transport}"
    return Plot(f"hops_{transport}", title, "milliseconds", "% of steps", series, kind="bars")


CASE = Case("hops", "where a step's time goes, as a histogram for each hop", run)
