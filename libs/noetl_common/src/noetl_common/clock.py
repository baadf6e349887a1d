"""Time, injected."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

__all__ = ["Clock", "unix_ms", "utc_now"]

type Clock = Callable[[], int]
"""Returns Unix milliseconds of the wall clock."""


def unix_ms() -> int:
    """Return the wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000


def utc_now() -> datetime:
    """Return the wall clock as an aware UTC datetime."""
    return datetime.now(UTC)
