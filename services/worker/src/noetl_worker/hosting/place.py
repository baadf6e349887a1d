"""Place for the directories of scripts and of DuckDB's queries, closed to all of them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from noetl_common.errors import Permanent

from noetl_worker.hosting.host.box import SYSTEM_PATHS
from noetl_worker.settings import Settings

_CANDIDATES = ("/var/tmp", "/dev/shm")  # noqa: S108  new directories of our own, closed to others
_SETTING = "NOETL_WORKER_SCRIPT_DIRECTORY"


class NoPlaceForScripts(Permanent):
    """Directories of scripts would be where other scripts or queries reach them."""

    @classmethod
    def because(cls, *reasons: str) -> "NoPlaceForScripts":
        """Return the error with all its reasons, which a template would cut."""
        why = "; ".join(reasons)
        return cls(f"no place for the directories of scripts: {why} ({_SETTING})")


def place_for_scripts(settings: Settings) -> Path:
    """Return the folder that gets a directory for each script, without links in its path.

    Raises:
        NoPlaceForScripts: it is shared, missing or read-only, or none was found.
    """
    if settings.worker_script_directory:
        place = Path(settings.worker_script_directory)
        reason = _why_not(place, settings)
        if reason is not None:
            raise NoPlaceForScripts.because(reason)
        return place.resolve()
    reasons = []
    for candidate in dict.fromkeys((tempfile.gettempdir(), *_CANDIDATES)):
        place = Path(candidate)
        reason = _why_not(place, settings)
        if reason is None:
            return place.resolve()
        reasons.append(reason)
    raise NoPlaceForScripts.because(*reasons)


def _why_not(place: Path, settings: Settings) -> str | None:
    if not place.is_dir():
        return f"{place} is no directory"
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        return f"{place} can't be written"
    for whose, path in _shared(settings):
        if is_below(place, path):
            return f"{place} is below {path}, {whose}"
    return None


def _shared(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield paths that scripts or queries of all executions may reach, with the setting."""
    if settings.worker_script_isolated:
        for path in settings.worker_script_write_paths:
            yield "which all scripts may change by NOETL_WORKER_SCRIPT_WRITE_PATHS", path
        for path in settings.worker_script_read_paths:
            yield "which all scripts may read by NOETL_WORKER_SCRIPT_READ_PATHS", path
        for path in (*SYSTEM_PATHS, *os.environ.get("PATH", "").split(os.pathsep)):
            if path.startswith("/"):
                yield "which all scripts may read", path
    if not settings.worker_duckdb_external:
        for path in settings.worker_duckdb_paths:
            yield "which queries of DuckDB may change by NOETL_WORKER_DUCKDB_PATHS", path


def is_below(place: Path, shared: str) -> bool:
    """Return whether a path is another one or lies in it, by whatever names both are given."""
    real = place.resolve()
    if real.is_relative_to(Path(shared).resolve()):
        return True
    try:
        top = Path(shared).stat()
    except OSError:
        return False
    # A directory that is mounted at two places has one number.
    return any(_is_same(one, top) for one in (real, *real.parents))


def _is_same(path: Path, other: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), other)
    except OSError:
        return False
