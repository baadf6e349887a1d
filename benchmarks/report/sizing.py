"""Number of processes that a rate takes, calculated from the measured cost of a step."""

import math
from collections.abc import Iterator, Mapping

from benchmarks.report.results import Table

# What a core may be used for before waiting times grow.
UTILISATION = 0.6
_RATES = (500, 2_000, 10_000)
# These use as many cores as they get; a process of the others uses one.
_THREADED = frozenset({"postgres", "nats"})


def tables(costs: Mapping[str, Mapping[str, float]]) -> Iterator[Table]:
    """Yield the cost of a step by service, and the processes for some rates.

    Args:
        costs: milliseconds of CPU a step by service, by the name of what was run.
    """
    services = list(dict.fromkeys(name for cost in costs.values() for name in cost))
    columns = ["service", *(f"{label}, ms/step" for label in costs)]
    rows = [[name, *(cost.get(name) for cost in costs.values())] for name in services]
    yield Table("sizing", "CPU milliseconds a step, many at once", columns, rows)
    label = next(iter(costs), None)
    if label is None:
        return
    columns = ["service", "counted in", *(f"{rate:,} steps/s" for rate in _RATES)]
    yield Table(
        "sizing_example",
        f"What {label} takes",
        columns,
        [
            [name, "cores" if name in _THREADED else "processes"]
            + [count(rate, cost) for rate in _RATES]
            for name, cost in costs[label].items()
        ],
        [f"For {label}, with cores used to {UTILISATION:.0%}, and at least one of each."],
    )


def count(rate: float, milliseconds: float) -> int:
    """Return the cores that a rate of steps takes, each used no more than it should be."""
    return max(1, math.ceil(rate * milliseconds / 1000 / UTILISATION))
