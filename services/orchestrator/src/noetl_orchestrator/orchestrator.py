"""Build one orchestrator from its rooms, on a bus and a database; `app` and tests use it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from noetl_common.bus.broker import Bus
from noetl_common.ids import SnowflakeIds
from noetl_common.logging import get_logger
from noetl_common.pg.database import Database
from noetl_common.pg.pool import Pool
from noetl_common.service import Service
from noetl_engine.execution import Execution
from noetl_engine.inputs import Facts
from noetl_engine.playbook import Playbook

from noetl_orchestrator.ingress.opening import Ingress, open_ingress
from noetl_orchestrator.leases.opening import Leases, open_leases, open_liveness
from noetl_orchestrator.log.opening import Log, open_log
from noetl_orchestrator.memory.loader import ExecutionFactory
from noetl_orchestrator.memory.opening import Memory, open_memory
from noetl_orchestrator.memory.playbooks import FetchContent
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.opening import TurnRoom, open_turns

_log = get_logger()


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """The rooms of an orchestrator, from the ground up."""

    log: Log
    memory: Memory
    turn: TurnRoom
    leases: Leases
    ingress: Ingress


@asynccontextmanager
async def open_orchestrator(
    settings: Settings,
    *,
    bus: Bus,
    turn_pool: Pool,
    background_pool: Pool,
    ids: SnowflakeIds,
    fetch_content: FetchContent,
    parse: Callable[[str], Playbook],
    executions: ExecutionFactory = Execution,
) -> AsyncIterator[Orchestrator]:
    """Open the rooms of one shard's orchestrator; its loops are started by others."""
    background = Database(background_pool)
    async with (
        open_log(settings, bus, turn_pool=turn_pool, background=background) as log,
        open_memory(
            settings,
            bus,
            log.store,
            fetch_content=fetch_content,
            parse=parse,
            executions=executions,
        ) as memory,
    ):
        liveness = open_liveness(settings)
        limits = settings.limits()

        def make_facts() -> Facts:
            return Facts(
                now=memory.clock.now(),
                new_id=ids.next,
                workers=liveness.workers,
                heard_since=liveness.heard_since,
                limits=limits,
            )

        turn = open_turns(settings, log, memory, make_facts=make_facts, new_id=ids.next)
        leases = open_leases(
            settings,
            bus,
            log,
            turn.dispatcher,
            database=background,
            liveness=liveness,
            make_facts=make_facts,
            new_id=ids.next,
        )
        ingress = open_ingress(settings, bus, log.store, turn.dispatcher)
        yield Orchestrator(log, memory, turn, leases, ingress)


@asynccontextmanager
async def running_turns(
    room: TurnRoom, *, count: int, service: Service | None = None
) -> AsyncIterator[None]:
    """Run turns while the block lasts; everything that waits for answers must end before."""

    async def run(name: str) -> None:
        try:
            beat = service.beater(name) if service is not None else lambda: None
            await room.dispatcher.run_turns(room.turns.run, beat)
        except Exception as error:  # task supervisor: any error ends the process
            _log.error("loop_failed", loop=name, exc_info=error)
            if service is None:
                raise
            service.fail(error)

    tasks = [asyncio.create_task(run(f"turns-{number}")) for number in range(count)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
