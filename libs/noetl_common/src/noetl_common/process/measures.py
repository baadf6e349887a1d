"""Measurements that cost a query or a request, and run when the metrics are read."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

from prometheus_client import Counter, Gauge

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_common.metrics import counter

type Measure = Callable[[], Awaitable[object]]
"""A function that sets metrics; it may raise a `NoetlError`."""

_log = get_logger()
_LONGEST_SECONDS = 2.0
_REMEMBER_SECONDS = 1.0


def measured_by(name: str) -> Counter:
    """Return the counter of failed measurements, with the series of a measurement at 0."""
    return counter(
        "noetl_measurements_failed_total",
        "Failed measurements; the measured metrics are hidden until a measurement succeeds.",
        ("measurement",),
        zeros=(name,),
    )


def not_measured(name: str, *gauges: Gauge) -> None:
    """Count a failed measurement, and clear its gauges, so that no outdated value is shown.

    Series with labels are removed. A gauge without labels can't be removed and becomes NaN, for
    which each comparison of an alert is false.
    """
    measured_by(name).labels(name).inc()
    for one in gauges:
        clear(one)


def clear(gauge: Gauge) -> None:
    """Show no value of a gauge until the gauge is set again."""
    if gauge._labelnames:  # noqa: SLF001 -- the library has no public look-up
        gauge.clear()
    else:
        gauge.set(math.nan)


@dataclass(frozen=True, slots=True)
class _Measurement:
    name: str
    measure: Measure
    gauges: tuple[Gauge, ...]


class Measures:
    """Runs measurements concurrently; all reads within one second share one round."""

    def __init__(self) -> None:
        self._measurements: list[_Measurement] = []
        self._lock = asyncio.Lock()
        self._ran_at = float("-inf")

    def add(self, name: str, measure: Measure, *gauges: Gauge) -> None:
        """Add a measurement and the gauges that it sets."""
        measured_by(name)
        self._measurements.append(_Measurement(name, measure, gauges))

    async def run(self) -> None:
        """Run all measurements, for at most two seconds; a failed one clears its gauges."""
        async with self._lock:
            if monotonic() - self._ran_at < _REMEMBER_SECONDS:
                return
            await asyncio.gather(*map(_run, self._measurements))
            self._ran_at = monotonic()


async def _run(one: _Measurement) -> None:
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            await one.measure()
    except (NoetlError, TimeoutError) as error:
        not_measured(one.name, *one.gauges)
        _log.warning("not_measured", measurement=one.name, error=str(error))
