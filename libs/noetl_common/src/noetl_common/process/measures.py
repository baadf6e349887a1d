"""Measurements that cost a query or request, made when the metrics are read."""

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
"""Sets metrics; it may raise a `NoetlError`."""

_log = get_logger()
_LONGEST_SECONDS = 2.0
_REMEMBER_SECONDS = 1.0


def measured_by(name: str) -> Counter:
    """Return the counter of failed measurements, with that of this name at 0."""
    return counter(
        "noetl_measurements_failed_total",
        "Measurements that failed; what they measure is not shown until one succeeds.",
        ("measurement",),
        zeros=(name,),
    )


def not_measured(name: str, *gauges: Gauge) -> None:
    """Count a failed measurement, and clear its gauges, which would look up to date.

    Series with labels go; a gauge without labels can't, and is no number (NaN), which no
    comparison of an alert is true for.
    """
    measured_by(name).labels(name).inc()
    for one in gauges:
        forget(one)


def forget(one: Gauge) -> None:
    """Show no number of a gauge until it is set again."""
    if one._labelnames:  # noqa: SLF001 -- the library has no public way to ask
        one.clear()
    else:
        one.set(math.nan)


@dataclass(frozen=True, slots=True)
class _Measurement:
    name: str
    measure: Measure
    gauges: tuple[Gauge, ...]


class Measures:
    """Run measurements side by side; readers within one second share a round."""

    def __init__(self) -> None:
        self._measurements: list[_Measurement] = []
        self._lock = asyncio.Lock()
        self._ran_at = float("-inf")

    def add(self, name: str, measure: Measure, *gauges: Gauge) -> None:
        """Add a measurement, with the gauges that it sets, for all later rounds."""
        measured_by(name)
        self._measurements.append(_Measurement(name, measure, gauges))

    async def run(self) -> None:
        """Measure, for two seconds at most; gauges of what fails are not shown."""
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
