"""Fast-path transitions through the orchestrator's turn: decide and commit on a real database.

One process, one core for Python: inputs are passed to the dispatcher directly (no broker), so
the figure is that of load, decide, encode, commit and answer. A transition is one outcome of a
command: it appends claimed, started, call.done, completed and issues the next command.

    python benchmarks/turn.py [--executions 200] [--steps 10] [--at-once 64] [--profile FILE]
"""

import argparse
import asyncio
import cProfile
import itertools
import pstats
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import uvloop
from noetl_common.ids import SnowflakeIds
from noetl_common.logging import configure
from noetl_contract.ingress import (
    CommandOutcomeMessage,
    CommandStartMessage,
    ExecuteMessage,
    Hold,
    WireEvent,
)
from noetl_engine.outputs import Answer
from noetl_engine.playbook import parse_playbook
from noetl_orchestrator.orchestrator import Orchestrator
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.inputs import TurnInput
from noetl_pg.pool import open_pool
from noetl_testkit.postgres import Database, running_postgres


def playbook_text(steps: int) -> str:
    """Return a linear playbook of noop steps."""
    names = ["start", *(f"step_{number}" for number in range(2, steps + 1))]
    blocks = []
    for name, following in itertools.zip_longest(names, names[1:]):
        arcs = f"\n    next: {{arcs: [{{step: {following}}}]}}" if following else ""
        blocks.append(f"  - step: {name}\n    tool: {{kind: noop}}{arcs}")
    return (
        "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: linear}\n"
        "workload: {message: hi}\nworkflow:\n" + "\n".join(blocks) + "\n"
    )


class SilentBus:
    """Takes hints, messages and replies."""

    forbidden: frozenset[str] = frozenset()
    largest_message = 1 << 20
    is_connected = True

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.hints = 0
        self.nc = SimpleNamespace(pending_data_size=0)
        self.answers = SimpleNamespace(
            fresh_subject=lambda: f"inbox.{self.hints}",
            register=lambda _subject, _take: None,
            forget=lambda _subject: None,
        )

    async def send(self, subject: str, body: bytes, headers: Any = None) -> None:
        self.send_nowait(subject, body, headers)

    def send_nowait(self, subject: str, body: bytes, headers: Any = None) -> None:
        del subject, body, headers
        self.hints += 1

    async def publish_without_waiting(self, message: Any, *, acknowledge_to: str) -> None:
        del message, acknowledge_to


class OnePlaybook:
    """A catalog with one playbook, under all ids."""

    def __init__(self, steps: int) -> None:
        self._text = playbook_text(steps)

    async def content(self, catalog_id: int) -> str:
        del catalog_id
        return self._text


class Waiting:
    """A caller that counts."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    is_waiting = True

    def taken(self) -> None:
        pass

    async def answered(self, answer: Answer) -> None:
        self.answer.set_result(answer)

    async def refused(self, reason: str, answer: Answer) -> None:
        del answer
        self.answer.set_exception(RuntimeError(reason))

    async def given_back(self, delay_seconds: float) -> None:
        self.answer.set_exception(RuntimeError(f"given back for {delay_seconds}"))


class Driver:
    """Plays edge and worker."""

    def __init__(self, rooms: Orchestrator, steps: int, *, with_starts: bool) -> None:
        self.rooms = rooms
        self.steps = steps
        self.with_starts = with_starts
        self.ids = SnowflakeIds(500)
        self.latencies: list[float] = []

    async def ask(self, execution_id: int, message: Any) -> Answer:
        caller = Waiting()
        began = time.perf_counter()
        self.rooms.dispatcher.submit(TurnInput(execution_id, message, caller))
        answer = await caller.answer
        self.latencies.append(time.perf_counter() - began)
        return answer

    async def run_one(self) -> None:
        execution_id = self.ids.next()
        started = ExecuteMessage(
            execution_id=execution_id, catalog_id=7, path="bench/linear", version=1
        )
        await self.ask(execution_id, started)
        for _ in range(self.steps):
            entry = self.rooms.cache.get(execution_id)
            state = entry.execution.state
            (command,) = state.commands.values()
            hold = Hold(
                event_id=command.event_id,
                command_id=command.command_id,
                step=command.step,
                attempts=0,
                worker_id="w1",
                instance="i1",
            )
            events = self.events(command)
            if self.with_starts:
                message = CommandStartMessage(
                    execution_id=execution_id, hold=hold, events=events[:1]
                )
                await self.ask(execution_id, message)
            outcome = CommandOutcomeMessage(execution_id=execution_id, hold=hold, events=events)
            answer = await self.ask(execution_id, outcome)
            assert answer.body == {"status": "ok"}, answer

    def events(self, command: Any) -> tuple[WireEvent, ...]:
        about = {"command_id": command.command_id}
        meta = {"attempts": 0, "command_id": command.command_id}
        result = {"status": "success", "context": {"data": {"n": 1}}}
        kinds = (
            ("command.started", "STARTED", about),
            ("call.done", "COMPLETED", {**about, "call_index": 0, "result": result}),
            ("command.completed", "success", {**about, "status": "success"}),
        )
        return tuple(
            WireEvent(
                event_type=kind,
                step=command.step,
                event_id=self.ids.next(),
                status=status,
                context=context,
                meta=meta,
                worker_id="w1",
            )
            for kind, status, context in kinds
        )


async def measure(database: Database, arguments: argparse.Namespace) -> None:
    settings = Settings.model_validate(
        {
            "postgres_host": database.host,
            "postgres_port": database.port,
            "postgres_user": database.user,
            "postgres_password": database.password,
            "postgres_db": database.name,
            "turns_in_flight": arguments.turns,
        }
    )
    configure(settings, "bench")
    async with (
        open_pool(settings, name="turns") as turns,
        open_pool(settings, name="background") as background,
        Orchestrator(
            settings,
            bus=SilentBus(settings),  # type: ignore[arg-type]
            turn_pool=turns,
            background_pool=background,
            ids=SnowflakeIds(1),
            catalog=OnePlaybook(arguments.steps),  # type: ignore[arg-type]
            parse=parse_playbook,
        ) as rooms,
        rooms.running_turns(),
    ):
        for at_once in arguments.at_once:
            await one_level(rooms, turns, arguments, at_once)


async def one_level(
    rooms: Orchestrator, pool: asyncpg.Pool, arguments: argparse.Namespace, at_once: int
) -> None:
    driver = Driver(rooms, arguments.steps, with_starts=arguments.starts)
    await driver.run_one()
    driver.latencies.clear()
    count = max(1, min(arguments.executions, at_once * 12))
    places = asyncio.Semaphore(at_once)

    async def run_one() -> None:
        async with places:
            await driver.run_one()

    profile = cProfile.Profile() if arguments.profile else None
    before = await pool.fetchval("SELECT pg_current_wal_lsn()")
    began, cpu = time.perf_counter(), time.process_time()
    if profile:
        profile.enable()
    await asyncio.gather(*(run_one() for _ in range(count)))
    if profile:
        profile.disable()
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    wal = await pool.fetchval("SELECT pg_current_wal_lsn() - $1::pg_lsn", before)
    transitions = count * arguments.steps
    latencies = sorted(driver.latencies)
    print(
        f"{at_once:4} at once: {transitions / took:7.0f} transitions/s, "
        f"p50 {statistics.median(latencies) * 1000:6.2f} ms, "
        f"p95 {latencies[int(len(latencies) * 0.95)] * 1000:6.2f} ms, "
        f"Python {cpu / transitions * 1e6:5.0f} us each, "
        f"WAL {int(wal) / transitions / 1024:5.1f} KiB each"
    )
    if profile:
        stats = pstats.Stats(profile)
        stats.sort_stats("tottime").print_stats(45)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--executions", type=int, default=200)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--starts", action="store_true", help="also report each start")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-turn-") as folder,
        running_postgres(Path(folder) / "data", durable=True) as server,
        server.migrated_template() as template,
        server.fresh(template=template) as database,
    ):
        uvloop.run(measure(database, arguments))


if __name__ == "__main__":
    main()
