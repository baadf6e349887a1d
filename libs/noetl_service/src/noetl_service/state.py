"""The state of a process for operators: readiness, settings and consumers."""

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from noetl_bus.broker import Bus
from noetl_bus.jetstream import ConsumerInfo, consumer_info, list_consumers
from noetl_bus.rpc import Handler, handle
from noetl_common.errors import NoetlError
from noetl_contract.http.system.state import (
    OutboxState,
    QueueState,
    ServiceState,
    WorkerLoad,
)
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.operation import Operation
from noetl_contract.streams import COMMANDS, DurableSpec

from noetl_service.health import UNKNOWN, version_of
from noetl_service.settings import ServiceSettings

_STARTED = time.monotonic()
_TIMEOUT_SECONDS = 1.0
"""Timeout of each part of a state; the parts are read concurrently."""
_MOST_POOLS = 200


class Process(Protocol):
    """A process whose state can be read."""

    name: str
    settings: ServiceSettings

    async def readiness(self) -> dict[str, str]:
        """Return the result of each check: ``ok``, or the reason of its failure."""


type Read[Part] = Callable[[], Awaitable[Part]]


def state_handler(
    process: Process,
    operation: Operation[Nothing, ServiceState],
    *,
    shard: int | None = None,
    queues: Read[list[QueueState]] | None = None,
    outbox: Read[OutboxState] | None = None,
    workers: Read[list[WorkerLoad]] | None = None,
) -> Handler:
    """Return the handler of a service's state, with parts that only this service has."""

    async def on_state(_request: Nothing) -> ServiceState:
        unknown: list[str] = []

        async def part[Part](name: str, read: Read[Part] | None) -> Part | None:
            if read is None:
                return None
            try:
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    return await read()
            except NoetlError as error:
                unknown.append(f"{name}: {error.message}")
            except TimeoutError:
                unknown.append(f"{name}: no answer in time")
            return None

        found, backlog, loads, state = await asyncio.gather(
            part("queues", queues),
            part("outbox", outbox),
            part("workers", workers),
            state_of(process, shard=shard),
        )
        more = {"queues": found or [], "outbox": backlog, "workers": loads, "unknown": unknown}
        return state.model_copy(update=more)

    return handle(operation, on_state)


async def state_of(process: Process, *, shard: int | None = None) -> ServiceState:
    """Return the parts of the state that every process has."""
    return ServiceState(
        service=process.name,
        shard=shard,
        version=version_of(process.name),
        revision=process.settings.build_revision or UNKNOWN,
        python=platform.python_version(),
        uptime_seconds=round(time.monotonic() - _STARTED, 1),
        readiness=await process.readiness(),
        settings=process.settings.with_sources(),
        queues=[],
        outbox=None,
        workers=None,
        unknown=[],
    )


async def queue_states(bus: Bus, durables: Sequence[DurableSpec]) -> list[QueueState]:
    """Return the progress of consumers.

    Raises:
        BusUnavailable, TopologyRefused: the broker doesn't answer, or refuses.
    """
    infos = await asyncio.gather(
        *(consumer_info(bus, one.stream, one.name, seconds=_TIMEOUT_SECONDS) for one in durables)
    )
    return [
        QueueState(stream=one.stream, consumer=one.name, exists=False)
        if info is None
        else _queue(one.stream, info)
        for one, info in zip(durables, infos, strict=True)
    ]


async def pool_states(bus: Bus) -> list[QueueState]:
    """Return the progress of the consumers of the worker pools.

    Raises:
        BusUnavailable, TopologyRefused: see `queue_states`.
    """
    found = await list_consumers(bus, COMMANDS.name, seconds=_TIMEOUT_SECONDS) or []
    return [_queue(COMMANDS.name, one) for one in found[:_MOST_POOLS]]


def _queue(stream: str, info: ConsumerInfo) -> QueueState:
    return QueueState(
        stream=stream,
        consumer=info.name,
        exists=True,
        pending=info.pending,
        unanswered=info.unanswered,
        redelivered=info.redelivered,
    )
