"""Find and kill left-over and excess processes of scripts."""

import contextlib
import os
import signal
from collections import defaultdict

_PASSES = 50


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
