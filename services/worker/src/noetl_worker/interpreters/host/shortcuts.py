"""Shortcuts by internals of CPython, only for releases that they were tried with.

They save a third of what a script costs in a fresh fork. Neither the layout of objects nor the
count of eternal ones changes within a release (3.13): extension modules are compiled for both.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from types import CodeType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TRIED = frozenset({(3, 13)})
_SMALLEST_ETERNAL_COUNT = 1 << 30
_FOURS = (1 << 47) // 4  # of bytes that a process may have


def are_safe() -> bool:
    """Return whether the shortcuts were tried with this CPython, and its build is the usual one."""
    is_tried = sys.implementation.name == "cpython" and sys.version_info[:2] in TRIED
    is_usual = sys.maxsize > _FOURS and not hasattr(sys, "gettotalrefcount")  # no debug build
    # Without the lock counts are elsewhere.
    has_lock: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
    return is_tried and is_usual and has_lock and _counts_are_known()


def fork_of(*, is_quick: bool) -> Callable[[], int]:
    """Return the function that forks a process with one thread: quickly, or as `os.fork`.

    The quick one leaves out what `os.fork` repairs after threads. That work touches 150 pages,
    which costs more than the fork. What is left to the child is to seed :mod:`random` anew.
    """
    return ctypes.PyDLL(None).fork if is_quick else os.fork


def make_eternal() -> None:
    """Let no object that is here be counted, or freed, any more.

    A count above a bound is left as it is. Here all get the count of None.
    """
    memory = _memory()
    eternal = memory[id(None) // 4]
    for one in gc.get_objects():
        memory[id(one) // 4] = eternal
        # Texts, numbers and code are in no list of the collector.
        waiting = gc.get_referents(one)
        while waiting:
            other = waiting.pop()
            place = id(other) // 4
            if memory[place] == eternal or gc.is_tracked(other):
                continue
            memory[place] = eternal
            waiting.extend(
                other.co_consts if isinstance(other, CodeType) else gc.get_referents(other)
            )


def _memory() -> ctypes.Array[ctypes.c_uint32]:
    """Return all memory, by fours of bytes: an object begins with its count."""
    return (ctypes.c_uint32 * _FOURS).from_address(0)


def _counts_are_known() -> bool:
    """Try on an object of our own that its count is where we look, and one like None's stays."""
    memory = _memory()
    eternal = memory[id(None) // 4]
    tried = [object()]
    place = id(tried[0]) // 4
    # One reference less than while it is an argument.
    if eternal < _SMALLEST_ETERNAL_COUNT or memory[place] != sys.getrefcount(tried[0]) - 1:
        return False
    memory[place] = eternal
    tried *= 2
    return memory[place] == eternal == sys.getrefcount(tried[0])
