"""Requests to the services behind the edge; their replies are HTTP-shaped (contract `rpc`)."""

import asyncio
from typing import Any

from noetl_common.bus.broker import Bus
from noetl_common.bus.rpc import RpcClient, RpcUnavailable
from noetl_contract.rpc import RpcReply
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import rpc_subject

from noetl_api_gateway.refusals import Refusal, unavailable

__all__ = ["Services", "body_of"]

type Json = Any

_SHORTEST_TRY_SECONDS = 0.05


class Services:
    """Asks a service and asks again while nobody answers, within a patience.

    Everything asked here may be asked twice, `register` apart; a service that was restarting is
    there again after a moment, and the caller need not know (http-a 1.14).

    Args:
        bus: the connection.
        shard_count: shards of the cluster.
        try_seconds: patience with one try.
        patience_seconds: patience with all tries together.
    """

    def __init__(
        self, bus: Bus, *, shard_count: int, try_seconds: float, patience_seconds: float
    ) -> None:
        self._bus = bus
        self._rpc = RpcClient(bus)
        self.shard_count = shard_count
        self._try_seconds = try_seconds
        self._patience_seconds = patience_seconds

    async def catalog(
        self, operation: str, request: Json, *, patience_seconds: float | None = None
    ) -> RpcReply:
        """Ask the catalog service."""
        subject = rpc_subject("catalog", operation)
        return await self._ask(subject, request, patience_seconds)

    async def register(self, request: Json) -> RpcReply:
        """Register a document: asked once, since each time makes a version."""
        subject = rpc_subject("catalog", "register")
        try:
            return await self._rpc.call(
                subject, request, timeout=self._patience_seconds, wait_for_responder=True
            )
        except RpcUnavailable as error:
            raise unavailable("The catalog service did not answer in time") from error

    async def store_result(self, request: Json, *, execution_id: int) -> RpcReply:
        """Hand a result to the store, however large it is."""
        return await self.projector("result.put", request, execution_id=execution_id)

    async def projector(
        self,
        operation: str,
        request: Json,
        *,
        execution_id: int | None = None,
        shard: int = 0,
        patience_seconds: float | None = None,
    ) -> RpcReply:
        """Ask the projector of an execution's shard, or of a shard."""
        subject = rpc_subject("projector", operation, shard=self._shard(execution_id, shard))
        return await self._ask(subject, request, patience_seconds)

    async def orchestrator(
        self,
        operation: str,
        request: Json,
        *,
        execution_id: int | None = None,
        shard: int = 0,
        patience_seconds: float | None = None,
    ) -> RpcReply:
        """Ask the orchestrator of an execution's shard, or of a shard."""
        subject = rpc_subject("orchestrator", operation, shard=self._shard(execution_id, shard))
        return await self._ask(subject, request, patience_seconds)

    async def pool_status(self, *, patience_seconds: float) -> RpcReply | None:
        """Ask an orchestrator for figures of its pool; None when nobody has any."""
        subject = rpc_subject("orchestrator", "pool.status", shard=0)
        try:
            return await self._rpc.call(subject, {}, timeout=patience_seconds)
        except RpcUnavailable:
            return None

    def _shard(self, execution_id: int | None, shard: int) -> int:
        if execution_id is None:
            return shard
        return shard_for(execution_id, shard_count=self.shard_count)

    async def _ask(self, subject: str, request: Json, patience_seconds: float | None) -> RpcReply:
        patience = self._patience_seconds if patience_seconds is None else patience_seconds
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while True:
            seconds = min(self._try_seconds, max(_SHORTEST_TRY_SECONDS, deadline - loop.time()))
            try:
                return await self._rpc.call(
                    subject, request, timeout=seconds, wait_for_responder=True
                )
            except RpcUnavailable as error:
                if deadline - loop.time() <= _SHORTEST_TRY_SECONDS:
                    service = subject.split(".")[1]
                    raise unavailable(f"The {service} service did not answer in time") from error


def body_of(reply: RpcReply) -> Json:
    """Return the body of a 2xx reply.

    Raises:
        Refusal: the reply says something else.
    """
    if 200 <= reply.status < 300:
        return reply.body
    text = reply.error or f"The service answered with status {reply.status}"
    headers = {"retry-after": "1"} if reply.status in {429, 503} else {}
    raise Refusal(reply.status, text, detail=reply.detail, headers=headers)
