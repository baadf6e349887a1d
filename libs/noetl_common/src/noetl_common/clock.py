"""The wall clock, as a function that tests replace."""

import time
from collections.abc import Callable

type Clock = Callable[[], int]
"""Returns Unix milliseconds of the wall clock."""


def unix_ms() -> int:
    """Return the wall clock in Unix milliseconds."""
    return time.time_ns() // 1_000_000
