"""Memory and CPU of this process and its machine, read from the kernel."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

from noetl_contract.json import JsonObject

_PROC = Path("/proc")
_MEBIBYTE = 1 << 20
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessFigures:
    """Reads figures; shares of the processor are those since the figures before.

    Figures that the kernel does not give are 0.
    """

    def __init__(self) -> None:
        self._started = time.time()
        self._machine = (0.0, 0.0)
        self._process = (0.0, 0.0)

    def read(self) -> JsonObject:
        """Return the body of ``/api/status``."""
        memory = _memory()
        total, available = memory.get("MemTotal", 0), memory.get("MemAvailable", 0)
        used = max(total - available, 0)
        pages = _words(_PROC / "self/statm")
        return {
            "system": {
                "cpu_percent": self._machine_share(),
                "memory_percent": used / total * 100 if total else 0.0,
                "total_memory_mb": total / _MEBIBYTE,
                "used_memory_mb": used / _MEBIBYTE,
                "available_memory_mb": available / _MEBIBYTE,
            },
            "process": {
                "pid": os.getpid(),
                "cpu_percent": self._process_share(),
                "memory_rss_mb": _pages(pages, 1) * _PAGE_BYTES / _MEBIBYTE,
                "memory_vms_mb": _pages(pages, 0) * _PAGE_BYTES / _MEBIBYTE,
                "num_threads": len(_threads()),
                "start_time": int(self._started),
                "uptime_seconds": int(time.time() - self._started),
            },
        }

    def _machine_share(self) -> float:
        words = _words(_PROC / "stat")[1:9]
        ticks = [float(word) for word in words if word.isdigit()]
        if len(ticks) < 5:
            return 0.0
        total, idle = sum(ticks), ticks[3] + ticks[4]
        before, self._machine = self._machine, (total, idle)
        passed = total - before[0]
        return _percent(passed - (idle - before[1]), passed) if before[0] else 0.0

    def _process_share(self) -> float:
        used, now = time.process_time(), time.monotonic()
        before, self._process = self._process, (used, now)
        return _percent(used - before[0], now - before[1]) if before[1] else 0.0


def _percent(part: float, whole: float) -> float:
    return max(part / whole * 100, 0.0) if whole > 0 else 0.0


def _memory() -> Mapping[str, int]:
    """Return sizes in bytes."""
    sizes = {}
    for line in _text(_PROC / "meminfo").splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()
        if number and number[0].isdigit():
            sizes[name] = int(number[0]) * 1024
    return sizes


def _pages(words: list[str], index: int) -> int:
    return int(words[index]) if len(words) > index else 0


def _threads() -> list[str]:
    try:
        return [entry.name for entry in (_PROC / "self/task").iterdir()]
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return _text(path).partition("\n")[0].split()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
