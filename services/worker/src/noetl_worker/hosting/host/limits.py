"""Parent-death signals, resource limits, and the mark of hosted processes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from math import ceil
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Room to print the traceback of a MemoryError.
_SPARE_MEMORY = 64 << 20
# Of locks on files: inherited and never enforced, so what it is set to does no harm.
_RLIMIT_LOCKS = 10
_MOST_LOCKS = 1 << 20


def _find_prctl() -> Any:
    try:
        return ctypes.CDLL(None).prctl
    except (OSError, AttributeError):  # another system: nothing to arm
        return None


_prctl = _find_prctl()


def arm_parent_death(number: int, *, parent: int) -> bool:
    """Ask for a signal when the parent ends; False if it has ended already."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    return os.getppid() == parent


def adopt_orphans() -> None:
    """Become the parent of processes that a script leaves behind, instead of init."""
    if _prctl is not None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def mark_as_hosted() -> None:
    """Mark this process and all below it, for good: only root can raise a bound again."""
    bound = max(_locks(0) - 1, 0)
    with contextlib.suppress(OSError, ValueError):  # a system that doesn't know it
        resource.setrlimit(_RLIMIT_LOCKS, (bound, bound))


def is_hosted(pid: int) -> bool:
    """Return whether a process is marked, as seen from one that isn't."""
    try:
        return _locks(pid) < _locks(0)
    except PermissionError:
        # It is another user's by now, which nothing becomes that the worker itself starts.
        return True
    except OSError:
        return False


def _locks(pid: int) -> int:
    _, hard = resource.prlimit(pid, _RLIMIT_LOCKS)
    return _MOST_LOCKS if hard == resource.RLIM_INFINITY else hard


def apply_limits(
    *,
    memory_bytes: int = 0,
    data_bytes: int = 0,
    file_bytes: int = 0,
    cpu_seconds: float = 0,
) -> None:
    """Bound memory and files of this process from now on, 0 is no bound; never leave core files.

    Args:
        memory_bytes: of address space.
        data_bytes: that it allocates.
        file_bytes: of one file.
        cpu_seconds: of processor time.
    """
    _limit(resource.RLIMIT_CORE, soft=0, hard=0)
    if memory_bytes:
        _limit(resource.RLIMIT_AS, soft=memory_bytes, hard=memory_bytes + _SPARE_MEMORY)
    if data_bytes:
        _limit(resource.RLIMIT_DATA, soft=data_bytes, hard=data_bytes)
    if file_bytes:
        _limit(resource.RLIMIT_FSIZE, soft=file_bytes, hard=file_bytes)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an OSError instead
    if cpu_seconds:
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = ceil(used.ru_utime + used.ru_stime + cpu_seconds)
        _limit(resource.RLIMIT_CPU, soft=seconds, hard=seconds + 1)


def lift_memory_limit() -> None:
    """Free the spare memory."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _limit(what: int, *, soft: int, hard: int) -> None:
    _, allowed = resource.getrlimit(what)
    if allowed != resource.RLIM_INFINITY:
        soft, hard = min(soft, allowed), min(hard, allowed)
    resource.setrlimit(what, (soft, hard))
