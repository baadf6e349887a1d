"""Processor load: the share of a core that this process wants, and spare time of the machine.

The wanted share is the time used plus the time waited in the kernel's run queue: on a machine that
has no time left a process gets little, however much there is to do.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

_SCHEDULED = Path("/proc/self/schedstat")
_RUNNING = Path("/proc/loadavg")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_SMOOTHING = 0.1


@dataclass(frozen=True, slots=True)
class Load:
    """One measurement of the load.

    Attributes:
        wanted: processor time wanted since the last look, 1 for all that the process may have.
        has_spare: whether fewer processes want to run than the machine has cores.
    """

    wanted: float
    has_spare: bool


class LoadMeter:
    """Measures this process and its machine; without data of the kernel, by time used alone."""

    def __init__(self) -> None:
        self._cores = os.cpu_count() or 1
        self._share = _allowed_cores()
        self._at = time.monotonic()
        self._used = time.process_time()
        self._waited = _waited_seconds()
        self._running = 0.0

    def look(self) -> Load:
        """Return the load since the last look."""
        now, used, waited = time.monotonic(), time.process_time(), _waited_seconds()
        passed = max(now - self._at, 1e-6)
        got = (used - self._used) / passed
        wanted = max(got + (waited - self._waited) / passed, got / self._share)
        self._at, self._used, self._waited = now, used, waited
        self._running += _SMOOTHING * (_others_running() - self._running)
        return Load(wanted, self._running < self._cores)


def _waited_seconds() -> float:
    """Return the seconds for which the main thread was ready to run and had no core."""
    try:
        return int(_SCHEDULED.read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _others_running() -> int:
    """Return the number of threads on the machine that run or are ready to, but for this one."""
    try:
        return int(_RUNNING.read_text().split()[3].partition("/")[0]) - 1
    except (OSError, ValueError, IndexError):
        return 0


def _allowed_cores() -> float:
    """Return the part of one core that the container may use, 1 without a limit below that."""
    try:
        quota, period = _QUOTA.read_text().split()
        return min(1.0, int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return 1.0
