"""Streams and durables, created or updated by the one function that every service uses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from noetl_common.bus.broker import Bus, connect
from noetl_common.bus.topology import ensure_topology
from noetl_common.settings import NatsSettings
from noetl_contract.streams import (
    STREAMS,
    ingress_durables,
    pool_durable,
    projector_durable,
)
from pydantic import SecretStr

from noetl.stack.errors import StackError

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


@asynccontextmanager
async def connected(nats_url: str, *, name: str) -> AsyncIterator[Bus]:
    """Open a connection for the block.

    Raises:
        StackError: there is none in time.
    """
    settings = NatsSettings(nats_url=SecretStr(nats_url))
    async with AsyncExitStack() as cleanup:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                bus = await cleanup.enter_async_context(connect(settings, name=name))
        except TimeoutError:
            raise StackError(f"NATS did not answer within {PATIENCE_SECONDS:.0f} s") from None
        yield bus


async def _apply(nats_url: str, shards: int) -> list[str]:
    durables = (
        *(durable for shard in range(shards) for durable in ingress_durables(shard)),
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
