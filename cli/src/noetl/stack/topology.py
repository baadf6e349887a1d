"""Streams and durables, created or updated by the one function that every service uses."""

import asyncio

from noetl_common.bus.broker import connect
from noetl_common.bus.topology import ensure_topology
from noetl_common.settings import NatsSettings
from noetl_contract.streams import (
    STREAMS,
    ingress_durable,
    pool_durable,
    projector_durable,
)
from pydantic import SecretStr

from noetl.stack.errors import StackError

PATIENCE_SECONDS = 30.0
POOL = "shared"


def apply(nats_url: str, *, shards: int = 1) -> list[str]:
    """Creates or updates everything that a stack needs.

    Idempotent, and safe while services do the same.

    Returns:
        Names of the streams, and `stream/durable` of the durables.

    Raises:
        StackError: the server can't be reached or refuses.
    """
    return asyncio.run(_apply(nats_url, shards))


async def _apply(nats_url: str, shards: int) -> list[str]:
    durables = (
        *(ingress_durable(shard) for shard in range(shards)),
        *(projector_durable(shard) for shard in range(shards)),
        pool_durable(POOL),
    )
    settings = NatsSettings(nats_url=SecretStr(nats_url))
    try:
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            connect(settings, name="noetl-server topology") as bus,
        ):
            await ensure_topology(bus, STREAMS, durables)
    except TimeoutError:
        raise StackError(
            f"NATS did not take the topology within {PATIENCE_SECONDS:.0f} s"
        ) from None
    return [stream.name for stream in STREAMS] + [f"{d.stream}/{d.name}" for d in durables]
