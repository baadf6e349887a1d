"""Items in files of a folder."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from noetl_worker.subscriptions.spool.store import SpoolAway

_DIGITS = 20
_DEAD = "dlq"


class DiskStore:
    """A file for each item, complete or not there at all.

    Args:
        folder: of this subscription alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def open(self) -> dict[int, int]:
        """Make the folders and list the items."""
        return await _run(self._list)

    async def put(self, number: int, data: bytes) -> None:
        """Write a file, and wait until the disk has it."""
        await _run(_write, self._file(number), data)

    async def get(self, number: int) -> bytes:
        """Read a file."""
        return await _run(self._file(number).read_bytes)

    async def delete(self, number: int) -> None:
        """Remove a file."""
        await _run(self._file(number).unlink, True)

    async def bury(self, number: int, data: bytes) -> None:
        """Write a file into the folder of dead letters."""
        await _run(_write, self._folder / _DEAD / self._file(number).name, data)

    async def close(self) -> None:
        """Nothing is open."""

    def _file(self, number: int) -> Path:
        return self._folder / f"{number:0{_DIGITS}d}.json"

    def _list(self) -> dict[int, int]:
        (self._folder / _DEAD).mkdir(parents=True, exist_ok=True, mode=0o700)
        found = {}
        for path in self._folder.iterdir():
            if path.suffix == ".json" and path.stem.isdigit():
                found[int(path.stem)] = path.stat().st_size
            elif path.suffix == ".part":
                path.unlink(missing_ok=True)
        return found


async def _run[**P, R](work: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
    try:
        return await asyncio.to_thread(work, *args, **named)
    except OSError as error:
        raise SpoolAway(f"{error.filename}: {error.strerror or error}") from error


def _write(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
