"""Costs of traces: CPU of each service for a step, without them and with some.

Run by hand: ``.venv/bin/python -m benchmarks.tracing [--rounds N] [--share 0.01]``. Two stacks run,
one without traces and one that sends the given share of them to a receiver that drops them, and
get the same load in turns: ten steps that do nothing, over NATS. Printed is the median of rounds,
and the load of the machine: on a busy one only large differences mean something.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

from noetl.stack.process import free_port

from benchmarks.probes import playbooks
from benchmarks.probes.bench import Bench, bench
from benchmarks.probes.cpu import CpuTimes

_OURS = ("api-gateway", "orchestrator", "outbox", "projector", "worker")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks.tracing", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--executions", type=int, default=100, help="of a round")
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--share", default="1", help="of the executions that are traced")
    options = parser.parse_args()
    began = os.getloadavg()[0]
    with ExitStack() as stack:
        endpoint = stack.enter_context(sink())
        traced = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": options.share,
        }
        sides = {
            "off": stack.enter_context(bench()),
            f"share {options.share}": stack.enter_context(bench(environment=traced)),
        }
        for side in sides.values():
            side.register(playbooks.chain("noop", playbooks.NOOP))
            side.run("noop", at_once=options.at_once, total=options.executions)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for number in range(options.rounds):
            order = list(sides.items())
            for name, side in order if number % 2 else reversed(order):
                found[name].append(round_of(side, options.executions, options.at_once))
    show(found)
    print(
        f"\n{options.rounds} rounds of {options.executions * playbooks.STEPS} steps; load of the "
        f"machine {began:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} processors"
    )
    return 0


def round_of(side: Bench, executions: int, at_once: int) -> dict[str, float]:
    """Return milliseconds of CPU a step, by service."""
    cpu = CpuTimes(side.stack)
    side.run("noop", at_once=at_once, total=executions)
    time.sleep(1.5)  # what follows the ends: commits to the read model, the last spans
    steps = executions * playbooks.STEPS
    return {name: 1000 * used / steps for name, used in cpu.used().items()}


def show(found: dict[str, list[dict[str, float]]]) -> None:
    """Print a table."""
    print(f"{'CPU ms a step':14}" + "".join(f"{name:>14}" for name in found))
    for service in (*_OURS, "together"):
        cells = []
        for rounds in found.values():
            values = [
                sum(one.get(name, 0.0) for name in _OURS) if service == "together" else one[service]
                for one in rounds
            ]
            cells.append(f"{statistics.median(values):8.3f} ±{_spread(values):4.0%}")
        print(f"{service:14}" + "".join(f"{cell:>14}" for cell in cells))


def _spread(values: list[float]) -> float:
    return (max(values) - min(values)) / 2 / statistics.median(values)


@contextmanager
def sink() -> Iterator[str]:
    """Run a receiver that drops everything, in a process of its own; give its address."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.tracing", "--sink", str(port)])
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def drop(port: int) -> None:
    """Take requests and drop them, until the process is ended."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--sink"]:
        drop(int(sys.argv[2]))
    else:
        sys.exit(main())
