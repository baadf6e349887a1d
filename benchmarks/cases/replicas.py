"""Replicas: one, two and four of a service, with the database near and some milliseconds away."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
from noetl.stack.process import free_port
from noetl_testkit.postgres import running_postgres
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import wait_until

from benchmarks.cases.case import Case, Settings
from benchmarks.probes import playbooks
from benchmarks.probes.bench import bench
from benchmarks.probes.cpu import SERVICES, CpuTimes, service_of
from benchmarks.probes.slow_link import slow_link
from benchmarks.report.results import Found, Plot, Table

_COUNTS = (1, 2, 4)
_OPTIONS = {"orchestrator": "--orchestrators", "outbox": "--outboxes", "worker": "--workers"}
_AT_ONCE = 64
_AWAY_MS = 5.0
_CONFLICTS = re.compile(r"^noetl_orchestrator_conflicts_total(?:\{[^}]*\})? (\S+)", re.MULTILINE)
_TURNS = re.compile(r"^noetl_orchestrator_turn_inputs_count(?:\{[^}]*\})? (\S+)", re.MULTILINE)
type _Row = list[str | int | float | None]


def run(settings: Settings) -> Iterator[Found]:
    """Measure each service near its database; the orchestrator also with a database far away."""
    rows: list[_Row] = []
    series: dict[str, list[tuple[float, float]]] = {}
    plans = [(service, 0.0) for service in (*_OPTIONS, "projector")]
    plans += [("orchestrator", _AWAY_MS)]
    for service, away in plans:
        for count in _COUNTS:
            row = _one(service, count, away, settings)
            rows.append(row)
            label = f"{service}, {away:g} ms away" if away else service
            series.setdefault(label, []).append((float(count), float(row[3] or 0)))
            print(f"  {count} x {label}: {row[3]:.0f} steps/s", flush=True)
    columns = [
        *("replicas of", "replicas", "database ms away", "steps/s", "CPU ms/step"),
        *("of it the service", "conflicts % of turns"),
    ]
    notes = [
        f"{_AT_ONCE} executions at once, noop, all on the cores of one machine: with the database",
        "near, more replicas can't bring more than one that has a core for itself.",
    ]
    yield Table("replicas", "Replicas", columns, rows, notes)
    yield Plot("replicas", "Steps a second over replicas", "replicas", "steps a second", series)


def _one(service: str, count: int, away: float, settings: Settings) -> _Row:
    arguments = [_OPTIONS[service], str(count)] if service in _OPTIONS else []
    more = count - 1 if service not in _OPTIONS else 0
    with contextlib.ExitStack() as held:
        dsn, server = held.enter_context(_database(away)) if away else (None, [])
        on = held.enter_context(bench(arguments=arguments, dsn=dsn))
        copies = held.enter_context(_copies(on.stack, service, more))
        on.register(playbooks.chain("noop", playbooks.NOOP))
        on.run("noop", at_once=8, total=40)
        total = settings.scaled(1280, _AT_ONCE)
        before = _turns(on.stack)
        cpu = CpuTimes(on.stack, {service: copies, "postgres": server})
        done = on.run("noop", at_once=_AT_ONCE, total=total)
        used = cpu.used()
        after = _turns(on.stack)
    steps = total * playbooks.STEPS
    turns, conflicts = after[0] - before[0], after[1] - before[1]
    known = sum(one for name, one in used.items() if name in SERVICES)
    each = [1000 * one / steps for one in (known, used[service])]
    share = 100 * conflicts / turns if turns else None
    return [service, count, away, steps / done.seconds, *each, share]


def _turns(stack: Stack) -> tuple[float, float]:
    """Return turns and conflicts of all orchestrators so far."""
    turns = conflicts = 0.0
    for name, service in stack.services().items():
        if service_of(name) != "orchestrator":
            continue
        text = httpx.get(f"http://127.0.0.1:{service['port']}/metrics", timeout=10).text
        turns += sum(float(one) for one in _TURNS.findall(text))
        conflicts += sum(float(one) for one in _CONFLICTS.findall(text))
    return turns, conflicts


@contextlib.contextmanager
def _database(away: float) -> Iterator[tuple[str, list[int]]]:
    """Run a server with a slow link before it, to which the environment leads for the block.

    It gives the address that bypasses the link, and the server's process.
    """
    with (
        tempfile.TemporaryDirectory(prefix="bench-far-") as folder,
        running_postgres(Path(folder) / "data", durable=True) as server,
        slow_link(server.maintenance.port, away) as port,
    ):
        database = server.create()
        before = dict(os.environ)
        os.environ.update(database.environment | {"POSTGRES_PORT": str(port)})
        try:
            yield database.dsn, [server.pid]
        finally:
            os.environ.clear()
            os.environ.update(before)


@contextlib.contextmanager
def _copies(stack: Stack, service: str, count: int) -> Iterator[list[int]]:
    """Run more processes of a service of which a stack starts one, with that one's settings."""
    processes: list[subprocess.Popen[bytes]] = []
    ports: list[int] = []
    try:
        for _ in range(count):
            original = psutil.Process(stack.services()[service]["pid"])
            port = free_port()
            command = [sys.executable, *original.cmdline()[1:]]
            environment = original.environ() | {"NOETL_HTTP_PORT": str(port)}
            processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
            ports.append(port)
        for port in ports:
            wait_until(lambda: _is_ready(port), what="a copy is ready", timeout_seconds=60)  # noqa: B023 (called in this round only)
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=30)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


CASE = Case("replicas", "1, 2 and 4 of each service, and with a database 5 ms away", run)
