"""Forks, parent-death signals and resource limits."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Room to print the traceback of a MemoryError.
_SPARE_MEMORY = 64 << 20


def _find_prctl() -> Any:
    try:
        return ctypes.CDLL(None).prctl
    except (OSError, AttributeError):  # another system: nothing to arm
        return None


_prctl = _find_prctl()


def _find_fork() -> Callable[[], int]:
    try:
        return ctypes.PyDLL(None).fork
    except (OSError, AttributeError):  # another system
        return os.fork


fork_alone: Callable[[], int] = _find_fork()
"""Fork a process that has one thread: without what `os.fork` repairs after threads.

That work touches 150 pages, which costs more than the fork. What is left to the child is to seed
:mod:`random` anew.
"""


def arm_parent_death(number: int, *, parent: int) -> bool:
    """Ask for a signal when the parent ends; False if it has ended already."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    return os.getppid() == parent


def adopt_orphans() -> None:
    """Become the parent of what a script leaves behind, instead of init."""
    if _prctl is not None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def apply_limits(limits: dict[str, int]) -> None:
    """Bound memory and file size of this process; never leave core files."""
    _limit(resource.RLIMIT_CORE, soft=0, hard=0)
    memory = limits.get("memory_bytes")
    if memory:
        _limit(resource.RLIMIT_AS, soft=memory, hard=memory + _SPARE_MEMORY)
    size = limits.get("file_bytes")
    if size:
        _limit(resource.RLIMIT_FSIZE, soft=size, hard=size)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an OSError instead


def apply_data_limit(most: int) -> None:
    """Bound what this process allocates, in bytes; never leave core files."""
    _limit(resource.RLIMIT_CORE, soft=0, hard=0)
    _limit(resource.RLIMIT_DATA, soft=most, hard=most)


def lift_memory_limit() -> None:
    """Free the spare memory."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _limit(what: int, *, soft: int, hard: int) -> None:
    _, allowed = resource.getrlimit(what)
    if allowed != resource.RLIM_INFINITY:
        soft, hard = min(soft, allowed), min(hard, allowed)
    resource.setrlimit(what, (soft, hard))
