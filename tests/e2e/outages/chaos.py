"""Chaos as a suite: seeded faults under load, then every oracle over what happened.

Run by hand, or as ``make chaos``::

    .venv/bin/python tests/e2e/outages/chaos.py                          # the usual ones
    .venv/bin/python tests/e2e/outages/chaos.py --scenario owners,once --seed 7 --seeds 3
    .venv/bin/python tests/e2e/outages/chaos.py --scenario all --json chaos.json

Each scenario is a stack of its own with traffic of many kinds: chains, joins, loops, children,
waits, sleeps, tries, failures, cancels, half of the starts with a key and sent until they are
answered. Each tool notes its run and what it was given.

`clock` and `db_leap` want Debian's libfaketime, `nats_full` root; where one can't be had the line
says `not proven`.

It exits 1 when a promise broke: an accepted start without its log, or a refused one with it; a log
with a gap, or with another number of starts and ends than one; a command with two outcomes; a tool
that ran twice without a stated reason, never, or after the end; a value that was not the log's;
an execution that stood still for longer than the fault and what is promised behind it; rows that
are left; a read model that is not the log; a digest that is not its log's; a process that grew.
"""

import argparse
import asyncio
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import asyncpg
from harm import NotProvenError, SmallDisk, World, leaping_postgres
from mixed_load import HEAD, Traffic, playbooks
from noetl_testkit.oracles.effects import Ledger, counting
from noetl_testkit.oracles.findings import Findings
from noetl_testkit.oracles.judging import check_digests, judge
from noetl_testkit.oracles.resources import Resources, grown, resources
from noetl_testkit.oracles.stalls import longest_gap
from noetl_testkit.stack import Stack, add_ingress, each_ingress, register
from noetl_testkit.waiting import eventually
from scenarios import SCENARIOS, STALE_SECONDS, USUAL, Scenario

WARM = 10
"""Starts accepted before the first fault, and after the last one."""
_BIG = """  - step: start
    loop: {in: "{{ range(2000) }}", iterator: n, spec: {mode: parallel, max_in_flight: 100}}
    tool: {kind: noop, result: "{{ n }}"}
    next: {arcs: [{step: last}]}
  - step: last
    tool: {kind: noop, result: "{{ start.stats.success }}"}
"""
_STATUSES = "SELECT execution_id, status FROM noetl.execution_state"
_SHOWN = 30


@dataclass
class Row:
    """A line of the table of results."""

    scenario: str
    seed: int
    ingress: str
    executions: int = 0
    events: int = 0
    faults: int = 0
    refused: int = 0
    stuck: int = 0
    wrong: int = 0
    twice: int = 0
    untold: int = 0
    late_runs: int = 0
    late_rows: int = 0
    gap: float = 0.0
    stall: float = 0.0
    slowest: float = 0.0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    not_proven: str = ""

    @property
    def result(self) -> str:
        """Say how it went in a word or two."""
        return "not proven" if self.not_proven else "BROKEN" if self.problems else "held"

    def line(self) -> str:
        """Return the line of the table."""
        return (
            f"{self.scenario:<14}{self.ingress:<7}{self.seed:>5}{self.executions:>7}{self.faults:>7}"
            f"{self.refused:>8}{self.stuck:>6}{self.wrong:>6}{self.twice:>6} ({self.untold})"
            f"{self.late_runs:>6}{self.gap:>7.1f}{self.stall:>7.1f}{self.seconds:>6.0f}"
            f"  {self.result}"
        )


_TITLE = (
    f"{'scenario':<14}{'ingress':<7}{'seed':>5}{'runs':>7}{'faults':>7}{'refused':>8}{'stuck':>6}{'wrong':>6}"
    f"{'twice':>10}{'late':>6}{'gap':>7}{'stall':>7}{'s':>6}"
)


async def run(name: str, seed: int, ingress: str, options: argparse.Namespace) -> Row:
    """Go through one scenario with one seed, in a folder of its own."""
    scenario, row = SCENARIOS[name], Row(name, seed, ingress)
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"noetl-chaos-{name}-"))
    stack = Stack(
        folder / "data",
        arguments=scenario.arguments,
        environment={
            "NOETL_COMMAND_WORKER_HEARTBEAT_STALE_SECONDS": str(STALE_SECONDS),
            "NOETL_COMMAND_CLAIM_LEASE_SECONDS": str(STALE_SECONDS),
            "WORKER_HEARTBEAT_INTERVAL": str(int(STALE_SECONDS / 6)),
            **scenario.environment,
        },
    )
    stack.scratch.mkdir()
    disk = None if scenario.disk is None else SmallDisk(stack.data / scenario.disk[0])
    try:
        if disk is not None and scenario.disk is not None:
            stack.data.mkdir(mode=0o700)
            disk.mount(scenario.disk[1])
        with ExitStack() as held:
            leap = None
            if scenario.has_own_database:
                database, leap = held.enter_context(leaping_postgres(folder))
                stack.environment = {**stack.environment, **database.environment}
            ledger = held.enter_context(counting(stack.scratch / "effects"))
            try:
                await _go_through(stack, ledger, scenario, row, options, leap=leap)
            finally:
                await asyncio.to_thread(stack.down)
    except NotProvenError as error:
        row.not_proven = str(error)
        print(f"not proven: {name}: {error}")
    finally:
        if disk is not None:
            disk.unmount()
        row.seconds = time.monotonic() - begun
        if options.keep or row.problems:
            print(f"  kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return row


async def _go_through(
    stack: Stack,
    ledger: Ledger,
    scenario: Scenario,
    row: Row,
    options: argparse.Namespace,
    *,
    leap: Callable[[float], None] | None,
) -> None:
    await asyncio.to_thread(stack.up)
    more = "spec: {repeatable: false}" if scenario.is_once else ""
    with stack.client() as client:
        for name, text in (playbooks(ledger, more=more) | {"big": _BIG}).items():
            register(client, HEAD.format(name) + text)
    chance = random.Random(row.seed)
    traffic = Traffic(
        stack.url, options.rate or scenario.rate, random.Random(row.seed), scenario.weights
    )
    async with AsyncExitStack() as opened:
        world = World(stack, traffic, chance, opened, row.seed, leap, options.rounds)
        flowing = asyncio.create_task(traffic.run())
        try:
            await eventually(
                lambda: flowing.done() or len(traffic.moments) >= WARM, what="the load runs"
            )
            before, since = await _resources(world), time.time()
            await scenario.strike(world)
            ended = time.time()
            enough = len(traffic.moments) + WARM
            await eventually(
                lambda: flowing.done() or len(traffic.moments) >= enough,
                what="starts are accepted again",
                timeout_seconds=options.settle,
            )
        except TimeoutError as error:
            row.problems.append(str(error))
            ended = time.time()
        finally:
            traffic.is_over = True
            with suppress(TimeoutError):
                async with asyncio.timeout(options.settle):
                    await flowing
            await world.end()

        await _judge(world, ledger, scenario, row, options, since=since, until=ended)
        row.problems += list(grown(before, await _resources(world)))
        _show(row, traffic)


async def _judge(
    world: World,
    ledger: Ledger,
    scenario: Scenario,
    row: Row,
    options: argparse.Namespace,
    *,
    since: float,
    until: float,
) -> None:
    stack, traffic = world.stack, world.traffic
    limit = world.longest + scenario.more_seconds + options.allowance
    findings = await judge(
        stack.dsn(),
        starts=traffic.starts,
        effects=ledger.effects,
        cancelled=traffic.cancelled,
        may_repeat=scenario.may_repeat and not scenario.is_once,
        stall_limit=limit,
        settle_seconds=options.settle,
    )
    await asyncio.to_thread(check_digests, findings, data=stack.data, environment=stack.environment)
    connection = await asyncpg.connect(stack.dsn())
    try:
        statuses = {r["execution_id"]: r["status"] for r in await connection.fetch(_STATUSES)}
        row.gap = await longest_gap(connection, since=since, until=until)
    finally:
        await connection.close()
    wrong = traffic.wrong(statuses)
    row.wrong, row.faults, row.refused = (
        len(wrong),
        len(world.faults),
        traffic.starts.unknown.total(),
    )
    row.slowest = traffic.slowest
    _enter(findings, row)
    row.problems += [] if scenario.may_fail else wrong
    print(f"  {findings.line()}")


def _show(row: Row, traffic: Traffic) -> None:
    refused = dict(traffic.starts.unknown)
    print(f"  refused {refused}, slowest start {traffic.slowest:.2f} s")
    for problem in row.problems[:_SHOWN]:
        print(f"  PROBLEM {problem}")
    if len(row.problems) > _SHOWN:
        print(f"  and {len(row.problems) - _SHOWN} more")


def _enter(findings: Findings, row: Row) -> None:
    row.executions, row.events = findings.executions, findings.events
    row.stuck, row.stall = findings.unfinished, findings.stall
    row.twice, row.untold = findings.twice, findings.untold
    row.late_runs, row.late_rows = findings.late_runs, findings.late_rows
    row.problems += findings.problems


async def _resources(world: World) -> Resources:
    connection = await asyncpg.connect(world.stack.dsn())
    try:
        return await resources(connection, world.pids())
    finally:
        await connection.close()


def _chosen(text: str) -> list[str]:
    names = list(SCENARIOS) if text == "all" else text.split(",")
    if unknown := [one for one in names if one not in SCENARIOS]:
        raise SystemExit(f"no scenario is called {', '.join(unknown)}: {', '.join(SCENARIOS)}")
    return names


async def main(arguments: Sequence[str] | None = None) -> int:
    """Go through scenarios, print the table, and return the exit code.

    Args:
        arguments: of the command line; None for those of this process.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--scenario", default=",".join(USUAL), help=f"names, or all: {', '.join(SCENARIOS)}"
    )
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other")
    parser.add_argument("--rounds", type=int, help="faults of each; else as the scenario says")
    parser.add_argument("--rate", type=float, help="starts a second; else as the scenario says")
    parser.add_argument(
        "--allowance", type=float, default=5.0, help="seconds more that a stall may have here"
    )
    parser.add_argument(
        "--settle", type=float, default=180.0, help="seconds after which what runs is stuck"
    )
    add_ingress(parser)
    parser.add_argument("--json", type=Path, help="file for the table")
    parser.add_argument("--keep", action="store_true", help="keep the data directories")
    options = parser.parse_args(arguments)
    rows = []
    seeds = range(options.seed, options.seed + options.seeds)
    for name, seed in itertools.product(_chosen(options.scenario), seeds):
        for ingress in each_ingress(options.ingress):
            load = os.getloadavg()[0]
            print(f"{name}, ingress {ingress}, seed {seed}, load {load:.1f}", flush=True)
            rows.append(await run(name, seed, ingress, options))
    print(_TITLE)
    for row in rows:
        print(row.line())
    if options.json is not None:
        told = [{**asdict(row), "result": row.result} for row in rows]
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    broken = sum(bool(row.problems) for row in rows)
    print("OK" if not broken else f"FAILED: promises broke in {broken} of {len(rows)} runs")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
