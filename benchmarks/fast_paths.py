"""The fast paths that docs/fast-paths.md lists, and the settings that switch one off."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "fast-paths.md"

_ROW = re.compile(r"^\| `([a-z-]+)` \|(.*)\|$", re.MULTILINE)
_SWITCH_CELL = 3
_LIST = "NOETL_FAST_PATHS_OFF"
_SWITCH = re.compile(r"`(NOETL_\w+)=([^`]*)`")


def switches(page: str) -> dict[str, dict[str, str]]:
    """Return by the name of each fast path the settings that switch it off."""
    return {
        name: dict(_SWITCH.findall(cells.split("|")[_SWITCH_CELL]))
        for name, cells in _ROW.findall(page)
    }


def without(names: Iterable[str], known: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the environment of services that leave out fast paths.

    Args:
        names: of the fast paths.
        known: all of them with their settings, as `switches` returns them.

    Raises:
        SystemExit: a name is unknown.
    """
    environment: dict[str, str] = {}
    for name in names:
        if name not in known:
            raise SystemExit(f"no fast path is called {name}; there are {', '.join(known)}")
        for variable, value in known[name].items():
            so_far = environment.get(variable) if variable == _LIST else None
            environment[variable] = f"{so_far},{value}" if so_far else value
    return environment
