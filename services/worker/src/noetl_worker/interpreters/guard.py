"""Measure the use of memory, processes and files by each script with all it has started."""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_PAGE = os.sysconf("SC_PAGE_SIZE")
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class TreeLimits:
    """Bounds of a script with all it has started; 0 means none."""

    processes: int
    memory_bytes: int
    files: int
    """Files in its directory."""
    files_bytes: int


@dataclass(slots=True)
class _Processes:
    """All processes, as `/proc` lists them."""

    children: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    resident: dict[int, int] = field(default_factory=dict)
    """Bytes, with those that processes share."""

    def below(self, root: int) -> list[int]:
        """Return all descendants of a process."""
        found: list[int] = []
        pending = [root]
        while pending:
            below = self.children.get(pending.pop(), ())
            found.extend(below)
            pending.extend(below)
        return found


def excesses(directories: Mapping[int, str], limits: TreeLimits) -> dict[int, str]:
    """Return in words the limits that scripts exceed, by their zygote.

    Args:
        directories: the zygotes, and the directory of each one's script.
        limits: bounds of one script.
    """
    processes = _processes()
    found = {}
    for root, directory in directories.items():
        excess = _excess(processes, processes.below(root), directory, limits)
        if excess is not None:
            found[root] = excess
    return found


def _excess(
    processes: _Processes, tree: list[int], directory: str, limits: TreeLimits
) -> str | None:
    if limits.processes and len(tree) > limits.processes:
        return f"it has more than {limits.processes} processes (NOETL_WORKER_PYTHON_PROCESSES)"
    if limits.memory_bytes and len(tree) > 1:
        # The cheap figure counts shared memory many times, so it only says who is to be measured.
        resident = sum(processes.resident.get(pid, 0) for pid in tree)
        if resident > limits.memory_bytes and sum(map(_own_memory, tree)) > limits.memory_bytes:
            return (
                f"its processes use more than {limits.memory_bytes} bytes of memory together "
                "(NOETL_WORKER_PYTHON_MEMORY_BYTES)"
            )
    size = 0
    for count, each in enumerate(_sizes(directory), start=1):
        size += each
        if limits.files and count > limits.files:
            return (
                f"its directory has more than {limits.files} files "
                "(NOETL_WORKER_PYTHON_DIRECTORY_FILES)"
            )
        if limits.files_bytes and size > limits.files_bytes:
            return (
                f"its directory has more than {limits.files_bytes} bytes "
                "(NOETL_WORKER_PYTHON_DIRECTORY_BYTES)"
            )
    return None


def _sizes(directory: str) -> Iterator[int]:
    """Yield the bytes on disk of each file and directory below one."""
    pending = [directory]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    yield entry.stat(follow_symlinks=False).st_blocks * _BLOCK
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)


def _own_memory(pid: int) -> int:
    """Return the bytes of a process, of shared ones its part."""
    with (
        contextlib.suppress(OSError, ValueError, IndexError),
        open(f"/proc/{pid}/smaps_rollup", "rb") as file,  # noqa: PTH123  faster
    ):
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _pids() -> list[int]:
    try:
        return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]
    except OSError:
        return []


def _processes() -> _Processes:
    found = _Processes()
    for pid in _pids():
        # A process may be gone meanwhile.
        with (
            contextlib.suppress(OSError, IndexError, ValueError),
            open(f"/proc/{pid}/stat", "rb") as file,  # noqa: PTH123  faster
        ):
            # The name, in parentheses, may hold anything.
            fields = file.read().rpartition(b")")[2].split()
            found.children[int(fields[1])].append(pid)
            found.resident[pid] = int(fields[21]) * _PAGE
    return found
