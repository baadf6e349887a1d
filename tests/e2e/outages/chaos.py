"""Kills under load: starts keep arriving while processes are SIGKILLed, then the log is checked.

Run by hand, some minutes long::

    .venv/bin/python tests/e2e/outages/chaos.py                    # every process, five times each
    .venv/bin/python tests/e2e/outages/chaos.py --orchestrators 2 --outboxes 2
    .venv/bin/python tests/e2e/outages/chaos.py --targets wipe --rounds 3
    .venv/bin/python tests/e2e/outages/chaos.py --targets stack --rounds 3
    .venv/bin/python tests/e2e/outages/chaos.py --targets stop-orchestrator,pg-backends

``stop-NAME`` freezes a process with SIGSTOP and lets it go on after ``--freeze`` seconds (a worker
longer than its heartbeats may be silent); ``pg-backends`` ends database sessions in mid-statement,
again and again for that time.

It exits 0 when every accepted run reached exactly one terminal event, every command has one
effective outcome and no position is missing; it prints the longest gap without a commit that
followed each kill.
"""

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
from noetl.stack.services import MODULES
from noetl_testkit.stack import Stack, register
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from verify import check_executions, longest_gap

PLAYBOOK = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: chaos, path: chaos/linear}
workflow:
"""
STEPS = 10
PROCESSES = (*MODULES, "nats", "postgres")
SETTLE_SECONDS = PATIENCE_SECONDS
WARM = 10
"""Starts accepted before the first kill, and after the last one."""


def playbook() -> str:
    """Return a ten-step playbook whose steps sleep 50 to 200 ms."""
    steps = []
    for index in range(STEPS):
        name = "start" if index == 0 else f"step{index}"
        arc = f"\n    next: {{arcs: [{{step: step{index + 1}}}]}}" if index + 1 < STEPS else ""
        steps.append(
            f"  - step: {name}\n    tool:\n      kind: python\n      code: |\n"
            "        import random, time\n"
            "        time.sleep(random.uniform(0.05, 0.2))\n"
            f"        result = {{'step': {index}}}{arc}"
        )
    return PLAYBOOK + "\n".join(steps) + "\n"


@dataclass
class Load:
    """Starts at a steady rate; the accepted ones and the refused ones."""

    url: str
    rate: float
    accepted: list[int] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    stopping: bool = False

    async def run(self) -> None:
        """Start executions until stopped; every attempt has its own time limit."""
        async with (
            httpx.AsyncClient(
                base_url=self.url, timeout=40, limits=httpx.Limits(max_connections=200)
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            while not self.stopping:
                group.create_task(self._start(client))
                await asyncio.sleep(random.expovariate(self.rate))

    async def _start(self, client: httpx.AsyncClient) -> None:
        try:
            answer = await client.post("/api/execute", json={"path": "chaos/linear"})
        except httpx.HTTPError as error:
            reason = type(error).__name__
        else:
            if answer.status_code == 200:
                self.accepted.append(int(answer.json()["execution_id"]))
                return
            reason = str(answer.status_code)
        self.refused[reason] = self.refused.get(reason, 0) + 1


def pids_of(stack: Stack, target: str) -> list[int]:
    """Return the process ids of a service, of each of its copies."""
    return [
        service["pid"]
        for name, service in stack.services().items()
        if service["pid"] and (name == target or name.removeprefix(f"{target}-").isdigit())
    ]


def end_sessions(dsn: str, *, seconds: float) -> int:
    """End a random active database session every few milliseconds; returns how many were hit."""

    async def run() -> int:
        connection = await asyncpg.connect(dsn)
        hits = 0
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until:
                hits += await connection.fetchval(
                    """
                    SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM (
                        SELECT pid FROM pg_stat_activity
                        WHERE pid <> pg_backend_pid() AND datname = current_database()
                        AND (state = 'active' OR random() < 0.02)
                        ORDER BY random() LIMIT 1
                    ) AS chosen
                    """
                )
                await asyncio.sleep(random.uniform(0.005, 0.1))
        finally:
            await connection.close()
        return hits

    return asyncio.run(run())


def freeze(pid: int, *, seconds: float) -> None:
    """Stop a process for a while: it misses everything and then believes that no time passed."""
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


def strike(stack: Stack, target: str, *, freeze_seconds: float) -> str:
    """Do the harm that the target names and return its description."""
    if target == "pg-backends":
        hits = end_sessions(stack.dsn(), seconds=freeze_seconds)
        return f"ended {hits} database sessions"
    if target.startswith("stop-"):
        name = target.removeprefix("stop-")
        freeze(random.choice(pids_of(stack, name)), seconds=freeze_seconds)
        return f"froze {name} for {freeze_seconds:g} s"
    if target == "wipe":
        store = next(path for path in stack.data.rglob("jetstream") if path.is_dir())
        store.rename(store.with_name(f"jetstream.wiped.{time.time_ns()}"))
        os.kill(pids_of(stack, "nats")[0], signal.SIGKILL)
        return "wiped the JetStream store"
    if target == "stack":
        stack.kill_everything()
        stack.up()
        return "SIGKILLed the whole stack, started it again"
    pid = random.choice(pids_of(stack, target))
    os.kill(pid, signal.SIGKILL)
    return f"SIGKILLed {target}"


async def unfinished(dsn: str) -> int | None:
    """Return the number of executions without an end, None while the database is away."""
    try:
        connection = await asyncpg.connect(dsn, timeout=5)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return None
    try:
        return int(
            await connection.fetchval(
                "SELECT count(*) FROM noetl.execution_state WHERE status = 'RUNNING'"
            )
        )
    finally:
        await connection.close()


async def main(arguments: Sequence[str] | None = None) -> int:
    """Run the kills, print the findings, and return the exit code.

    Args:
        arguments: of the command line; None for those of this process.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", default=",".join(PROCESSES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pause", type=float, default=6.0, help="mean seconds between kills")
    parser.add_argument("--rate", type=float, default=2.0, help="starts a second")
    parser.add_argument("--freeze", type=float, default=12.0, help="seconds of a freeze")
    parser.add_argument(
        "--stale", type=float, default=60.0, help="seconds of silence that cost a worker its work"
    )
    parser.add_argument("--transport", default="nats", choices=("nats", "http"))
    parser.add_argument("--orchestrators", type=int, default=1)
    parser.add_argument("--outboxes", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--keep", action="store_true", help="keep the data directory")
    options = parser.parse_args(arguments)
    random.seed(options.seed)
    folder = Path(tempfile.mkdtemp(prefix="noetl-chaos-"))
    stack = Stack(
        folder / "data",
        arguments=(
            "--orchestrators",
            str(options.orchestrators),
            "--outboxes",
            str(options.outboxes),
            "--workers",
            str(options.workers),
        ),
        environment={
            "NOETL_WORKER_TRANSPORT": options.transport,
            "NOETL_COMMAND_WORKER_HEARTBEAT_STALE_SECONDS": str(options.stale),
            "NOETL_COMMAND_CLAIM_LEASE_SECONDS": str(options.stale),
            "WORKER_HEARTBEAT_INTERVAL": str(max(1, int(options.stale / 6))),
        },
    )
    is_kept = True
    stack.up()
    dsn = stack.dsn()
    gaps: dict[str, list[float]] = {}
    try:
        with stack.client() as client:
            register(client, playbook())
        load = Load(stack.url, options.rate)
        loading = asyncio.create_task(load.run())
        await eventually(lambda: len(load.accepted) >= WARM, what="the load runs")
        schedule = [target for target in options.targets.split(",") for _ in range(options.rounds)]
        random.shuffle(schedule)
        struck: list[tuple[str, float]] = []
        for target in schedule:
            moment = time.time()
            said = await asyncio.to_thread(strike, stack, target, freeze_seconds=options.freeze)
            struck.append((target, moment))
            print(f"{time.strftime('%H:%M:%S')} {said}; accepted {len(load.accepted)}", flush=True)
            await asyncio.sleep(options.pause * random.uniform(0.7, 1.3))
        ends = time.time()
        enough = len(load.accepted) + WARM
        await eventually(lambda: len(load.accepted) >= enough, what="starts are accepted again")
        load.stopping = True
        await loading
        left: int | None = None

        async def is_settled() -> bool:
            nonlocal left
            left = await unfinished(dsn)
            return left == 0

        with contextlib.suppress(TimeoutError):
            await eventually(is_settled, timeout_seconds=SETTLE_SECONDS, every_seconds=0.2)
        print(f"settled {time.time() - ends:.1f} s after the last kill, {left} unfinished")
        for (target, moment), until in zip(
            struck, [moment for _, moment in struck[1:]] + [ends], strict=True
        ):
            gaps.setdefault(target, []).append(
                await longest_gap(dsn, since=moment, until=max(until, moment + 1))
            )
        connection = await asyncpg.connect(dsn)
        everything = [
            row["execution_id"]
            for row in await connection.fetch("SELECT execution_id FROM noetl.execution_state")
        ]
        await connection.close()
        missing = set(load.accepted) - set(everything)
        findings = await check_executions(dsn, sorted(set(everything) | set(load.accepted)))
        print(
            f"accepted {len(load.accepted)}, in the log {len(everything)}, refused {load.refused}"
        )
        print(
            f"{findings.events} events, {findings.commands} commands, {findings.reissued} handed "
            f"out again, {findings.late_rows} late rows, statuses {findings.statuses}"
        )
        for target, values in gaps.items():
            listed = " ".join(f"{value:.2f}" for value in values)
            print(f"longest gap after {target}: {max(values):.2f} s ({listed})")
        for problem in findings.problems[:50]:
            print(f"PROBLEM {problem}")
        if missing:
            print(f"PROBLEM accepted but unknown: {sorted(missing)[:20]}")
        failed = sum(count for status, count in findings.statuses.items() if status != "COMPLETED")
        wrong = len(findings.problems) + len(missing) + failed
        print("OK" if wrong == 0 else f"FAILED: {wrong} problems")
        is_kept = options.keep or wrong > 0
        return 0 if wrong == 0 else 1
    finally:
        stack.down()
        if is_kept:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
