"""Orchestrators that own executions: one, two and four, on both settings of NOETL_INGRESS."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from statistics import median

from noetl_testkit.stack import INGRESS

from benchmarks.cases.case import Case, Settings
from benchmarks.probes import playbooks
from benchmarks.probes.bench import bench
from benchmarks.probes.cpu import SERVICES, CpuTimes
from benchmarks.report.results import Found, Plot, Table

_COUNTS = (1, 2, 4)
_ROUNDS = 3
_AT_ONCE = 64
_TOTAL = 640
type _Measured = tuple[float, float, float]
"""Steps a second, milliseconds of processor time a step, and those of the orchestrators."""


def run(settings: Settings) -> Iterator[Found]:
    """Measure each pair on a new stack, all pairs in turns, several times."""
    found: defaultdict[tuple[str, int], list[_Measured]] = defaultdict(list)
    for number, (ingress, count) in product(range(_ROUNDS), product(INGRESS, _COUNTS)):
        measured = _one(ingress, count, settings)
        found[ingress, count].append(measured)
        print(f"  round {number + 1}: {count} x {ingress}: {measured[0]:.0f} steps/s", flush=True)
    columns = [
        *("NOETL_INGRESS", "active orchestrators", "steps/s", "slowest round", "quickest round"),
        *("CPU ms/step", "of it the orchestrators"),
    ]
    rows: list[list[str | int | float | None]] = []
    series: dict[str, list[tuple[float, float]]] = {}
    for (ingress, count), rounds in found.items():
        speeds, costs, of_orchestrators = zip(*rounds, strict=True)
        middle = median(speeds)
        shown = (middle, min(speeds), max(speeds), median(costs), median(of_orchestrators))
        rows.append([ingress, count, *shown])
        series.setdefault(ingress, []).append((float(count), middle))
    notes = [
        f"{_AT_ONCE} executions at once, noop, workers over NATS, all on the cores of one machine;",
        f"medians of {_ROUNDS} rounds in turns. Rounds of one row differ by chance alone, so a",
        "difference between rows within their ranges shows nothing.",
    ]
    yield Table("active", "Active orchestrators", columns, rows, notes)
    title = "Steps a second over active orchestrators"
    yield Plot("active", title, "active orchestrators", "steps a second", series)


def _one(ingress: str, count: int, settings: Settings) -> _Measured:
    environment = {
        **settings.environment,
        "NOETL_INGRESS": ingress,
        "NOETL_REPLICAS_ACTIVE_MIN": str(count),
    }
    with bench(arguments=["--orchestrators", str(count)], environment=environment) as on:
        on.register(playbooks.chain("noop", playbooks.NOOP))
        on.run("noop", at_once=_AT_ONCE, total=_AT_ONCE)
        total = settings.scaled(_TOTAL, _AT_ONCE)
        cpu = CpuTimes(on.stack)
        done = on.run("noop", at_once=_AT_ONCE, total=total)
        used = cpu.used()
    steps = total * playbooks.STEPS
    known = sum(seconds for name, seconds in used.items() if name in SERVICES)
    costs = [1000 * seconds / steps for seconds in (known, used["orchestrator"])]
    return steps / done.seconds, costs[0], costs[1]


CASE = Case("active", "1, 2 and 4 active orchestrators on both settings of NOETL_INGRESS", run)
