"""Differences between two versions of a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import unified_diff
from itertools import islice

MOST_LINES = 2000
"""Lines of a difference that are shown."""


@dataclass(frozen=True, slots=True)
class DifferenceLine:
    """A line: added, removed, context, or the place of the next lines."""

    kind: str
    text: str


def differences(before: str, after: str) -> Sequence[DifferenceLine]:
    """Return the lines that differ, with three around them; empty where the texts are the same."""
    found = []
    lines = unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=3)
    # The names of the files, of which there are none.
    for line in islice(lines, 2, None):
        kinds = {"+": "added", "-": "removed", "@": "place"}
        found.append(DifferenceLine(kinds.get(line[:1], "context"), line))
        if len(found) >= MOST_LINES:
            found.append(DifferenceLine("place", "@@ the rest is left out @@"))
            break
    return found
