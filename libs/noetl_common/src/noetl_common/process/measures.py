"""Measurements that cost a question to somebody, made when the metrics are read."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger

type Measure = Callable[[], Awaitable[object]]
"""Sets metrics; it may raise a `NoetlError`."""

_log = get_logger()
_LONGEST_SECONDS = 2.0
_REMEMBER_SECONDS = 1.0


class Measures:
    """Run measurements side by side; readers within one second share a round."""

    def __init__(self) -> None:
        self._measures: list[Measure] = []
        self._lock = asyncio.Lock()
        self._ran_at = float("-inf")

    def add(self, measure: Measure) -> None:
        """Add a measurement for all later rounds."""
        self._measures.append(measure)

    async def run(self) -> None:
        """Measure, for two seconds at most; what fails leaves the metrics as they are."""
        async with self._lock:
            if monotonic() - self._ran_at < _REMEMBER_SECONDS:
                return
            await asyncio.gather(*map(_run, self._measures))
            self._ran_at = monotonic()


async def _run(measure: Measure) -> None:
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            await measure()
    except (NoetlError, TimeoutError) as error:
        _log.warning("not_measured", error=str(error))
