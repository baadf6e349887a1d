"""Scenarios of chaos: the faults of each, and the promises that hold under them."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle

import asyncpg
import httpx
from harm import PROCESSES, SmallDisk, Strike, World, descendants, other_clock
from mixed_load import WEIGHTS
from noetl.stack.services import EDGE, MODULES, WORKER
from noetl_testkit.waiting import eventually
from wire import Break

ACK_WAIT_SECONDS = 30.0
"""How long the broker keeps a message for a worker that was killed (ADR 6)."""
STALE_SECONDS = 60.0
"""Silence after which a worker loses its commands."""
_BREAKS = tuple(one for one in Break if one is not Break.HALF_OPEN)
_PAIRS = (
    (EDGE, "nats"),
    ("orchestrator", "postgres"),
    (WORKER, "nats"),
    ("orchestrator", "nats"),
    ("outbox", "nats"),
    ("projector", "nats"),
)


_CLOCKS = (
    ("orchestrator", -600.0),
    (WORKER, 31.0),
    (WORKER, 600.0),
    (WORKER, -600.0),
    ("orchestrator", 600.0),
    (EDGE, 600.0),
)


@dataclass(frozen=True)
class Scenario:
    """Faults under load, and what is promised meanwhile.

    Attributes:
        strike: inflicts them.
        arguments, environment: of the stack.
        more_seconds: how much longer than the longest fault an execution may stand still.
        may_repeat: whether its faults are a reason for tools to run twice.
        is_once: whether steps are `repeatable: false`: none runs twice, and lost ones fail.
        may_fail: whether an execution may fail because of its faults.
        rate: starts a second.
        weights: of the playbooks.
        has_own_database: whether the database is a server whose clock can be set.
        disk: the part of the data directory that is a small disk, and its megabytes.
    """

    strike: Strike
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    more_seconds: float = 5.0
    may_repeat: bool = False
    is_once: bool = False
    may_fail: bool = False
    rate: float = 3.0
    weights: Mapping[str, int] = field(default_factory=lambda: WEIGHTS)
    disk: tuple[str, int] | None = None
    has_own_database: bool = False


async def calm(world: World) -> None:
    """Nothing at all."""
    await asyncio.sleep(5.0 * len(world.times(4)))


async def kills(world: World) -> None:
    """Every process by SIGKILL, one after the other, in any order."""
    targets = [one for one in PROCESSES for _ in world.times(2)]
    world.chance.shuffle(targets)
    for target in targets:
        world.kill(target)
        world.note(f"{target} killed")
        await world.pause(1.5, 4.0)


async def sessions(world: World) -> None:
    """Sessions of the database ended in mid-statement."""
    for _ in world.times(3):
        world.note(f"{await world.end_sessions(4.0)} sessions ended")
        await world.pause(1.0, 3.0)


def _killing(
    *services: str, times: int, pause: tuple[float, float], all_of: bool = False
) -> Strike:
    async def strike(world: World) -> None:
        for _ in world.times(times):
            world.kill(*services, all_of=all_of)
            world.note(f"{' and '.join(services)} killed")
            await world.pause(*pause)

    return strike


async def wipe(world: World) -> None:
    """The broker killed and its store gone, an orchestrator killed within half a second."""
    for _ in world.times(4):
        world.wipe()
        world.kill("nats")
        await world.pause(0.0, 0.5)
        world.kill("orchestrator")
        world.note("store wiped, orchestrator killed")
        await world.pause(3.0, 5.0)


async def freeze1(world: World) -> None:
    """Each process once, for 0.3 to 12 s."""
    targets = list(PROCESSES)
    world.chance.shuffle(targets)
    for target in targets[: len(world.times(len(targets)))]:
        await world.freeze(target, world.chance.uniform(0.3, 12.0))
        await world.pause(1.0, 3.0)


async def freeze2(world: World) -> None:
    """Two at once, overlapping."""
    for _ in world.times(6):
        first, second = world.chance.sample(PROCESSES, 2)

        async def later(service: str) -> None:
            await world.pause(0.2, 2.0)
            await world.freeze(service, world.chance.uniform(0.3, 8.0))

        await asyncio.gather(world.freeze(first, world.chance.uniform(0.3, 8.0)), later(second))
        await world.pause(1.0, 3.0)


def _freezing(service: str, shortest: float, longest: float, *, times: int) -> Strike:
    async def strike(world: World) -> None:
        for _ in world.times(times):
            await world.freeze(service, world.chance.uniform(shortest, longest))
            await world.pause(0.8, 2.5)

    return strike


def _wiring(service: str, server: str) -> Strike:
    """Return a strike that breaks the wires of all copies of a service in every way."""

    async def strike(world: World) -> None:
        names = sorted(world.pids(service))
        wires = [(await world.behind_wires(name, server))[server] for name in names]
        kinds = list(_BREAKS)
        world.chance.shuffle(kinds)
        for _, kind in zip(world.times(len(kinds)), cycle(kinds), strict=False):
            seconds = world.chance.uniform(0.4, 12.0)
            wire = world.chance.choice(wires)
            await world.break_wire(f"{service} to {server}", wire, kind, seconds)
            await world.pause(1.0, 3.0)

    return strike


async def half_open(world: World) -> None:
    """Connections that died without a word; the next pair with each seed."""
    service, server = _PAIRS[world.seed % len(_PAIRS)]
    name = min(world.pids(service))
    wires = await world.behind_wires(name, server)
    await world.pause(2.0, 4.0)
    await world.break_wire(f"{service} to {server}", wires[server], Break.HALF_OPEN, 0.0)
    await asyncio.sleep(40.0)


async def gray_owner(world: World) -> None:
    """One of two owners without the database, for 25 s."""
    name = min(world.pids("orchestrator"))
    wires = await world.behind_wires(name, "postgres")
    await world.pause(3.0, 5.0)
    # Beside a healthy replica it is no excuse.
    world.note(f"{name} to postgres: hole for 25 s", 0.0)
    await wires["postgres"].break_for(Break.HOLE, 25.0)
    await world.pause(3.0, 5.0)


def _filling(part: str) -> Strike:
    async def strike(world: World) -> None:
        disk = SmallDisk(world.stack.data / part)
        for seconds in (4.0, 10.0)[: len(world.times(2))]:
            filler = await asyncio.to_thread(disk.fill)
            world.note(f"disk of {part} full for {seconds:.0f} s", seconds)
            await asyncio.sleep(seconds)
            filler.unlink()
            await world.pause(3.0, 6.0)

    return strike


async def pg_conns(world: World) -> None:
    """All connections taken that PostgreSQL gives, and some sessions of services ended."""
    for _ in world.times(2):
        held: list[asyncpg.Connection[asyncpg.Record]] = []
        hits = 0
        with suppress(asyncpg.PostgresError):
            while len(held) < 1000:
                held.append(await asyncpg.connect(world.stack.dsn()))
        try:
            for connection in held[:3]:
                question = (
                    "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM (SELECT pid"
                    " FROM pg_stat_activity WHERE application_name LIKE 'noetl%'"
                    " ORDER BY random() LIMIT 1) AS one"
                )
                hits += await connection.fetchval(question)
            world.note(f"{len(held)} connections taken, {hits} sessions ended, for 6 s", 6.0)
            await asyncio.sleep(6.0)
        finally:
            for connection in held:
                connection.terminate()
        await world.pause(2.0, 4.0)


async def bigloop(world: World) -> None:
    """Loops of 2,000 iterations, 100 at once, while the orchestrator is killed."""
    async with httpx.AsyncClient(base_url=world.traffic.url, timeout=60) as client:
        ids = []
        for number in range(2):
            body = {"path": "chaos/big", "workload": {"token": f"big{number}"}}
            answer = await client.post("/api/execute", json=body)
            answer.raise_for_status()
            ids.append(int(answer.json()["execution_id"]))
            world.traffic.starts.accept(f"big{number}", ids[-1])
            world.traffic.paths[ids[-1]] = "big"

        async def is_over() -> bool:
            for one in ids:
                answer = await client.get(f"/api/executions/{one}/status")
                if answer.status_code != 200 or answer.json()["status"] == "RUNNING":
                    return False
            return True

        for _ in world.times(5):
            await world.pause(2.0, 4.0)
            world.kill("orchestrator")
            world.note("orchestrator killed")

        async def look() -> bool:
            try:
                return await is_over()
            except httpx.HTTPError:
                return False

        await eventually(look, what="the loops are over", every_seconds=1.0)


async def scripts(world: World) -> None:
    """Hosts of scripts killed, as the system does that is out of memory."""
    for _ in world.times(20):
        hosts = [one for pid in world.pids(WORKER).values() for one in descendants(pid)]
        if hosts:
            with suppress(ProcessLookupError):
                os.kill(world.chance.choice(hosts), signal.SIGKILL)
            world.note("a process of scripts killed")
        await world.pause(0.5, 1.5)


async def once(world: World) -> None:
    """Kills and freezes of everything, under steps that may not be repeated."""
    for _ in world.times(8):
        target = world.chance.choice((*PROCESSES, WORKER, "nats"))
        if world.chance.random() < 0.6:
            world.kill(target)
            world.note(f"{target} killed")
        else:
            await world.freeze(target, world.chance.uniform(0.5, 6.0))
        await world.pause(1.5, 4.0)


async def rolling(world: World) -> None:
    """Every process by SIGTERM, one after the other; the supervisor starts it again."""
    for _ in world.times(1):
        for service in MODULES:
            for name in sorted(world.pids(service)):
                with suppress(ProcessLookupError):
                    os.kill(world.pids()[name], signal.SIGTERM)
                world.note(f"{name} restarted")
                await world.pause(4.0, 6.0)


async def clock(world: World) -> None:
    """A process whose clock is wrong; the next one with each seed."""
    service, seconds = _CLOCKS[world.seed % len(_CLOCKS)]
    name = min(world.pids(service))
    await world.restart_with(name, other_clock(seconds), is_ready=False)
    # What is the only one of its kind is no excuse for others.
    world.note(f"clock of {name} {seconds:+.0f} s for 40 s", 40.0 if service == EDGE else 0.0)
    await asyncio.sleep(40.0)
    await world.restart_with(name, other_clock(0.0))


async def db_leap(world: World) -> None:
    """The database's clock 100 s ahead, or behind, for 8 s; and right again."""
    assert world.leap is not None
    seconds = 100.0 if world.seed % 2 else -100.0
    # Times of the log leap with it, and so do pauses between its events.
    world.note(f"clock of the database {seconds:+.0f} s for 8 s", 110.0)
    world.leap(seconds)
    await asyncio.sleep(8.0)
    world.leap(0.0)
    await world.pause(8.0, 10.0)


_QUICK = {**WEIGHTS, "noops": 12}
_NOTED = {"calls": 4, "noops": 3}
_TWO = ("--orchestrators", "2")
_THREE = ("--orchestrators", "3", "--workers", "2")
_BOTH_OWN = {"NOETL_REPLICAS_ACTIVE_MIN": "2"}
_ALL_OWN = {"NOETL_REPLICAS_ACTIVE_MIN": "3"}
_WORKERS = ("--workers", "3")
_KILLED = ACK_WAIT_SECONDS + 5.0

SCENARIOS: Mapping[str, Scenario] = {
    "calm": Scenario(calm, _WORKERS),
    "calm3": Scenario(calm, _THREE, _ALL_OWN, rate=5.0),
    "kills": Scenario(kills, _WORKERS, may_repeat=True, more_seconds=_KILLED),
    "sessions": Scenario(sessions, _WORKERS),
    "worker_kill": Scenario(
        _killing(WORKER, times=8, pause=(2.0, 4.0)), _WORKERS, may_repeat=True, more_seconds=_KILLED
    ),
    "natskill": Scenario(_killing("nats", times=8, pause=(1.5, 3.0)), _WORKERS, may_repeat=True),
    "natsworker": Scenario(
        _killing("nats", WORKER, times=4, pause=(5.0, 8.0), all_of=True),
        _WORKERS,
        may_repeat=True,
        more_seconds=_KILLED,
    ),
    "pgkill": Scenario(_killing("postgres", times=6, pause=(2.5, 4.0)), _WORKERS),
    "wipe": Scenario(wipe, _WORKERS),
    "owners": Scenario(
        _freezing("orchestrator", 1.2, 9.0, times=5), _THREE, _ALL_OWN, rate=5.0, weights=_QUICK
    ),
    "owner_short": Scenario(
        _freezing("orchestrator", 1.2, 1.2, times=8),
        (*_TWO, "--workers", "2"),
        _BOTH_OWN,
        rate=5.0,
        weights=_QUICK,
    ),
    "freeze1": Scenario(freeze1, _WORKERS, may_repeat=True),
    "freeze2": Scenario(freeze2, _WORKERS, may_repeat=True),
    "worker_freeze": Scenario(_freezing(WORKER, 35.0, 70.0, times=2), _WORKERS, may_repeat=True),
    "net_worker": Scenario(_wiring(WORKER, "nats"), ("--workers", "2"), may_repeat=True),
    "net_orch_nats": Scenario(_wiring("orchestrator", "nats"), _WORKERS),
    "net_orch_pg": Scenario(_wiring("orchestrator", "postgres"), _WORKERS),
    "net_edge": Scenario(_wiring(EDGE, "nats"), _WORKERS),
    "half_open": Scenario(half_open, ("--workers", "2"), may_repeat=True),
    "gray_owner": Scenario(gray_owner, (*_TWO, "--workers", "2"), _BOTH_OWN),
    "nats_full": Scenario(_filling("nats"), _WORKERS, disk=("nats", 96)),
    # Tools that are noted by a process with the right clock, and not by their own.
    "clock": Scenario(
        clock, ("--workers", "2", "--orchestrators", "2"), may_repeat=True, weights=_NOTED
    ),
    "db_leap": Scenario(db_leap, _WORKERS, has_own_database=True),
    "pg_conns": Scenario(pg_conns, _WORKERS),
    "bigloop": Scenario(bigloop, _WORKERS, rate=0.5, more_seconds=15.0),
    "once": Scenario(
        once, _WORKERS, is_once=True, may_fail=True, may_repeat=True, more_seconds=_KILLED
    ),
    "http_mix": Scenario(
        _killing(WORKER, times=6, pause=(2.0, 4.0)),
        _WORKERS,
        {"NOETL_WORKER_TRANSPORT": "http"},
        may_repeat=True,
        more_seconds=_KILLED,
    ),
    "scripts": Scenario(scripts, _WORKERS, may_repeat=True),
    "rolling": Scenario(rolling, ("--workers", "2")),
}
USUAL = ("calm", "kills", "worker_kill", "natskill", "pgkill", "owner_short", "net_edge", "once")
"""Those that `make chaos` goes through unless others are named."""

__all__ = ["ACK_WAIT_SECONDS", "SCENARIOS", "STALE_SECONDS", "USUAL", "Scenario"]
