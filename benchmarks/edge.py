"""Work of the edge for workers and clients over HTTP, each beside the floor of the same run.

Run by hand: ``.venv/bin/python benchmarks/edge.py``. It starts a stack of its own. With
``--against CHECKOUT`` that of a second checkout, which has its own ``.venv``, is asked in turn
(A B B A …), so that the ratio holds when the machine's speed drifts, and whoever comes first.

| case | what |
|---|---|
| claim, event | one at a time over one connection, ms at p50 |
| events | ``--events`` over 64 connections: a second, ms at p99 |
| starts | over 16 connections: a second, ms at p99 |
| detail | of ended runs of ten steps over 8 connections: a second |
| worker-1, worker-4 | steps a second with so many players of the existing worker (`load.worker`), \
16 executions at once for each |
| http-1, http-16 | our worker on HTTP: ms a step alone, steps a second with 16 at once |
| nats-1, nats-64 | our worker at the broker, with 64 at once |
"""

import argparse
import asyncio
import os
import statistics
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ["PYTHONPATH"] = str(Path(__file__).parent)
from load import bare, fire
from load.kept import request
from load.side import Side, opened
from probes.playbooks import STEPS

type Case = Callable[[Side, argparse.Namespace], dict[str, float]]

BARS: Mapping[str, str] = {
    "claim p50 ms": "<= 3",
    "event p50 ms": "<= 2",
    "events /s": ">= 3500",
    "events p99 ms": "<= 35",
    "starts /s": ">= 1200",
    "starts p99 ms": "<= 30",
    "detail /s": ">= 2500",
    "worker-1 /s": ">= 120",
    "worker-4 /s": ">= 350",
    "http-1 ms": "<= 6",
    "http-16 /s": ">= 400",
}


def claims(side: Side, options: argparse.Namespace) -> dict[str, float]:
    """Claim commands and report their starts, one after the other."""
    side.start(options.singles)
    commands = side.commands()
    found: dict[str, float] = {}
    with side.spending("claim", found, units=len(commands)):
        claimed = fire.fire(side.url, [one.claim() for one in commands], connections=1)
    begun = [one.event("command.started") for one in commands]
    with side.spending("event", found, units=len(commands)):
        started = fire.fire(side.url, begun, connections=1)
    side.end(commands)
    return {"claim p50 ms": claimed.p50, "event p50 ms": started.p50, **found}


def events(side: Side, options: argparse.Namespace) -> dict[str, float]:
    """Report events of 64 executions."""
    side.start(64)
    commands = side.commands()
    fire.fire(side.url, [one.claim() for one in commands], connections=16)
    notes = [commands[n % len(commands)].event("task.note") for n in range(options.events)]
    found: dict[str, float] = {}
    with side.spending("events", found, units=len(notes)):
        figures = fire.fire(side.url, notes, connections=64)
    if figures.bad:
        raise RuntimeError(f"{figures.bad} events were refused")
    side.end(commands)
    return {"events /s": figures.rate, "events p99 ms": figures.p99, **found}


def starts(side: Side, options: argparse.Namespace) -> dict[str, float]:
    """Start executions without a worker, and then let them be worked off."""
    found: dict[str, float] = {}
    with side.spending("starts", found, units=options.starts):
        figures = side.start(options.starts)
    side.drain()
    return {"starts /s": figures.rate, "starts p99 ms": figures.p99, **found}


def detail(side: Side, options: argparse.Namespace) -> dict[str, float]:
    """Read ended runs."""
    ended = side.ended(20)
    reads = [request("GET", f"/api/executions/{one}") for one in ended]
    found: dict[str, float] = {}
    with side.spending("detail", found, units=options.reads):
        figures = fire.fire(side.url, reads, connections=8, count=options.reads)
    return {"detail /s": figures.rate, "detail p50 ms": figures.p50, **found}


def one_worker(side: Side, options: argparse.Namespace) -> dict[str, float]:
    """Play one existing worker."""
    return _played(side, 1, options.executions)


def four_workers(side: Side, options: argparse.Namespace) -> dict[str, float]:
    """Play four of them."""
    return _played(side, 4, options.executions * 4)


def _played(side: Side, players: int, executions: int) -> dict[str, float]:
    found: dict[str, float] = {}
    with side.spending(f"step-{players}", found, units=executions * STEPS):
        rate = side.played(players, executions=executions)
    return {f"worker-{players} /s": rate, **found}


def over_http(side: Side, options: argparse.Namespace) -> dict[str, float]:
    """Run ten steps with our worker on HTTP."""
    return _run_by(side, "http", options.executions, at_once=16)


def over_nats(side: Side, options: argparse.Namespace) -> dict[str, float]:
    """Run ten steps with our worker at the broker."""
    return _run_by(side, "nats", options.executions * 4, at_once=64)


def _run_by(side: Side, transport: str, executions: int, *, at_once: int) -> dict[str, float]:
    found: dict[str, float] = {}
    with side.worker(transport):
        side.run(8, at_once=4)
        few = executions // 4
        side.run(few, at_once=1)
        alone = side.step_ms(few)
        with side.spending(transport, found, units=executions * STEPS):
            rate = side.run(executions, at_once=at_once)
    return {f"{transport}-1 ms": alone, f"{transport}-{at_once} /s": rate, **found}


CASES: Mapping[str, Case] = {
    "claims": claims,
    "events": events,
    "starts": starts,
    "detail": detail,
    "worker-1": one_worker,
    "worker-4": four_workers,
    "http": over_http,
    "nats": over_nats,
}


def floors(side: Side) -> None:
    """Print the speed of the parts below the edge by themselves."""
    with bare.route() as url:
        for connections in (1, 16, 64):
            got = fire.fire(url, [request("POST", "/", b"{}")], connections=connections, count=8000)
            print(f"bare route over {connections}: {got.p50:.2f} ms, {got.rate:.0f}/s")
    alone, rate = asyncio.run(bare.publish_rate(side.nats_url, at_once=64, count=10_000))
    print(f"bare acknowledged publish: {alone:.2f} ms, {rate:.0f}/s at 64")
    alone, rate = asyncio.run(bare.commit_rate(side.dsn, at_once=16, count=4000))
    print(f"bare commit: {alone:.2f} ms, {rate:.0f}/s at 16")


def show(found: Mapping[str, Mapping[str, list[float]]]) -> None:
    """Print the table: medians of the rounds, and the ratio of the first side to the second."""
    sides = list(found)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    print(f"{'':24}{'must be':>10}" + "".join(f"{side:>12}" for side in sides))
    for name in found[sides[0]]:
        values = [statistics.median(found[side][name]) for side in sides]
        line = f"{name:24}{BARS.get(name, ''):>10}" + "".join(f"{one:12.2f}" for one in values)
        if len(values) == 2 and values[1]:
            line += f"   x {values[0] / values[1]:.2f}"
        print(line)


def main() -> None:
    """Print floors and table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", help="another checkout with its own .venv")
    parser.add_argument("--cases", default=",".join(CASES), help="some of the cases")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--starts", type=int, default=3000)
    parser.add_argument("--singles", type=int, default=300, help="claims and events one by one")
    parser.add_argument("--reads", type=int, default=10_000)
    parser.add_argument("--executions", type=int, default=60, help="for each worker")
    options = parser.parse_args()
    checkouts = {"here": Path(__file__).parents[1]}
    if options.against:
        checkouts["there"] = Path(options.against)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in checkouts}
    with ExitStack() as stack:
        sides = {name: stack.enter_context(opened(path)) for name, path in checkouts.items()}
        floors(sides["here"])
        for number in range(options.rounds):
            for case in options.cases.split(","):
                for name, side in [*sides.items()][:: -1 if number % 2 else 1]:
                    for figure, value in CASES[case](side, options).items():
                        found[name].setdefault(figure, []).append(value)
                        print(f"{name} {figure} {value:.2f}", flush=True)
    show(found)


if __name__ == "__main__":
    main()
