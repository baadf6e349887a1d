"""Workers of this process that speak the fast path, one after the other or side by side."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import httpx
from noetl_bus.broker import Bus, connect
from noetl_bus.consumers.pull import run_pull_each
from noetl_bus.settings import NatsSettings
from noetl_contract.streams import COMMANDS, DurableSpec, pool_durable
from noetl_contract.subjects import WATCH_HINT, control_subject
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_worker.control_plane.edge import open_edge
from noetl_worker.control_plane.registration import Identity
from noetl_worker.control_plane.result_stores import RpcResultStore
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.output.channels import BusOutput
from noetl_worker.output.outputs import Outputs
from noetl_worker.run.policy import PolicyLimits
from noetl_worker.run.reports import Reporter
from noetl_worker.run.runner import Runner
from noetl_worker.settings import Settings
from noetl_worker.tools.registry import ToolRegistry, load_tools
from noetl_worker.tools.tool import ToolParts, ToolResult
from noetl_worker.transports.fast.claims import Claims
from noetl_worker.transports.fast.messages import Messages
from noetl_worker.transports.fast.over_bus import BusChannel, BusControl
from noetl_worker.transports.fast.pending_outcomes import PendingOutcomes
from noetl_worker.transports.fast.timing import Timing
from noetl_worker.transports.fast.transport import FastTransport
from noetl_worker.transports.hearing import Hearing
from noetl_worker.transports.runs import Runs
from noetl_worker.transports.shares import SlotShares
from noetl_worker.transports.work import Work
from noetl_worker.workloads import Workloads
from worker_edge import make_credentials

# Ids of two workers never meet.
WORKERS = count(1)
QUICK = Timing(
    start_try_seconds=PATIENCE_SECONDS,
    start_tries=3,
    claim_seconds=PATIENCE_SECONDS,
    claim_pause_seconds=0.05,
    claim_longest_pause_seconds=0.2,
    claim_give_up_seconds=1.0,
    claim_nak_seconds=0.2,
    answer_seconds=PATIENCE_SECONDS,
    longest_repeat_seconds=1.0,
    outcome_try_seconds=0.5,
    outcome_pause_seconds=0.05,
    outcome_longest_pause_seconds=0.2,
    look_seconds=0.02,
)
REPEATING = replace(QUICK, start_try_seconds=0.5, answer_seconds=0.3)
"""Messages that aren't stored or answered are sent again soon, also where only that takes long."""


class Gate:
    """A tool that waits until it is let through, and counts its runs."""

    def __init__(self) -> None:
        self.running = 0
        self.runs = 0
        self.killed = 0
        self.open = asyncio.Event()

    async def run(self, _config: Any, _context: Any) -> ToolResult:
        self.running += 1
        self.runs += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.killed += 1
            raise
        finally:
            self.running -= 1
        return ToolResult(data="through")


async def hear_of_ends(bus: Bus, runs: Runs, hearing: Hearing) -> asyncio.Task[None]:
    """Hear of ends, and return once that is so the task that goes on with it."""
    await bus.subscribe(control_subject("shared"), runs.on_hint)
    task = asyncio.create_task(hearing.follow(bus, COMMANDS.name))
    await eventually(lambda: hearing.is_sure, what="it hears of ends")
    return task


class OtherTransport:
    """Stands where commands without a fast part go."""

    def __init__(self) -> None:
        self.handled: list[bytes] = []

    async def handle(self, delivery: Any) -> None:
        self.handled.append(delivery.data)
        await delivery.ack()


@dataclass
class Worker:
    """One worker of this process."""

    bus: Bus
    transport: FastTransport
    gate: Gate
    other: OtherTransport
    instance: str
    hearing: Hearing


type StartWorker = Callable[..., AbstractAsyncContextManager[Worker]]


def worker_starter(interpreters: InterpreterPool, nats_url: str) -> StartWorker:
    @asynccontextmanager
    async def start(
        *,
        url: str = nats_url,
        name: str = "w-1",
        permits: int = 4,
        timing: Timing = QUICK,
        durable: DurableSpec | None = None,
        drain_seconds: float = 5.0,
        share: float = 1.0,
        slow_seconds: float = 1.0,
        is_able: Callable[[], bool] = lambda: True,
        is_direct: bool = True,
        **pending_outcomes: int,
    ) -> AsyncIterator[Worker]:
        settings = Settings(worker_id=name, server_url="http://127.0.0.1:9")
        ids = count(next(WORKERS) * 10**9)
        gate, other, runs, hearing = Gate(), OtherTransport(), Runs(), Hearing()
        async with (
            httpx.AsyncClient() as http,
            open_edge(settings) as edge,
            connect(NatsSettings(nats_url=url), name=name) as bus,
        ):
            tools = load_tools(
                ToolParts(settings=settings, http=http, interpreters=interpreters, edge=edge)
            )
            toolbox = ToolRegistry({**tools._tools, "gate": gate})
            next_id = ids.__next__
            outputs = Outputs(BusOutput(bus))
            identity = Identity.of_this_process(settings)
            channel = BusChannel(bus, is_direct=is_direct)
            runner = Runner(
                toolbox=toolbox,
                worker_id=name,
                secrets={},
                credentials=make_credentials(edge),
                outputs=outputs,
                limits=PolicyLimits(),
            )
            results = RpcResultStore(bus, edge=None, next_id=next_id)  # type: ignore[arg-type]
            transport = FastTransport(
                Messages(
                    channel,
                    identity=identity,
                    reporter=Reporter(worker_id=name, next_id=next_id),
                    pending_outcomes=PendingOutcomes(
                        most=pending_outcomes.get("most", 100),
                        most_bytes=pending_outcomes.get("most_bytes", 1 << 20),
                    ),
                    timing=timing,
                ),
                claims=Claims(
                    channel, identity=identity, timing=timing, workloads=Workloads(1 << 20)
                ),
                control=BusControl(bus, identity=identity, runs=runs, seconds=timing.claim_seconds),
                work=Work(runner, results, runs),
                other=other,  # type: ignore[arg-type]
                hearing=hearing,
            )
            await bus.subscribe(WATCH_HINT, outputs.on_hint)
            heeding = await hear_of_ends(bus, runs, hearing)
            pulling = asyncio.create_task(
                run_pull_each(
                    bus,
                    durable or pool_durable("shared"),
                    SlotShares(
                        transport.handle,
                        slots=permits,
                        share=share,
                        slow_seconds=slow_seconds,
                        is_able=is_able,
                    ),
                    permits=permits,
                    drain_seconds=drain_seconds,
                )
            )
            confirming = asyncio.create_task(transport.run_confirmations())
            try:
                yield Worker(bus, transport, gate, other, identity.instance, hearing)
            finally:
                heeding.cancel()
                pulling.cancel()
                await asyncio.wait([pulling])
                confirming.cancel()
                await asyncio.wait([confirming])

    return start
