"""Log files of the stack's processes: kept small, shown, followed."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

LIMIT_BYTES = 32 * 1024 * 1024
CHUNK_BYTES = 64 * 1024


async def run_log_limits(
    files: Callable[[], Iterable[Path]],
    *,
    limit_bytes: int = LIMIT_BYTES,
    every_seconds: float = 10.0,
) -> None:
    """Keep each log file below a limit until cancelled, with one older part beside it."""
    while True:
        for path in files():
            await asyncio.to_thread(_cut, path, limit_bytes)
        await asyncio.sleep(every_seconds)


def tail(path: Path, *, lines: int) -> list[str]:
    """Return the last lines of a file; none when there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            position, data = file.tell(), b""
            while position > 0 and data.count(b"\n") <= lines:
                step = min(CHUNK_BYTES, position)
                position -= step
                file.seek(position)
                data = file.read(step) + data
    except FileNotFoundError:
        return []
    found = data.decode(errors="replace").splitlines()
    return found[-lines:] if lines else []


def follow(paths: Mapping[str, Path], *, every_seconds: float = 0.2) -> Iterator[tuple[str, str]]:
    """Yield new lines of several files as (name, line), without end."""
    positions = {name: _size(path) for name, path in paths.items()}
    while True:
        for name, path in paths.items():
            size = _size(path)
            if size < positions[name]:
                positions[name] = 0  # it was cut
            if size > positions[name]:
                with path.open("rb") as file:
                    file.seek(positions[name])
                    data = file.read(size - positions[name])
                # A line that is still being written is shown when it is complete.
                complete = data[: data.rfind(b"\n") + 1]
                positions[name] += len(complete)
                for line in complete.decode(errors="replace").splitlines():
                    yield name, line
        time.sleep(every_seconds)


def _cut(path: Path, limit_bytes: int) -> None:
    if _size(path) <= limit_bytes:
        return
    # The writers hold the file open for appending, so it is emptied, not replaced.
    shutil.copyfile(path, path.with_name(path.name + ".1"))
    with path.open("rb+") as file:
        file.truncate(0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
