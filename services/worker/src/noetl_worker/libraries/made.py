"""Make the parts of libraries from the worker's settings."""

import dataclasses
import os
from pathlib import Path

from noetl_worker.control_plane.edge import Edge
from noetl_worker.interpreters.nursery import InterpreterLimits
from noetl_worker.interpreters.pool import InterpreterPool, Keeping
from noetl_worker.libraries.environments import Environments
from noetl_worker.libraries.folder import Folder
from noetl_worker.libraries.locks import Locks
from noetl_worker.libraries.pools import LibraryPools
from noetl_worker.settings import Settings

_MOST_KEPT = 64


def library_pools(settings: Settings, edge: Edge, *, limits: InterpreterLimits) -> LibraryPools:
    """Return the interpreters with libraries; nothing is made before a script asks for some.

    Args:
        settings: of the worker.
        edge: knows the locks.
        limits: bounds of scripts.
    """
    executable = settings.python_path or None
    # There may be several such pools, whose processes are larger.
    most_kept = min(settings.worker_python_kept, _MOST_KEPT)

    def make_pool(packages: Path) -> InterpreterPool:
        box = limits.box
        if box is not None:
            box = dataclasses.replace(box, read=(*box.read, str(packages)))
        return InterpreterPool(
            executable=executable,
            limits=dataclasses.replace(limits, box=box),
            size=settings.worker_max_concurrent + most_kept,
            keeping=Keeping(most=most_kept, seconds=settings.worker_python_kept_seconds),
            libraries=str(packages),
        )

    return LibraryPools(
        Locks(edge),
        Environments(folder_of(settings), settings, executable=executable),
        make_pool=make_pool,
        most=settings.worker_libraries_warm,
        seconds=settings.worker_libraries_warm_seconds,
    )


def folder_of(settings: Settings) -> Folder:
    """Return the folder of environments; not one where scripts could change those of others."""
    named = settings.worker_libraries_directory
    if named:
        place = Path(named)
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
        place = Path(cache) / "noetl" / "libraries"
    place = place.resolve()
    shared = [path for path in settings.worker_script_write_paths if _is_below(place, path)]
    if not shared or not settings.worker_script_isolated:
        return Folder(place)
    problem = (
        f"the folder of environments, {place}, is below {shared[0]}, which scripts may change "
        "(NOETL_WORKER_LIBRARIES_DIRECTORY)"
    )
    return Folder(place, problem=problem)


def _is_below(place: Path, path: str) -> bool:
    return place.is_relative_to(Path(path).resolve())
