"""Hide `/proc` from scripts; find and kill their left-over and excess processes."""

import contextlib
import ctypes
import os
import signal
from collections import defaultdict

_PASSES = 50
_PR_SET_DUMPABLE = 4


def hide_from_scripts() -> None:
    """Make `/proc/<our pid>` unreadable for processes of our own user.

    Scripts run under our user; without this they could read the broker's password there. A
    worker that runs as root cannot hide from its scripts this way.
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):  # another system
        return


def overgrown(roots: list[int], limit: int) -> list[int]:
    """Return those roots that have more than ``limit`` processes below them."""
    children = _children()
    return [root for root in roots if _count(root, children) > limit]


def end_strays(directory: str) -> None:
    """Kill processes that have the environment of an interpreter that has ended.

    A script that kills or stops its parent takes away the one that would have done this.
    """
    mark = f"HOME={directory}".encode()
    for _ in range(_PASSES):  # they may fork while we look
        found = [pid for pid in _pids() if mark in _environment_of(pid)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _pids() -> list[int]:
    try:
        return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]
    except OSError:
        return []


def _environment_of(pid: int) -> list[bytes]:
    # Empty for a zombie.
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123  faster
            return file.read().split(b"\0")
    except OSError:
        return []


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    with contextlib.suppress(OSError):
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            # A process may be gone meanwhile.
            with (
                contextlib.suppress(OSError, IndexError, ValueError),
                open(  # noqa: PTH123  faster
                    f"/proc/{entry.name}/stat", "rb"
                ) as file,
            ):
                # The name, in parentheses, may hold anything.
                parent = int(file.read().rpartition(b")")[2].split()[1])
                found[parent].append(int(entry.name))
    return found


def _count(root: int, children: dict[int, list[int]]) -> int:
    pending = [root]
    count = 0
    while pending:
        below = children.get(pending.pop(), ())
        count += len(below)
        pending.extend(below)
    return count
