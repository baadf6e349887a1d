"""CPU time and memory of a stack's processes."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import psutil
from noetl_testkit.stack import Stack

SERVICES = ("postgres", "nats", "api-gateway", "orchestrator", "outbox", "projector", "worker")
_NUMBER = re.compile(r"-\d+$")


def service_of(process: str) -> str:
    """Return the service of a replica's name: ``outbox`` for ``outbox-2``."""
    return _NUMBER.sub("", process)


class CpuTimes:
    """Counts the CPU seconds that each service of a stack uses, its children's included."""

    def __init__(self, stack: Stack, more: Mapping[str, Sequence[int]] | None = None) -> None:
        """Begin to count; ``more`` names processes beside the stack's own, by service."""
        self._stack = stack
        self._more = more or {}
        self._before = self._now()

    def used(self) -> dict[str, float]:
        """Return the seconds by service since the beginning, or the last call."""
        before, self._before = self._before, self._now()
        return {
            name: max(0.0, seconds - before.get(name, 0.0))
            for name, seconds in self._before.items()
        }

    def _now(self) -> Mapping[str, float]:
        found: Counter[str] = Counter()
        for name, service in self._stack.services().items():
            found[service_of(name)] += _seconds(service["pid"])  # type: ignore[assignment]
        for name, pids in self._more.items():
            found[name] += sum(_seconds(pid) for pid in pids)  # type: ignore[assignment]
        return {name: float(seconds) for name, seconds in found.items()}


def _seconds(pid: int | None) -> float:
    """Return the CPU seconds of a process, of its children and of those that have ended."""
    if pid is None:
        return 0.0
    total = 0.0
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0.0
    for one in family:
        try:
            total += sum(one.cpu_times()[:4])
        except psutil.Error:
            continue
    return total


def memory(stack: Stack) -> dict[str, float]:
    """Return the memory by service in MB; pages that processes share count once."""
    found: dict[str, float] = {}
    for name, service in stack.services().items():
        try:
            process = psutil.Process(service["pid"])
            family = [process, *process.children(recursive=True)]
            used = sum(one.memory_full_info().pss for one in family) / 1e6
        except (psutil.Error, TypeError, ValueError):
            continue
        found[service_of(name)] = found.get(service_of(name), 0.0) + used
    return found
