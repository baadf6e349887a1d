"""Build the worker; all its parts are made here."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from hashlib import blake2b

from noetl_bus.broker import Bus, connect
from noetl_bus.consumers.pull import run_pull_each
from noetl_bus.topology import ensure_topology, run_topology_watch
from noetl_common.crypto.sealed import SealingKey
from noetl_common.egress import Egress
from noetl_common.environment.secret_files import secret_of
from noetl_common.ids import SnowflakeIds
from noetl_common.logging import get_logger
from noetl_contract.streams import COMMANDS
from noetl_contract.subjects import WATCH_HINT, control_subject
from noetl_service.server import allow_connections
from noetl_service.service import Service, ServiceApp, create_service_app
from noetl_template import Limits, use_limits

from noetl_worker.bounded_http import open_tool_client
from noetl_worker.control_plane.edge import Edge, open_edge
from noetl_worker.control_plane.registration import Identity
from noetl_worker.control_plane.result_stores import EdgeResultStore, RpcResultStore
from noetl_worker.credentials.cache import CredentialCache
from noetl_worker.credentials.source import EdgeCredentials
from noetl_worker.hosting.place import place_for_scripts
from noetl_worker.interpreters.guard import TreeLimits
from noetl_worker.interpreters.isolation import tell_isolation
from noetl_worker.interpreters.nursery import FILES_EACH, InterpreterLimits, ScriptBox
from noetl_worker.interpreters.pool import InterpreterPool, Keeping, interpreter_pool
from noetl_worker.libraries.made import library_pools
from noetl_worker.loops import register_until_done, run_guard, run_heartbeats, run_lag_watch
from noetl_worker.output.channels import BusOutput, EdgeOutput
from noetl_worker.output.limits import OutputLimits
from noetl_worker.output.outputs import Outputs
from noetl_worker.run.policy import PolicyLimits
from noetl_worker.run.reports import Reporter
from noetl_worker.run.results import reported_result
from noetl_worker.run.runner import Runner
from noetl_worker.settings import Settings
from noetl_worker.tools.http.hosts import addresses_of
from noetl_worker.tools.registry import ToolRegistry, load_tools
from noetl_worker.tools.tool import ToolParts
from noetl_worker.traces import traced
from noetl_worker.transports.fast.channel import Channel
from noetl_worker.transports.fast.claims import Claims
from noetl_worker.transports.fast.messages import Messages
from noetl_worker.transports.fast.over_bus import BusChannel, BusControl
from noetl_worker.transports.fast.over_edge import EdgeChannel
from noetl_worker.transports.fast.pending_outcomes import PendingOutcomes
from noetl_worker.transports.fast.timing import Timing
from noetl_worker.transports.fast.transport import FastTransport
from noetl_worker.transports.hearing import Hearing
from noetl_worker.transports.http import HttpTransport
from noetl_worker.transports.runs import Runs
from noetl_worker.transports.shares import SlotShares
from noetl_worker.transports.transport import Control, Transport
from noetl_worker.transports.work import Work
from noetl_worker.workloads import Workloads

_log = get_logger()
_LONGEST_GOODBYE_SECONDS = 5.0
"""Of the grace of a stop, the part for answers to outcomes and for deregistration."""


def create_app(settings: Settings | None = None) -> ServiceApp:
    """Return the worker as an ASGI app with health and metrics."""
    settings = settings or Settings()
    use_limits(Limits(max_source_chars=settings.template_source_chars))

    @asynccontextmanager
    async def run(service: Service) -> AsyncIterator[None]:
        async with _worker(settings, service):
            yield

    return create_service_app("worker", run, settings)


@asynccontextmanager
async def _worker(settings: Settings, service: Service) -> AsyncIterator[None]:
    limits = _script_limits(settings)
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(connect(settings, name="worker"))
        edge = await stack.enter_async_context(open_edge(settings))
        http = await stack.enter_async_context(
            open_tool_client(
                seconds=settings.worker_http_timeout_seconds, egress=Egress.from_settings(settings)
            )
        )
        own_http = await stack.enter_async_context(
            open_tool_client(seconds=settings.worker_http_timeout_seconds)
        )
        pool = await stack.enter_async_context(_interpreters(settings, limits))
        libraries = library_pools(settings, edge, limits=limits)
        stack.push_async_callback(libraries.close)
        toolbox = load_tools(
            ToolParts(
                settings=settings,
                http=http,
                own_http=own_http,
                interpreters=pool,
                libraries=libraries,
                edge=edge,
                report_result=partial(reported_result, store=EdgeResultStore(edge)),
            )
        )
        stack.push_async_callback(toolbox.close)
        runs, hearing = Runs(toolbox.parking), Hearing()
        outputs = _outputs(settings, bus, edge)
        transport = _transport(
            settings,
            bus=bus,
            edge=edge,
            toolbox=toolbox,
            runs=runs,
            hearing=hearing,
            outputs=outputs,
        )
        await bus.subscribe(control_subject(settings.pool()), runs.on_hint)
        await bus.subscribe(WATCH_HINT, outputs.on_hint)
        durable = settings.durable()
        service.ready_when("bus", bus.is_ready)
        service.ready_when("scripts", pool.is_ready)
        await ensure_topology(bus, (COMMANDS,), (durable,))
        service.spawn("hearing", hearing.follow(bus, durable.stream))
        service.spawn("topology", run_topology_watch(bus, (COMMANDS,), (durable,)))
        seconds = settings.worker_nats_lag_poll_interval
        service.spawn("lag", run_lag_watch(bus, durable, hearing.clock, seconds=seconds))
        service.spawn("guard", run_guard(pool, _tree_limits(settings)))
        service.spawn("library_guard", run_guard(libraries, _tree_limits(settings)))
        for tool in toolbox.parking:
            service.spawn("parked", tool.watch())
        await register_until_done(transport)
        service.spawn(
            "commands", _work(settings, service, bus, transport, is_able=lambda: pool.is_able)
        )
        yield


async def _work(
    settings: Settings,
    service: Service,
    bus: Bus,
    transport: Transport,
    *,
    is_able: Callable[[], bool],
) -> None:
    """Pull, run, report; when cancelled, end the running commands and wait for the answers."""
    grace = settings.shutdown_grace_seconds
    goodbye = min(_LONGEST_GOODBYE_SECONDS, grace * 0.3)
    try:
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(transport.run_confirmations(), name="confirmations"),
                group.create_task(
                    run_heartbeats(
                        transport,
                        seconds=settings.worker_heartbeat_interval,
                        beat=service.beater("heartbeats"),
                    ),
                    name="heartbeats",
                ),
            ]
            try:
                await run_pull_each(
                    bus,
                    settings.durable(),
                    SlotShares(
                        traced(transport.handle),
                        slots=settings.worker_max_concurrent,
                        share=settings.pool_share,
                        is_able=is_able,
                    ),
                    permits=settings.worker_max_concurrent,
                    drain_seconds=grace - goodbye,
                    on_progress=service.beater("commands"),
                )
            finally:
                await asyncio.shield(transport.settle(seconds=goodbye / 2))
                for task in beside:
                    task.cancel()
    finally:
        await asyncio.shield(transport.deregister())


def _transport(
    settings: Settings,
    *,
    bus: Bus,
    edge: Edge,
    toolbox: ToolRegistry,
    runs: Runs,
    hearing: Hearing,
    outputs: Outputs,
) -> Transport:
    sealing = SealingKey()
    identity = Identity.of_this_process(settings, public_key=sealing.public, kinds=toolbox.kinds)
    ids = SnowflakeIds(_machine_id(settings))
    _log.info("tools_loaded", kinds=toolbox.kinds, worker_id=identity.worker_id)
    # An outcome holds the text of an error twice, and escaped it may be longer.
    most = bus.largest_message // 8
    reporter = Reporter(worker_id=identity.worker_id, next_id=ids.next, error_bytes=most)
    timing = Timing(start_after_seconds=settings.worker_start_after_seconds)
    over_edge, workloads = EdgeChannel(edge), Workloads(settings.worker_workload_bytes)
    is_over_http = settings.worker_transport == "http"
    edge_results = EdgeResultStore(edge)
    runner = _runner(settings, edge, toolbox, identity=identity, sealing=sealing, outputs=outputs)
    work = Work(runner, edge_results, runs)
    over_http = HttpTransport(
        edge,
        identity=identity,
        work=work,
        reporter=reporter,
        workloads=workloads,
    )
    if is_over_http and not settings.fast_path_enabled:
        return over_http
    if not is_over_http:
        work = replace(work, results=RpcResultStore(bus, edge=edge_results, next_id=ids.next))
    over_bus = BusControl(bus, identity=identity, runs=runs, seconds=timing.claim_seconds)
    channel, control = _way(settings, bus, over_edge, over_http, over_bus)
    transport = FastTransport(
        Messages(
            channel,
            identity=identity,
            reporter=reporter,
            pending_outcomes=PendingOutcomes(
                most=settings.worker_unconfirmed_max,
                most_bytes=settings.worker_unconfirmed_max_bytes,
            ),
            timing=timing,
        ),
        claims=Claims(channel, identity=identity, timing=timing, workloads=workloads),
        control=control,
        work=work,
        other=over_http,
        hearing=hearing,
        fast_path=settings.fast_path_enabled,
    )
    bus.on_reconnect(transport.wake)
    return transport


def _way(
    settings: Settings,
    bus: Bus,
    over_edge: EdgeChannel,
    over_http: HttpTransport,
    over_bus: BusControl,
) -> tuple[Channel, Control]:
    """Return how the fast path reaches the control plane."""
    if settings.worker_transport == "http":
        return over_edge, over_http
    return BusChannel(bus, is_direct=settings.writes_are_direct), over_bus


def _runner(
    settings: Settings,
    edge: Edge,
    toolbox: ToolRegistry,
    *,
    identity: Identity,
    sealing: SealingKey,
    outputs: Outputs,
) -> Runner:
    secrets = _secrets(settings)
    return Runner(
        toolbox=toolbox,
        worker_id=identity.worker_id,
        secrets={name: value for name, (value, _) in secrets.items()},
        secret_hosts={name: hosts for name, (_, hosts) in secrets.items() if hosts is not None},
        credentials=EdgeCredentials(
            edge,
            worker_id=identity.worker_id,
            sealing=sealing if settings.sealed_credentials else None,
            cache=CredentialCache(
                seconds=settings.worker_credential_cache_seconds,
                most=settings.worker_credential_cache_max,
            ),
        ),
        limits=PolicyLimits(
            max_attempts=settings.worker_retry_max_attempts,
            max_wait_seconds=settings.worker_retry_max_wait_seconds,
            max_runs=settings.task_sequence_max_iterations,
        ),
        outputs=outputs,
    )


def _outputs(settings: Settings, bus: Bus, edge: Edge) -> Outputs:
    """Return the outputs of runs: their lines go over HTTP where outcomes go that way."""
    is_over_http = settings.worker_transport == "http"
    limits = OutputLimits(
        bytes_per_second=settings.worker_output_bytes_per_second,
        most_bytes=settings.worker_output_bytes,
    )
    return Outputs(EdgeOutput(edge) if is_over_http else BusOutput(bus), limits)


def _machine_id(settings: Settings) -> int:
    """Return the machine bits of this worker's event ids.

    Not leased: a worker must go on while the catalog is away, and equal ids of two workers are
    distinguished where they are stored (W3).
    """
    if settings.snowflake_node_id is not None:
        return settings.snowflake_node_id & 0x3FF
    digest = blake2b(settings.worker_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) & 0x3FF


def _secrets(settings: Settings) -> dict[str, tuple[str, tuple[str, ...] | None]]:
    """Return the variables that the operator lets tools use, and the hosts they may be sent to.

    What is NoETL's own, such as the internal token, goes to the control plane only.
    """
    own = addresses_of(settings.server_url, settings.public_server_url)
    found: dict[str, tuple[str, tuple[str, ...] | None]] = {}
    for entry in settings.keychain_env_vars.split(","):
        name, has_hosts, hosts = entry.strip().partition("@")
        value = secret_of(os.environ, name) if name else None
        if value and has_hosts:
            found[name] = value, tuple(hosts.split("|"))
        elif value:
            found[name] = value, own if name.startswith("NOETL_") else None
    return found


def _tree_limits(settings: Settings) -> TreeLimits:
    return TreeLimits(
        processes=settings.worker_python_processes,
        memory_bytes=settings.worker_python_memory_bytes,
        files=settings.worker_python_directory_files,
        files_bytes=settings.worker_python_directory_bytes,
    )


def _script_box(settings: Settings) -> ScriptBox | None:
    if not settings.worker_script_isolated:
        return None
    return ScriptBox(
        read=settings.worker_script_read_paths,
        write=settings.worker_script_write_paths,
        ports=settings.script_ports(),
    )


def _script_limits(settings: Settings) -> InterpreterLimits:
    return InterpreterLimits(
        memory_bytes=settings.worker_python_memory_bytes,
        file_bytes=settings.worker_python_file_bytes,
        output_bytes=settings.worker_python_output_bytes,
        result_bytes=settings.worker_python_result_bytes,
        box=_script_box(settings),
        place=str(place_for_scripts(settings)),
        shortcuts=settings.shortcuts,
    )


@asynccontextmanager
async def _interpreters(
    settings: Settings, limits: InterpreterLimits
) -> AsyncIterator[InterpreterPool]:
    tell_isolation(limits.box)
    # The slots of the worker bound the scripts at work; kept processes need places too.
    wanted = settings.worker_max_concurrent + settings.worker_python_kept
    size = max(1, allow_connections(wanted * FILES_EACH) // FILES_EACH)
    async with interpreter_pool(
        executable=settings.python_path or None,
        limits=limits,
        size=size,
        warm=settings.worker_python_warm,
        keeping=Keeping(
            most=settings.worker_python_kept, seconds=settings.worker_python_kept_seconds
        ),
        patience_seconds=settings.worker_script_start_seconds,
    ) as pool:
        yield pool
