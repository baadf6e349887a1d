"""Build the subscription runtime: the worker with `WORKER_MODE=subscription`."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from noetl_common.crypto.sealed import SealingKey
from noetl_common.egress import Egress
from noetl_common.logging import get_logger
from noetl_common.retry import backoff
from noetl_contract.json import JsonObject
from noetl_service.service import Service, ServiceApp, create_service_app

from noetl_worker.bounded_http import open_tool_client
from noetl_worker.control_plane.edge import Edge, open_edge
from noetl_worker.control_plane.registration import Identity
from noetl_worker.credentials.cache import CredentialCache
from noetl_worker.credentials.source import EdgeCredentials
from noetl_worker.credentials.type_mappings import apply_type
from noetl_worker.settings import Settings
from noetl_worker.sources.registry import Sources
from noetl_worker.sources.source import Source, WrongSource
from noetl_worker.subscriptions.circuit import Circuit, probe_of
from noetl_worker.subscriptions.control import Control, ControlPlaneAway, Document
from noetl_worker.subscriptions.dead_letters import DeadLetters
from noetl_worker.subscriptions.parts import OpenSource, Parts
from noetl_worker.subscriptions.runtime import Runtime
from noetl_worker.subscriptions.spool.spool import make_spool
from noetl_worker.tools.google_tokens import GoogleTokens
from noetl_worker.tools.tool import ToolError

_log = get_logger()

_STATES_LEFT_BEHIND = frozenset({"DRAINING"})


def create_app(settings: Settings | None = None) -> ServiceApp:
    """Return the runtime as an ASGI app with health and metrics."""
    settings = settings or Settings()

    @asynccontextmanager
    async def run(service: Service) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            edge = await stack.enter_async_context(open_edge(settings))
            sources = await _sources(settings, stack)
            service.spawn("subscription", _work(settings, service, edge, sources))
            yield

    return create_service_app("worker", run, settings)


async def _sources(settings: Settings, stack: AsyncExitStack) -> Sources:
    seconds = settings.worker_http_timeout_seconds
    egress = Egress.from_settings(settings)
    client = await stack.enter_async_context(open_tool_client(seconds=seconds, egress=egress))
    own = await stack.enter_async_context(open_tool_client(seconds=seconds))
    tokens = GoogleTokens(own, settings)
    return Sources(egress=egress, client=client, tokens=tokens.token, consumer=settings.worker_id)


async def _work(settings: Settings, service: Service, edge: Edge, sources: Sources) -> None:
    """Read the subscription until it ends or the process does."""
    control = Control(edge, settings.subscription_path)
    beat = service.beater("subscription")
    document = await _activated(control, beat)
    fields = await _connection(settings, edge, control, document)
    dead_letters = DeadLetters(
        control,
        to=document.spec.dead_letter.to,
        settings=settings,
        source=document.spec.source,
        path=document.path,
    )

    async def open_source() -> Source:
        limits, poll = document.spec.limits, document.spec.runtime
        prefetch = limits.max_in_flight or poll.batch
        source = await sources.make(document.spec.source, fields, prefetch=prefetch, makes=True)
        await source.open()
        return source

    runtime = Runtime(
        _parts(
            settings,
            control=control,
            document=document,
            open_source=open_source,
            dead_letters=dead_letters,
            beat=beat,
        )
    )

    async def is_reading() -> bool:
        return runtime.is_reading

    service.ready_when("source", is_reading)
    grace = settings.shutdown_grace_seconds
    try:
        await runtime.run()
    finally:
        await asyncio.shield(_end(runtime, control, seconds=grace * 0.6))
        await asyncio.shield(dead_letters.close())
    # Drained by an operator: there is nothing left to do, which is no failure.
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.Event().wait()


async def _activated(control: Control, beat: Callable[[], None]) -> Document:
    """Read the document, and have its subscription active; waits for the control plane."""
    async for _ in backoff(first_seconds=0.2, longest_seconds=5.0):
        beat()
        try:
            document = await control.read()
            if await control.register() in _STATES_LEFT_BEHIND:
                # A process that was to drain it is gone; what it had not settled comes again.
                await control.act("deactivate")
                await control.register()
            await control.act("activate")
        except ControlPlaneAway as error:
            _log.warning("control_plane_away", reason=str(error))
        else:
            _log.info(
                "subscription_active", path=document.path, subscription=control.subscription_id
            )
            return document
    raise AssertionError("unreachable")


def _parts(
    settings: Settings,
    *,
    control: Control,
    document: Document,
    open_source: OpenSource,
    dead_letters: DeadLetters,
    beat: Callable[[], None],
) -> Parts:
    spec = document.spec
    servers = settings.nats_url.get_secret_value().split(",")
    probe = probe_of(spec.circuit, server_url=settings.server_url, nats_url=servers[0])
    spool = make_spool(
        spec.spool,
        root=settings.subscription_spool_dir,
        servers=servers,
        path=document.path,
        source=spec.source,
    )
    return Parts(
        control=control,
        document=document,
        open_source=open_source,
        circuit=Circuit(spec.circuit, probe),
        dead_letters=dead_letters,
        spool=spool,
        poll_seconds=settings.subscription_poll_seconds,
        beat=beat,
    )


async def _connection(
    settings: Settings, edge: Edge, control: Control, document: Document
) -> JsonObject:
    """Return the fields of the connection, with those of the credential that it names."""
    alias = document.spec.auth
    if alias is None:
        return document.fields
    sealing = SealingKey() if settings.sealed_credentials else None
    if sealing is not None:
        identity = Identity.of_this_process(settings, public_key=sealing.public)
        await edge.call_json("POST", "/api/worker/pool/register", identity.registration())
    credentials = EdgeCredentials(
        edge,
        worker_id=settings.worker_id,
        sealing=sealing,
        cache=CredentialCache(seconds=0, most=1),
    )
    try:
        found = await credentials.find(alias, execution_id=control.subscription_id, server_url="")
        applied = apply_type(found)
    except ToolError as error:
        raise WrongSource(str(error)) from error
    own = {name: value for name, value in document.fields.items() if value is not None}
    return {**applied.fields, **own}


async def _end(runtime: Runtime, control: Control, *, seconds: float) -> None:
    """Settle the messages taken, then take the subscription out of service.

    One that has something unsettled stays registered: what comes again is known there.
    """
    is_settled = await runtime.finish(seconds=seconds)
    if not is_settled:
        _log.warning("subscription_left_active", reason="not everything is settled")
        return
    for action in ("drain", "deactivate"):
        try:
            await control.act(action)
        except (ControlPlaneAway, WrongSource) as error:
            _log.warning("subscription_not_ended", action=action, reason=str(error))
