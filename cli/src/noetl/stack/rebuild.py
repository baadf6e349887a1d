"""Rebuild the read model page by page; the projectors do the work (P3)."""

import asyncio
from dataclasses import dataclass

from noetl_bus.rpc import RpcClient, RpcRefused, RpcUnavailable
from noetl_contract.rpc.projector import PROJECTION_REBUILD, RebuildPage

from noetl.stack.errors import StackError
from noetl.stack.servers.topology import connected

PAGE = 1000
PAGE_SECONDS = 60.0


@dataclass
class Rebuilt:
    """Count of rows written again, and of rows removed because they belonged to no execution."""

    rewritten: int = 0
    removed: int = 0


def rebuild(nats_url: str, *, shards: int = 1, page: int = PAGE) -> Rebuilt:
    """Rebuild the read model of all shards.

    Raises:
        StackError: the broker or a projector doesn't answer, or refuses.
    """
    return asyncio.run(_rebuild(nats_url, shards, page))


async def _rebuild(nats_url: str, shards: int, page: int) -> Rebuilt:
    done = Rebuilt()
    async with connected(nats_url, name="noetl-server rebuild") as bus:
        client = RpcClient(bus)
        for shard in range(shards):
            await _rebuild_shard(client, shard, page, done)
    return done


async def _rebuild_shard(client: RpcClient, shard: int, page: int, done: Rebuilt) -> None:
    request = RebuildPage(limit=page)
    while True:
        try:
            answer = await client.ask(
                PROJECTION_REBUILD,
                request,
                seconds=PAGE_SECONDS,
                shard=shard,
                wait_for_responder=True,
            )
        except RpcUnavailable as error:
            raise StackError(f"the projector of shard {shard} gives {error.message}") from error
        except RpcRefused as error:
            raise StackError(f"the projector of shard {shard} answered: {error.message}") from error
        done.rewritten += answer.rewritten
        done.removed += answer.removed
        if answer.after is None:
            return
        request = RebuildPage(limit=page, after=answer.after)
