"""All oracles over a run that is over."""

import os
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from noetl_testkit.oracles.effects import Effect, check_effects
from noetl_testkit.oracles.findings import Findings
from noetl_testkit.oracles.logs import check_logs
from noetl_testkit.oracles.rows import behind, check_rows, left
from noetl_testkit.oracles.stalls import check_stalls
from noetl_testkit.oracles.starts import Starts, check_starts
from noetl_testkit.stack import command
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from noetl_testkit.oracles.findings import Connection

_ALL = "SELECT execution_id FROM noetl.execution_state UNION SELECT execution_id FROM noetl.event"
_OPEN = "SELECT count(*) FROM noetl.execution_state WHERE status = 'RUNNING'"


async def judge(
    *dsns: str,
    starts: Starts | None = None,
    accepted: Collection[int] = (),
    effects: Callable[[], Sequence[Effect]] | None = None,
    cancelled: Mapping[int, float] | None = None,
    may_repeat: bool = False,
    stall_limit: float | None = None,
    settle_seconds: float = PATIENCE_SECONDS,
) -> Findings:
    """Wait for the ends of all executions of a run, and judge everything in its databases.

    Args:
        dsns: the databases of all shards.
        starts: answers to starts, if each had a token.
        accepted: executions of accepted starts; they have to be in one of the databases.
        effects: gives the runs of all tools once everything has ended, if they note them.
        cancelled: Unix times of the answers to cancels, by execution.
        may_repeat: whether something was done that lets tools run twice, see `check_effects`.
        stall_limit: longest stall in seconds that is no problem.
        settle_seconds: how long the executions may take to end once the load has, and then the
            outbox and the read model to catch up; what has not ended then is stuck.
    """
    findings = Findings()
    await _until_ended(*dsns, seconds=settle_seconds)
    runs = None if effects is None else effects()
    found: set[int] = set()
    async with AsyncExitStack() as opened:
        connections: list[Connection] = []
        for dsn in dsns:
            connection = await asyncpg.connect(dsn)
            opened.push_async_callback(connection.close)
            connections.append(connection)
        for connection in connections:
            ids = {row["execution_id"] for row in await connection.fetch(_ALL)}
            found |= ids
            here = [one for one in runs or () if one.execution_id in ids]
            await check_logs(connection, sorted(ids), findings)
            await check_stalls(
                *(connection, sorted(ids), findings),
                limit=stall_limit,
                seen=_moments(here),
                until=time.time(),
            )
            if runs is not None:
                await check_effects(
                    *(connection, here, sorted(ids), findings),
                    cancelled=cancelled,
                    may_repeat=may_repeat,
                )
            await _settle(connection, settle_seconds)
            await check_rows(connection, findings)
        if starts is not None:
            await check_starts(connections, starts, findings)
    answered = set(accepted) | (starts.executions if starts is not None else set())
    findings.problems += [f"{one}: accepted, but unknown" for one in sorted(answered - found)]
    return findings


def _moments(effects: Sequence[Effect]) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for one in effects:
        found.setdefault(one.execution_id, []).append(one.at)
    return found


async def _until_ended(*dsns: str, seconds: float) -> None:
    async def have_ended() -> bool:
        for dsn in dsns:
            try:
                connection = await asyncpg.connect(dsn, timeout=5)
            except (OSError, asyncpg.PostgresError, TimeoutError):
                return False  # the server is not back yet
            try:
                if await connection.fetchval(_OPEN):
                    return False
            finally:
                await connection.close()
        return True

    with suppress(TimeoutError):
        await eventually(have_ended, timeout_seconds=seconds, every_seconds=0.2)


async def _settle(connection: "Connection", seconds: float) -> None:
    """Wait for the relay and the projector, which follow the log; what stays is found."""

    async def is_quiet() -> bool:
        return not await left(connection) and not await behind(connection)

    with suppress(TimeoutError):
        await eventually(is_quiet, timeout_seconds=seconds, every_seconds=0.2)


def check_digests(
    findings: Findings, *, data: Path | None = None, environment: Mapping[str, str] | None = None
) -> None:
    """Have ``noetl-server verify`` compute the digests of all logs again.

    Args:
        findings: gets what it complains about.
        data: directory of a local stack.
        environment: more variables, that name databases which are not the stack's own.
    """
    where = () if data is None else ("--data", str(data))
    done = subprocess.run(
        [*command(), "verify", *where],
        capture_output=True,
        text=True,
        env={**os.environ, **(environment or {})},
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        findings.problems.append(f"verify: {(done.stderr or done.stdout).strip()[-2000:]}")


__all__ = ["check_digests", "judge"]
