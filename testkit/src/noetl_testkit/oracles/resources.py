"""Memory, descriptors and database sessions of processes, before and after."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noetl_testkit.oracles.findings import Connection

_SESSIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Use:
    """Resources of one process.

    Attributes:
        pid: of the process; another one is not compared.
        megabytes: of memory that is in use.
        descriptors: open files and sockets.
    """

    pid: int
    megabytes: float
    descriptors: int


@dataclass(frozen=True)
class Resources:
    """Resources of all processes at a moment."""

    processes: Mapping[str, Use]
    sessions: int = 0


async def resources(connection: "Connection", pids: Mapping[str, int]) -> Resources:
    """Look at processes, by name, and at the sessions of the database."""
    uses = {name: use for name, pid in pids.items() if (use := use_of(pid)) is not None}
    return Resources(uses, int(await connection.fetchval(_SESSIONS)))


def use_of(pid: int) -> Use | None:
    """Return the resources of a process, None when it is gone."""
    place = Path("/proc") / str(pid)
    try:
        lines = (place / "status").read_text().splitlines()
        descriptors = len(list((place / "fd").iterdir()))
    except OSError:
        return None
    kilobytes = next((int(one.split()[1]) for one in lines if one.startswith("VmRSS")), 0)
    return Use(pid, kilobytes / 1024, descriptors)


def grown(
    before: Resources,
    after: Resources,
    *,
    megabytes: float = 200.0,
    descriptors: int = 100,
    sessions: int = 40,
) -> Iterator[str]:
    """Yield processes that grew by more than they may, and sessions that are kept."""
    for name, old in before.processes.items():
        new = after.processes.get(name)
        if new is None or new.pid != old.pid:
            continue
        if new.megabytes - old.megabytes > megabytes:
            yield f"{name}: {old.megabytes:.0f} MB became {new.megabytes:.0f}"
        if new.descriptors - old.descriptors > descriptors:
            yield f"{name}: {old.descriptors} descriptors became {new.descriptors}"
    if after.sessions - before.sessions > sessions:
        yield f"{before.sessions} sessions of the database became {after.sessions}"


__all__ = ["Resources", "Use", "grown", "resources", "use_of"]
