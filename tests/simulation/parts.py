"""The shipped processes, built by their own code, with the simulated ways to broker and database.

What is not of the simulation's subject is left out by name: scripts of tools, HTTP clients, and
the watch that kills a real process.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import cache
from itertools import count
from types import SimpleNamespace
from typing import Any

import noetl_api_gateway.routes.executions.start as edge_start
import noetl_api_gateway.routes.executions.termination as edge_termination
import noetl_catalog.app
import noetl_orchestrator.app
import noetl_orchestrator.loops
import noetl_orchestrator.replicas.load
import noetl_outbox.app
import noetl_projector.app
import noetl_worker.app
import structlog
from faststream._internal.utils import path as paths
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.settings import Settings as EdgeSettings
from noetl_api_gateway.upstream.ingress_stream import Backlog
from noetl_api_gateway.upstream.large_writes import LargeWrites
from noetl_api_gateway.upstream.services import Services
from noetl_api_gateway.upstream.writes import IngressWriter
from noetl_bus import probe
from noetl_bus.broker import connect
from noetl_bus.rpc import RpcClient
from noetl_bus.topology import ensure_topology
from noetl_bus.writes import exchange
from noetl_catalog.settings import Settings as CatalogSettings
from noetl_common.traffic import Traffic
from noetl_contract.ingress import CancelMessage, ExecuteMessage
from noetl_contract.rpc.catalog import REGISTER, RegisterDocument
from noetl_contract.streams import STREAMS
from noetl_orchestrator.settings import Settings as OrchestratorSettings
from noetl_outbox.settings import Settings as OutboxSettings
from noetl_pg.sql.queries import Queries
from noetl_projector.settings import Settings as ProjectorSettings
from noetl_service.machine_ids import lease_machine_id
from noetl_service.service import Service, supervise
from noetl_worker.commands import Command
from noetl_worker.run.runner import Runner
from noetl_worker.settings import Settings as WorkerSettings
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.tool import ToolContext, ToolResult

from tests.simulation import clocks
from tests.simulation.database import Server, pool_opener
from tests.simulation.universe import Process

type Main = Callable[[], Awaitable[None]]

COMMON = {
    "nats_url": "nats://broker:4222",
    "postgres_host": "database",
    "postgres_user": "noetl",
    "postgres_password": "unused",
    "log_level": "error",
}
_NOT_TOLD = {"settings_in_effect", "stream_created", "durable_created", "encryption_key_missing"}
_RUNNING: ContextVar[Command | None] = ContextVar("running", default=None)


def install(server: Server) -> None:
    """Put the simulated parts where the shipped code takes its own; once a process."""
    opener = pool_opener(server)
    for app in (noetl_orchestrator.app, noetl_outbox.app, noetl_catalog.app, noetl_projector.app):
        app.open_pool = opener  # type: ignore[attr-defined]
    noetl_orchestrator.loops.run_hang_watch = _sleep_for_ever  # type: ignore[attr-defined]
    for name, value in (("_waited_seconds", 0.0), ("_others_running", 0), ("_allowed_cores", 1.0)):
        setattr(noetl_orchestrator.replicas.load, name, lambda value=value: value)
    stand_ins = {
        "_interpreters": _no_interpreters,
        "library_pools": lambda *_a, **_k: SimpleNamespace(close=_nothing),
        "open_edge": _no_client,
        "open_tool_client": _no_client,
        "run_guard": _sleep_for_ever,
        "run_lag_watch": _sleep_for_ever,
        "load_tools": lambda _parts: _toolbox(),
    }
    for name, stand_in in stand_ins.items():
        assert hasattr(noetl_worker.app, name), name
        setattr(noetl_worker.app, name, stand_in)
    probe.traffic_of = lambda one: Traffic(one.acknowledged, one.received)  # type: ignore[attr-defined]
    probe.is_moving = lambda one, since: probe.traffic_of(one) != since  # type: ignore[assignment]
    # Read once: nothing of it changes, and each world makes all processes anew.
    Queries.load = cache(Queries.load)  # type: ignore[method-assign]
    ssl.create_default_context = cache(ssl.create_default_context)
    paths._escape_literal_braces = cache(paths._escape_literal_braces)
    run = Runner.run

    async def observed(self: Runner, command: Command, store: Any) -> Any:
        _RUNNING.set(command)
        return await run(self, command, store)

    Runner.run = observed  # type: ignore[method-assign]
    structlog.configure(
        processors=[_into_trace],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    clocks.install_dates()


def _into_trace(_logger: Any, _level: str, event: Any) -> Any:
    """Put a line of a simulated process's log into the trace of its world."""
    loop = asyncio._get_running_loop()
    if isinstance(loop, Process) and event["event"] not in _NOT_TOLD:
        word = event.pop("event")
        error = event.pop("exc_info", None)
        said = " ".join(f"{name}={value}" for name, value in event.items())
        loop.universe.note(f"{loop.name}: {word} {said} {error or ''}".rstrip())
    raise structlog.DropEvent


def reset() -> None:
    """Begin what modules count from its beginning."""
    exchange._ATTEMPTS = count(1)
    exchange._ATTEMPT_PREFIX = "simulated"


# -- tools -----------------------------------------------------------------------------------


class Tools:
    """Behaviour of the tools of a world; the running world sets its own.

    Attributes:
        begin: is told of the begin of each run and returns its seconds.
        end: is told of the end.
    """

    begin: Callable[[str, Command], float]
    end: Callable[[str, Command], None]


TOOLS = Tools()


class _SimulatedTool:
    async def run(self, config: Any, context: ToolContext) -> ToolResult:
        del config
        command = _RUNNING.get()
        assert command is not None
        name = asyncio.get_running_loop().name  # type: ignore[attr-defined]
        await asyncio.sleep(TOOLS.begin(name, command))
        TOOLS.end(name, command)
        return ToolResult(data={"step": context.step})


def _toolbox() -> ToolRegistry:
    return ToolRegistry({"python": _SimulatedTool(), "noop": _SimulatedTool()})


# -- what is left out ------------------------------------------------------------------------


async def _sleep_for_ever(*_: object, **__: object) -> None:
    await asyncio.Event().wait()


async def _nothing() -> None:
    pass


async def _yes() -> bool:
    return True


@asynccontextmanager
async def _no_interpreters(*_: object) -> AsyncIterator[Any]:
    yield SimpleNamespace(is_ready=_yes, is_able=True)


@asynccontextmanager
async def _no_client(*_: object, **__: object) -> AsyncIterator[Any]:
    yield SimpleNamespace()


# -- processes -------------------------------------------------------------------------------


@cache
def _settings(kind: type[Any], **overrides: Any) -> Any:
    return kind(**COMMON, **overrides)


def _service(name: str, settings: Any, run: Callable[[Service], Any], started: Any) -> Main:
    async def main() -> None:
        service = Service(name, settings)
        async with supervise(service, run):
            started()
            await service.failed.wait()
            if service.failure is not None:
                raise service.failure

    return main


def orchestrator(started: Any, **overrides: Any) -> Main:
    """Return an orchestrator."""
    settings = _settings(OrchestratorSettings, **overrides)
    return _service(
        "orchestrator", settings, lambda s: noetl_orchestrator.app._running(s, settings), started
    )


def outbox(started: Any, **overrides: Any) -> Main:
    """Return an outbox relay."""
    settings = _settings(OutboxSettings, **overrides)
    return _service("outbox", settings, lambda s: noetl_outbox.app.open_relay(s, settings), started)


def projector(started: Any, **overrides: Any) -> Main:
    """Return a projector."""
    settings = _settings(ProjectorSettings, **overrides)
    return _service(
        "projector", settings, lambda s: noetl_projector.app.open_parts(s, settings), started
    )


def catalog(started: Any, **overrides: Any) -> Main:
    """Return a catalog."""
    settings = _settings(CatalogSettings, **overrides)
    return _service(
        "catalog", settings, lambda s: noetl_catalog.app.open_parts(s, settings), started
    )


def worker(started: Any, name: str, **overrides: Any) -> Main:
    """Return a worker."""
    settings = _settings(WorkerSettings, worker_id=name, **overrides)
    return _service("worker", settings, lambda s: noetl_worker.app._worker(settings, s), started)


class Edge:
    """The edge's sender of writes, as its routes use it."""

    def __init__(self) -> None:
        self.gateway: Any = None
        self.rpc: RpcClient | None = None

    def main(self, started: Any, **overrides: Any) -> Main:
        """Return the edge's process."""
        settings = _settings(EdgeSettings, **overrides)

        async def run() -> None:
            async with connect(settings, name="api-gateway") as bus:
                await ensure_topology(bus, STREAMS, ())
                self.rpc = RpcClient(bus)
                async with lease_machine_id(self.rpc, "api-gateway") as ids:
                    services = Services(bus, settings)
                    writer = IngressWriter(
                        bus,
                        shard_count=1,
                        max_waiting=settings.max_waiting_writes,
                        check_seconds=settings.ingress_check_seconds,
                        backlog=Backlog(limit=settings.max_ingress_backlog),
                        large=LargeWrites(bus, services, next_id=ids.next),
                        is_direct=settings.writes_are_direct,
                    )
                    self.gateway = SimpleNamespace(
                        settings=settings, writer=writer, services=services, ids=ids, bus=bus
                    )
                    started()
                    try:
                        await asyncio.Event().wait()
                    finally:
                        self.gateway = None

        return run

    async def register(self, text: str) -> tuple[int, str]:
        """Register a playbook; return its catalog id and its path."""
        assert self.rpc is not None
        answer = await self.rpc.ask(REGISTER, RegisterDocument(content=text), seconds=10.0)
        return int(answer.catalog_id), answer.path

    async def start(
        self, execution_id: int, catalog_id: int, path: str, key: str | None
    ) -> tuple[int, str]:
        """Start an execution; return the status and, if it is 200, the execution's id."""
        message = ExecuteMessage(
            execution_id=execution_id,
            catalog_id=catalog_id,
            path=path,
            version=1,
            idempotency_key=key,
        )
        try:
            answer = await edge_start._committed(self.gateway, message)
        except Refusal as refusal:
            return refusal.status, refusal.text
        return 200, answer.execution_id

    async def cancel(self, execution_id: int) -> int:
        """Cancel an execution; return the status."""
        message = CancelMessage(execution_id=execution_id, reason="simulated")
        try:
            await edge_termination._ended(self.gateway, message)
        except Refusal as refusal:
            return refusal.status
        return 200
