"""Promises of schedules, under kills: every time of every schedule starts one execution.

Run by hand::

    .venv/bin/python tests/schedules/proof.py                       # all three parts
    .venv/bin/python tests/schedules/proof.py --parts real --minutes 10
    .venv/bin/python tests/schedules/proof.py --parts virtual --schedules 1000 --virtual-minutes 10

``virtual``: two replicas fire schedules of a real stack on a clock that is moved on minute by
minute; each round one replica is cut off at a random moment. ``real``: the stack's own catalog
fires on the real clock while catalog and orchestrator are SIGKILLed. ``backfill``: a year of days,
whose command is interrupted three times while services are killed. It exits 0 when no time is
without an execution and none has two.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
from noetl_bus.broker import connect
from noetl_bus.rpc import RpcClient
from noetl_catalog.schedules.parts import Schedules, make_schedules
from noetl_catalog.settings import Settings
from noetl_pg.database import Database
from noetl_pg.pool import open_pool
from noetl_service.machine_ids import lease_machine_id
from noetl_testkit.stack import Stack, command, register, running_stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until
from pydantic import SecretStr

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: timed, path: {path}}}
workload: {{at: "", schedule: ""}}
workflow:
- step: start
  tool: {{kind: noop}}
"""
SCHEDULE = """
kind: Schedule
metadata: {{path: {path}}}
spec:
  playbook: {playbook}
  overlap: allow
  payload: {{at: "{{{{ scheduled_at }}}}", schedule: "{{{{ schedule }}}}"}}
  {when}
"""
# Nobody works on what starts there, so that the machine is left to the starts.
IDLE = "subscription/timed"
SETTLE_SECONDS = 120
STARTED = """
    SELECT
        count(*) AS executions,
        count(DISTINCT (e.context -> 'workload' ->> 'schedule', e.context -> 'workload' ->> 'at'))
            AS times
    FROM noetl.event AS e
    WHERE
        e.event_type = 'playbook_started'
        AND e.context -> 'workload' ->> 'schedule' LIKE $1
        AND (e.context -> 'workload' ->> 'at')::TIMESTAMPTZ < $2
"""
FIRINGS = """
    SELECT
        f.state, count(*) AS count,
        percentile_cont(0.5) WITHIN GROUP (
            ORDER BY extract(EPOCH FROM f.started_at - f.due_at)
        ) AS middle,
        percentile_cont(0.99) WITHIN GROUP (
            ORDER BY extract(EPOCH FROM f.started_at - f.due_at)
        ) AS p99,
        max(extract(EPOCH FROM f.started_at - f.due_at)) AS latest
    FROM noetl.schedule_firing AS f
    INNER JOIN noetl.schedule AS s ON s.schedule_id = f.schedule_id
    WHERE s.path LIKE $1 AND f.scheduled_at < $2
    GROUP BY f.state
"""
LATE = """
    SELECT f.started_at, extract(EPOCH FROM f.started_at - f.due_at)::FLOAT8 AS lateness
    FROM noetl.schedule_firing AS f
    INNER JOIN noetl.schedule AS s ON s.schedule_id = f.schedule_id
    WHERE s.path LIKE $1 AND f.state = 'started' AND f.started_at - f.due_at > interval '1 second'
"""


class Clock:
    """A clock that is moved on by hand."""

    def __init__(self, start: datetime) -> None:
        self.moment = start

    async def now(self) -> datetime:
        """Return the moment."""
        return self.moment


def pids_of(stack: Stack, target: str) -> list[int]:
    """Return the processes of a service."""
    return [
        service["pid"]
        for name, service in stack.services().items()
        if service["pid"] and name.startswith(target)
    ]


def are_ready(stack: Stack, target: str) -> bool:
    """Return whether every process of a service is ready."""
    found = [one for name, one in stack.services().items() if name.startswith(target)]
    return all(one["state"] == "ready" for one in found)


def kill(stack: Stack, target: str) -> None:
    """SIGKILL a process of a service, if one runs."""
    pids = pids_of(stack, target)
    for pid in pids and [random.choice(pids)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def add_schedules(stack: Stack, kind: str, whens: Sequence[str], *, playbook: str) -> None:
    """Register a playbook, and a schedule of it for each of the texts."""
    with stack.client() as client:
        register(client, PLAYBOOK.format(path=playbook))
        for place in range(0, len(whens), 100):
            items = [
                {
                    "content": SCHEDULE.format(
                        path=f"{kind}/{place + index:05}", playbook=playbook, when=when
                    )
                }
                for index, when in enumerate(whens[place : place + 100])
            ]
            answer = client.post("/api/catalog/register/batch", json={"items": items})
            answer.raise_for_status()
            assert answer.json()["failed"] == 0, answer.text[:500]


@asynccontextmanager
async def replicas(stack: Stack, clock: Clock, count: int) -> AsyncIterator[list[Schedules]]:
    """Run the parts that fire schedules beside a stack, on another clock."""
    values = stack.values()
    settings = Settings(
        nats_url=SecretStr(values["NOETL_NATS_URL"]),
        **{name.lower(): value for name, value in values.items() if name.startswith("POSTGRES_")},
    )
    async with (
        connect(settings, name="proof") as bus,
        open_pool(settings, name="proof") as pool,
        lease_machine_id(RpcClient(bus), "proof") as ids,
    ):
        yield [
            make_schedules(
                Database(pool),
                bus,
                RpcClient(bus),
                ids=ids,
                shards=1,
                settings=settings,
                clock=clock.now,
            )
            for _ in range(count)
        ]


async def drained(replica: Schedules) -> None:
    """Look until nothing is due."""
    while await replica.firings.fire_due() == 0:
        pass


async def cut_off(replica: Schedules, seconds: float) -> None:
    """Look, and be ended in the midst of it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await drained(replica)


async def virtual(schedules: int, minutes: int) -> int:
    """Fire on a clock that is moved on."""
    start = datetime(2040, 1, 1, tzinfo=UTC)
    clock = Clock(start)
    settings = {"NOETL_SCHEDULES_ENABLED": "false"}
    with running_stack(environment=settings) as stack:
        when = f"cron: '* * * * *'\n  start: {start.isoformat()}"
        add_schedules(stack, "virtual", [when] * schedules, playbook=IDLE)
        began, cuts = time.monotonic(), 0
        async with replicas(stack, clock, 3) as found:
            for _ in range(minutes):
                # Each minute's own time, and a little: its times are due.
                await asyncio.gather(
                    drained(found[0]),
                    drained(found[1]),
                    cut_off(found[2], random.uniform(0.02, 1.0)),
                )
                cuts += 1
                clock.moment += timedelta(minutes=1)
            # What was cut off last is taken over when its lease is over.
            end = start + timedelta(minutes=minutes)
            clock.moment = end + timedelta(minutes=2)
            await pause_all(stack)
            await drained(found[0])
        seconds = time.monotonic() - began
        print(
            f"virtual: {schedules} schedules x {minutes} minutes, {cuts} replicas cut off, "
            f"{seconds:.1f} s ({schedules * minutes / seconds:.0f} firings/s)"
        )
        return await judged(stack, "virtual/%", end, expected=schedules * minutes)


async def pause_all(stack: Stack) -> None:
    """Keep schedules from further times; decided times are still settled."""
    connection = await asyncpg.connect(stack.dsn())
    await connection.execute("UPDATE noetl.schedule SET paused_at = now(), lease = NULL")
    await connection.execute("UPDATE noetl.schedule SET look_at = '2040-01-01'")
    await connection.close()


async def judged(stack: Stack, path: str, end: datetime, *, expected: int) -> int:
    """Compare firings and logs with the expected ones; return the number of problems."""
    connection = await asyncpg.connect(stack.dsn())
    rows = await connection.fetch(FIRINGS, path, end)
    logs = await connection.fetchrow(STARTED, path, end)
    await connection.close()
    assert logs is not None
    problems = 0
    for row in rows:
        text = f"  {row['state']}: {row['count']}"
        if row["state"] == "started" and row["middle"] < 3600:  # not of past times
            text += (
                f", lateness median {row['middle']:.3f} s, p99 {row['p99']:.3f} s, "
                f"latest {row['latest']:.3f} s"
            )
        print(text)
    started = sum(row["count"] for row in rows if row["state"] == "started")
    executions = logs["executions"]
    print(f"  expected {expected}; {executions} executions of {logs['times']} times")
    if not started == executions == logs["times"] == expected:
        problems += 1
        print("  PROBLEM: not every time has exactly one execution")
    return problems


async def real(schedules: int, minutes: float, catalogs: int) -> int:
    """Fire on the real clock under kills."""
    arguments = ("--catalogs", str(catalogs), "--orchestrators", "2")
    with running_stack(arguments=arguments) as stack:
        begin = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=45)
        whens = [
            f"interval: 60s\n  start: {one.isoformat()}"
            for one in (begin + timedelta(seconds=n * 60 / schedules) for n in range(schedules))
        ]
        add_schedules(stack, "real", whens, playbook=IDLE)
        end = begin + timedelta(minutes=minutes)
        while datetime.now(UTC) < begin:
            await asyncio.sleep(0.2)
        kills: list[tuple[datetime, str]] = []
        while datetime.now(UTC) < end:
            await asyncio.sleep(random.uniform(4.0, 12.0))
            target = random.choice(("catalog", "orchestrator"))
            if not are_ready(stack, target):
                continue  # the successor of the one before still starts
            kill(stack, target)
            kills.append((datetime.now(UTC), target))
        await settled(stack, "real/%", end)
        counts = dict(Counter(target for _, target in kills))
        print(
            f"real: {schedules} schedules a minute, {minutes:g} minutes, {catalogs} catalogs and "
            f"2 orchestrators, SIGKILLs {counts}"
        )
        found = await judged(stack, "real/%", end, expected=round(schedules * minutes))
        await blamed(stack, "real/%", kills)
        return found


async def blamed(stack: Stack, path: str, kills: Sequence[tuple[datetime, str]]) -> None:
    """Print which kill came last before firings that were a second late or more."""
    connection = await asyncpg.connect(stack.dsn())
    rows = await connection.fetch(LATE, path)
    await connection.close()
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        before = [target for moment, target in kills if moment < row["started_at"]]
        found[before[-1] if before else "none"].append(row["lateness"])
    for target, late in found.items():
        print(
            f"  a second late or more after a kill of {target}: {len(late)}, to {max(late):.2f} s"
        )


async def settled(stack: Stack, path: str, end: datetime) -> None:
    """Wait until every time before the end was decided about."""
    connection = await asyncpg.connect(stack.dsn())
    until = time.monotonic() + SETTLE_SECONDS
    left = None
    while left != 0 and time.monotonic() < until:
        await asyncio.sleep(0.5)
        left = await connection.fetchval(
            "SELECT count(*) FROM noetl.schedule AS s WHERE s.path LIKE $1 AND (s.next_at < $2"
            " OR EXISTS (SELECT FROM noetl.schedule_firing AS f WHERE f.state = 'starting'"
            " AND f.schedule_id = s.schedule_id AND f.scheduled_at < $2))",
            path,
            end,
        )
    await connection.close()


def backfill() -> int:
    """Fill a year in, with a command that is interrupted three times."""
    with running_stack() as stack:
        when = "cron: '30 2 * * *'\n  timezone: Europe/Berlin\n  paused: true"
        add_schedules(stack, "backfill", [when], playbook="schedules/timed")
        words = [*command(), "backfill", "backfill/00000", "--server-url", stack.url]
        words += ["--from", "2025-01-01", "--to", "2026-01-01", "--parallel", "8"]
        began = time.monotonic()
        for number, one in enumerate((signal.SIGINT, signal.SIGKILL, signal.SIGTERM), 1):
            going = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            goal = number * 60
            wait_until(lambda goal=goal: firings(stack) >= goal)  # type: ignore[misc]
            kill(stack, "catalog" if number == 2 else "orchestrator")
            going.send_signal(one)
            going.wait(timeout=PATIENCE_SECONDS)
            print(f"backfill: ended by {one.name} at {firings(stack)} firings", flush=True)
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        print(f"{done.stdout.strip()} (exit {done.returncode}, {time.monotonic() - began:.1f} s)")
        found = asyncio.run(judged(stack, "backfill/%", datetime.now(UTC), expected=365))
        return found + (done.returncode != 0)


def firings(stack: Stack) -> int:
    """Return how many times were decided about."""

    async def counted() -> int:
        connection = await asyncpg.connect(stack.dsn())
        count = await connection.fetchval("SELECT count(*) FROM noetl.schedule_firing")
        await connection.close()
        return int(count)

    return asyncio.run(counted())


def main() -> int:
    """Run the parts and print the findings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="virtual,real,backfill")
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--virtual-minutes", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=2.0, help="minutes on the real clock")
    parser.add_argument("--catalogs", type=int, default=2, help="catalog services of that part")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    random.seed(options.seed)
    problems = 0
    for part in options.parts.split(","):
        match part:
            case "virtual":
                problems += asyncio.run(virtual(options.schedules, options.virtual_minutes))
            case "real":
                problems += asyncio.run(real(options.schedules, options.minutes, options.catalogs))
            case "backfill":
                problems += backfill()
            case _:
                parser.error(f"no part is named {part}")
    print("OK" if not problems else f"FAILED: {problems} problems")
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main())
