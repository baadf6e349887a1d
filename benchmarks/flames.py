"""A flame graph of each service while ten-step playbooks run: ``benchmarks/profile``.

Needs py-spy, which reads the stacks of running processes: as root, or with ptrace allowed.
"""

import argparse
import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from noetl_testkit.stack import Stack

from benchmarks.probes import playbooks
from benchmarks.probes.bench import bench
from benchmarks.probes.cpu import CpuTimes

_SERVICES = ("api-gateway", "orchestrator", "outbox", "projector", "worker")
_MISSING = (
    "py-spy is not installed. It makes the flame graphs: `pip install py-spy` in an environment of "
    "its own, and have its py-spy on the PATH."
)


def main() -> int:
    """Run load for a while and write a picture for each service."""
    parser = argparse.ArgumentParser(prog="benchmarks/profile", description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=64)
    parser.add_argument("--transport", choices=("nats", "http"), default="nats")
    parser.add_argument("--kind", choices=("noop", "python"), default="noop", help="tool of steps")
    parser.add_argument("--out", type=Path, default=Path(".noetl/bench/flames"))
    options = parser.parse_args()
    spy = shutil.which("py-spy")
    if spy is None:
        print(_MISSING, file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    with bench(options.transport) as on:
        on.register(playbooks.chain(options.kind, playbooks.TOOLS[options.kind]))
        on.run(options.kind, at_once=8, total=40)
        cpu = CpuTimes(on.stack)
        steps = 0
        with _recording(spy, on.stack, options.out, options.seconds) as pictures:
            end = time.monotonic() + options.seconds
            while time.monotonic() < end:
                total = 4 * options.at_once
                on.run(options.kind, at_once=options.at_once, total=total)
                steps += total * playbooks.STEPS
        used = cpu.used()
    print(f"{steps:,} steps")
    for name, picture in pictures.items():
        print(f"{name:14}{1000 * used.get(name, 0.0) / steps:6.2f} ms CPU a step  {picture}")
    return 0


@contextlib.contextmanager
def _recording(spy: str, stack: Stack, out: Path, seconds: int) -> Iterator[dict[str, Path]]:
    """Sample every service for so long; at the end of the block all pictures are there."""
    pictures: dict[str, Path] = {}
    processes = {}
    for name in _SERVICES:
        pictures[name] = out / f"{name}.svg"
        command = [spy, "record", "--pid", str(stack.services()[name]["pid"]), "--nonblocking"]
        command += ["--duration", str(seconds), "--rate", "200", "--output", str(pictures[name])]
        processes[name] = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
    yield pictures
    for name, process in processes.items():
        _out, said = process.communicate(timeout=seconds + 60)
        if process.returncode != 0:
            raise SystemExit(f"py-spy could not sample {name}: {said.strip()[-500:]}")


if __name__ == "__main__":
    sys.exit(main())
