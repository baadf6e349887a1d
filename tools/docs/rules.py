"""Pages that name tests are written by hand, but for where these are.

A test is named by package, place below its tests, and function; the function is what counts.
"""

import re
from collections import defaultdict
from pathlib import Path

PAGES = ("docs/rules.md", "docs/fast-paths.md")

_TEST = re.compile(r"`([\w./-]*test_\w+\.py)::(test_\w+)`")
_MADE = re.compile(r"^\s*(?:async )?def (test_\w+)\(", re.MULTILINE)


def page(name: str, root: Path) -> str:
    """Return a page with today's places of the tests; unknown ones stay as they are."""
    places = places_of_tests(root)

    def found(match: re.Match[str]) -> str:
        known = places.get(match[2], [])
        place = match[1] if match[1] in known or not known else known[0]
        return f"`{place}::{match[2]}`"

    return _TEST.sub(found, (root / name).read_text())


def places_of_tests(root: Path) -> dict[str, list[str]]:
    """Return where each test function is: `orchestrator/turn/test_positions.py`."""
    places: dict[str, list[str]] = defaultdict(list)
    for pattern in (
        "libs/*/tests",
        "services/*/tests",
        "packages/*/tests",
        "cli/tests",
        "testkit/tests",
        "tests",
    ):
        for folder in sorted(root.glob(pattern)):
            owner = folder.parent.name if folder.parent != root else folder.name
            for path in sorted(folder.rglob("test_*.py")):
                place = f"{owner}/{path.relative_to(folder)}"
                for name in _MADE.findall(path.read_text()):
                    places[name].append(place)
    return places
