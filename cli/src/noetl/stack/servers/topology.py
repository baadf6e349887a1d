"""Streams and durables, created or updated by the one function that every service uses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from noetl_bus.broker import Bus, connect
from noetl_bus.settings import NatsSettings
from noetl_bus.topology import ensure_topology
from noetl_common.errors import NoetlError
from noetl_contract.streams import (
    STREAMS,
    ingress_durable,
    pool_durable,
    projector_durable,
)
from pydantic import SecretStr

from noetl.stack.errors import StackError
from noetl.stack.servers.nats_probe import NatsProbe

PATIENCE_SECONDS = 30.0
POOL = "shared"


def apply(nats_url: str, *, shards: int = 1) -> list[str]:
    """Create or update the streams and durables that a stack needs.

    Idempotent, and safe while services do the same.

    Returns:
        Names of the streams, and `stream/durable` of the durables.

    Raises:
        StackError: the server can't be reached or refuses.
    """
    return asyncio.run(_apply(nats_url, shards))


class BrokerUnreachable(StackError):
    """There is no connection to the broker; the text says why."""


@asynccontextmanager
async def connected(
    nats_url: str, *, name: str, seconds: float = PATIENCE_SECONDS
) -> AsyncIterator[Bus]:
    """Open a connection for the block.

    Raises:
        BrokerUnreachable: there is none in time.
    """
    settings = NatsSettings(nats_url=SecretStr(nats_url))
    async with AsyncExitStack() as cleanup:
        try:
            async with asyncio.timeout(seconds):
                bus = await cleanup.enter_async_context(connect(settings, name=name))
        except (TimeoutError, NoetlError) as error:
            # The client only goes on trying; a bare connection gets the reason.
            reason = await asyncio.to_thread(_why, nats_url)
            text = reason or f"NATS did not answer within {seconds:.0f} s: {error}".rstrip(": ")
            raise BrokerUnreachable(text) from None
        yield bus


def _why(nats_url: str) -> str:
    try:
        with NatsProbe(nats_url.split(",", maxsplit=1)[0].strip()):
            return ""
    except OSError as error:
        return str(error) or type(error).__name__


async def _apply(nats_url: str, shards: int) -> list[str]:
    durables = (
        *(ingress_durable(shard) for shard in range(shards)),
        *(projector_durable(shard) for shard in range(shards)),
        pool_durable(POOL),
    )
    async with connected(nats_url, name="noetl-server topology") as bus:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await ensure_topology(bus, STREAMS, durables)
        except TimeoutError:
            raise StackError(
                f"NATS did not take the topology within {PATIENCE_SECONDS:.0f} s"
            ) from None
    return [stream.name for stream in STREAMS] + [f"{d.stream}/{d.name}" for d in durables]
