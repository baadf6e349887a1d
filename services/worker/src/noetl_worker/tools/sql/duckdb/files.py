"""Directories for the files of queries, one for each execution."""

import asyncio
import os
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from noetl_worker.tools.errors import ToolError

_NAME: Final = "noetl-duckdb-files-"
_SWEEP_SECONDS: Final = 60.0
_ROOM: Final = 1 << 30


class FileDirectories:
    """The directories of a machine's workers, which may be asked for one execution's steps in turn.

    The time of a directory is that of its last use.

    Args:
        place: where they are; nothing but queries of their own execution reaches them there.
        seconds: those that were not used for so long are removed.
        least: where the place is nearly full, which scripts share, already those that were not
            used for so long.
    """

    def __init__(self, place: Path, *, seconds: float, least: float) -> None:
        # A place that users share has one for each.
        self._root = place / f"{_NAME}{os.geteuid()}"
        self._seconds, self._least = seconds, least
        self._next_sweep = 0.0

    async def of(self, execution: int) -> str:
        """Return the directory of an execution, empty the first time.

        Raises:
            ToolError: it can't be made.
        """
        directory = self._root / str(execution)
        try:
            _own(self._root)
            directory.mkdir(mode=0o700, exist_ok=True)
            os.utime(directory)
        except OSError as error:
            raise ToolError(
                "Database error", f"Failed to make the directory of its files: {error}"
            ) from error
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + _SWEEP_SECONDS
            await asyncio.to_thread(self._remove_old)
        return str(directory)

    def _remove_old(self) -> None:
        room = shutil.disk_usage(self._root)
        is_crowded = room.free < min(room.total // 4, _ROOM)
        oldest = time.time() - (self._least if is_crowded else self._seconds)
        for entry in os.scandir(self._root):
            with suppress(OSError):  # another worker has removed it
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    shutil.rmtree(entry.path)


def _own(root: Path) -> None:
    """Make a folder for this user alone; a folder that isn't this user's alone is refused."""
    with suppress(FileExistsError):
        root.mkdir(mode=0o700)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{root} is not this user's alone")
