"""Every check of this folder, one after the other."""

from collections.abc import Iterator
from pathlib import Path

import citations
import dependencies
import fast_paths
import links
import monitoring
import names
import readmes
import rooms
import rulebook
import sizes
import waits
import walkthrough
import wording
from findings import run

CHECKS = (
    citations, dependencies, fast_paths, links, monitoring, names, readmes, rooms, rulebook, sizes,
    waits, walkthrough, wording,
)  # fmt: skip


def find(root: Path) -> Iterator[str]:
    """Find the problems that any of the checks finds."""
    for check in CHECKS:
        yield from check.find(root)


if __name__ == "__main__":
    run(find, rooms.warnings, sizes.warnings)
