"""Measurements that cost a question to somebody, made when the metrics are read."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

from prometheus_client import Gauge

from noetl_common import metrics
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger

type Measure = Callable[[], Awaitable[object]]
"""Sets metrics; it may raise a `NoetlError`."""

_log = get_logger()
_LONGEST_SECONDS = 2.0
_REMEMBER_SECONDS = 1.0


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
        metrics.measured_by(name)
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
        metrics.not_measured(one.name, *one.gauges)
        _log.warning("not_measured", measurement=one.name, error=str(error))
