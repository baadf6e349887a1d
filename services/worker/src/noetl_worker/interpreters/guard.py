"""Counts the processes below others, from ``/proc``."""

import contextlib
import os
from collections import defaultdict

__all__ = ["overgrown"]


def overgrown(roots: list[int], limit: int) -> list[int]:
    """Return those roots that have more than ``limit`` processes below them."""
    children = _children()
    return [root for root in roots if _count(root, children) > limit]


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    with contextlib.suppress(OSError):
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            # A process may be gone meanwhile.
            with (
                contextlib.suppress(OSError, IndexError, ValueError),
                open(  # noqa: PTH123
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
