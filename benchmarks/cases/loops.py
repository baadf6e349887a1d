"""Many units in one execution: loops, branches that meet, children."""

import itertools
import statistics
from collections.abc import Iterator

import asyncpg

from benchmarks.cases.case import Case, Settings
from benchmarks.probes import playbooks
from benchmarks.probes.bench import Bench, bench
from benchmarks.report.results import Found, Plot, Table

_SEQUENTIAL = "{mode: sequential}"
_IN_FLIGHT = 50
# A range of a template has fewer than 100,000 elements.
_SIZES = (10_000, 99_999)
_PARALLEL = f"{{mode: parallel, max_in_flight: {_IN_FLIGHT}}}"
_COLUMNS = ("what", "units", "seconds", "units/s", "floor/s", "last tenth / second tenth")
_NOTES = (
    "The floor is that of as many chains as units are in flight, 50 at most.",
    "The last column compares the time between two outcomes in the last tenth of the run",
    "with that in the second: 1 is flat.",
)
type _Row = list[str | int | float | None]


def run_loops(settings: Settings) -> Iterator[Found]:
    """Loops in sequence and 50 at once, and a long one of each."""
    rows: list[_Row] = []
    tenths: dict[str, list[tuple[float, float]]] = {}
    with bench() as on:
        on.register(
            playbooks.loop("sequential", _SEQUENTIAL), playbooks.loop("parallel", _PARALLEL)
        )
        on.run("parallel", at_once=1, total=1, count=200)
        for name, size in itertools.product(("sequential", "parallel"), _SIZES):
            count = settings.scaled(size, 100)
            row, spans = _one(on, name, count, count=count)
            rows.append(row)
            tenths[f"{name} {count:,}"] = list(enumerate(spans, 1))
    yield Table("loops", "Loops of noop iterations", _COLUMNS, rows, _NOTES)
    yield Plot(
        "loops_tenths",
        "Time an iteration over the run",
        "tenth of the run",
        "milliseconds an iteration",
        {label: [(float(x), y) for x, y in points] for label, points in tenths.items()},
    )


def run_fan_out(settings: Settings) -> Iterator[Found]:
    """A step with a thousand arcs, whose branches meet again."""
    width = settings.scaled(1000)
    with bench() as on:
        on.register(playbooks.fan("fan", width))
        row, _spans = _one(on, "fan", width)
    yield Table("fan_out", "Branches that meet again", _COLUMNS, [row], _NOTES)


def run_children(settings: Settings) -> Iterator[Found]:
    """A loop each of whose iterations is an execution of its own."""
    count = settings.scaled(1000)
    with bench() as on:
        on.register(
            playbooks.chain("child", playbooks.NOOP, 1), playbooks.children("children", "child")
        )
        on.run("children", at_once=1, total=1, count=20)
        row, _spans = _one(on, "children", count, count=count)
    yield Table("children", "Children, 50 at once", _COLUMNS, [row], _NOTES)


def _one(on: Bench, name: str, units: int, **workload: object) -> tuple[_Row, list[float]]:
    """Run one execution; return its row and the milliseconds between outcomes by tenth."""
    base = on.floor(1 if name == "sequential" else _IN_FLIGHT)
    done = on.run(name, at_once=1, total=1, **workload)
    times = on.wait(_outcomes(on.dsn, done.ids[0]))
    spans = [later - earlier for earlier, later in itertools.pairwise(times)]
    size = max(1, len(spans) // 10)
    # Outcomes of one commit share its time: of many in flight the mean says more than the median.
    middle = statistics.median if name == "sequential" else statistics.fmean
    tenths = [middle(spans[n * size : (n + 1) * size] or [0.0]) for n in range(10)]
    ratio = tenths[-1] / tenths[1] if tenths[1] else None
    print(f"  {name} {units}: {done.seconds:.1f} s", flush=True)
    return [name, units, done.seconds, units / done.seconds, base.rate, ratio], tenths


async def _outcomes(dsn: str, execution_id: int) -> list[float]:
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


CASES = (
    Case("loops", "10,000 and 99,999 iterations, in sequence and 50 at once", run_loops),
    Case("fan_out", "a step with 1,000 branches that meet again", run_fan_out),
    Case("children", "1,000 children, 50 at once", run_children),
)
