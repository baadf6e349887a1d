"""Requests to the services behind the edge; their replies are HTTP-shaped (contract `rpc`)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import orjson
from noetl_common.bus.broker import Bus
from noetl_common.bus.rpc import RpcClient, RpcUnavailable
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import rpc_subject

from noetl_api_gateway.http.refusals import Refusal, unavailable

if TYPE_CHECKING:
    from noetl_common.bus.inbox import Incoming


_SHORTEST_TRY_SECONDS = 0.05
_ENVELOPE_BYTES = 2048  # subject, headers, reply subject


class Services:
    """Send requests to services, again while no answer comes, within a timeout.

    All requests may be repeated, those of `once` apart; so a service may restart unnoticed.

    Args:
        bus: the connection.
        shard_count: shards of the cluster.
        try_seconds: timeout of one try.
        timeout_seconds: timeout of all tries together.
        long_try_seconds: timeout of a large result, in either direction.
        secret_try_seconds: timeout of one try where the catalog waits for other systems.
        secret_timeout_seconds: timeout of all those tries together.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        shard_count: int,
        try_seconds: float,
        timeout_seconds: float,
        long_try_seconds: float,
        secret_try_seconds: float = 12.0,
        secret_timeout_seconds: float = 25.0,
    ) -> None:
        self._long_try_seconds = long_try_seconds
        self._secret_try_seconds = secret_try_seconds
        self._secret_timeout_seconds = secret_timeout_seconds
        self._bus = bus
        self._rpc = RpcClient(bus)
        self.shard_count = shard_count
        self._try_seconds = try_seconds
        self._timeout_seconds = timeout_seconds

    async def catalog(
        self, operation: str, request: Json, *, timeout_seconds: float | None = None
    ) -> RpcReply:
        """Ask the catalog service."""
        subject = rpc_subject("catalog", operation)
        return await self._ask(subject, request, timeout_seconds)

    async def secret(self, operation: str, request: Json) -> RpcReply:
        """Ask the catalog where it may wait for secret providers or other regions.

        The timeout is below the 30 s of workers, for which no answer means a lost command.
        """
        subject = rpc_subject("catalog", operation)
        return await self._ask(
            subject, request, self._secret_timeout_seconds, try_seconds=self._secret_try_seconds
        )

    async def register(self, request: Json) -> RpcReply:
        """Register a document; sent once, since each request makes a version."""
        return await self.once(
            "catalog", "register", request, timeout_seconds=self._timeout_seconds
        )

    async def once(
        self,
        service: str,
        operation: str,
        request: Json,
        *,
        timeout_seconds: float,
        shard: int = 0,
    ) -> RpcReply:
        """Ask a service once: a repetition could have its effect twice.

        Raises:
            Refusal: 503, no answer in time; whether the work was done is unknown.
        """
        place = None if service == "catalog" else shard
        subject = rpc_subject(service, operation, shard=place)
        try:
            return await self._rpc.call(
                subject, request, seconds=timeout_seconds, wait_for_responder=True
            )
        except RpcUnavailable as error:
            raise unavailable(f"The {service} service did not answer in time") from error

    async def store_result(
        self,
        request: JsonObject,
        *,
        execution_id: int,
        timeout_seconds: float | None = None,
    ) -> RpcReply:
        """Hand a result to the store.

        One that is too large for a message stays here: the request names a subject under which
        the store fetches it, and the answer there travels in parts (W13).
        """
        subject = self._projector_subject("result.put", execution_id)
        body = orjson.dumps(request)
        if len(body) + _ENVELOPE_BYTES <= self._bus.largest_message:
            return await self._call_long(subject, body, timeout_seconds)
        data = orjson.dumps(request["data"])
        async with self._offered(data) as place:
            small = {name: value for name, value in request.items() if name != "data"}
            body = orjson.dumps(small | {"data_at": place})
            return await self._call_long(subject, body, timeout_seconds)

    async def load_result(self, operation: str, request: Json, *, execution_id: int) -> RpcReply:
        """Ask the store for a result, which may take its time to arrive."""
        subject = self._projector_subject(operation, execution_id)
        return await self._call_long(subject, orjson.dumps(request))

    async def _call_long(
        self, subject: str, body: bytes, timeout_seconds: float | None = None
    ) -> RpcReply:
        seconds = self._long_try_seconds
        if timeout_seconds is not None:
            seconds = max(_SHORTEST_TRY_SECONDS, min(seconds, timeout_seconds))
        try:
            return await self._rpc.call(subject, body, seconds=seconds, wait_for_responder=True)
        except RpcUnavailable as error:
            raise unavailable("The result store did not answer in time") from error

    @asynccontextmanager
    async def _offered(self, body: bytes) -> AsyncIterator[str]:
        """Offer a body on a subject until the block ends."""
        inbox = self._bus.inbox()
        subject = inbox.fresh_subject()
        asked: asyncio.Queue[Incoming] = asyncio.Queue()

        async def answer() -> None:
            while True:
                await self._bus.reply((await asked.get()).reply, body)

        inbox.register(subject, asked.put_nowait)
        # Not a task group: it would wrap the errors of the block.
        answering = asyncio.create_task(answer(), name="offered result")
        try:
            yield subject
        finally:
            inbox.forget(subject)
            answering.cancel()
            await asyncio.wait({answering})

    async def projector(
        self,
        operation: str,
        request: Json,
        *,
        execution_id: int | None = None,
        shard: int = 0,
        timeout_seconds: float | None = None,
    ) -> RpcReply:
        """Ask the projector of an execution's shard, or of a shard."""
        subject = self._projector_subject(operation, execution_id, shard)
        return await self._ask(subject, request, timeout_seconds)

    async def orchestrator(
        self,
        operation: str,
        request: Json,
        *,
        execution_id: int | None = None,
        shard: int = 0,
        timeout_seconds: float | None = None,
    ) -> RpcReply:
        """Ask the orchestrator of an execution's shard, or of a shard."""
        subject = rpc_subject("orchestrator", operation, shard=self._shard(execution_id, shard))
        return await self._ask(subject, request, timeout_seconds)

    async def outbox(self, operation: str, request: Json, *, shard: int) -> RpcReply:
        """Ask the outbox service of a shard."""
        return await self._ask(rpc_subject("outbox", operation, shard=shard), request, None)

    def shard_of(self, execution_id: int) -> int:
        """Return the shard on which an execution lives."""
        return shard_for(execution_id, shard_count=self.shard_count)

    async def pool_status(self, *, timeout_seconds: float) -> RpcReply | None:
        """Return the figures of an orchestrator's pool; None without an answer."""
        subject = rpc_subject("orchestrator", "pool.status", shard=0)
        try:
            return await self._rpc.call(subject, {}, seconds=timeout_seconds)
        except RpcUnavailable:
            return None

    def _projector_subject(self, operation: str, execution_id: int | None, shard: int = 0) -> str:
        return rpc_subject("projector", operation, shard=self._shard(execution_id, shard))

    def _shard(self, execution_id: int | None, shard: int) -> int:
        if execution_id is None:
            return shard
        return shard_for(execution_id, shard_count=self.shard_count)

    async def _ask(
        self,
        subject: str,
        request: Json,
        timeout_seconds: float | None,
        *,
        try_seconds: float | None = None,
    ) -> RpcReply:
        longest = try_seconds or self._try_seconds
        timeout = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            seconds = min(longest, max(_SHORTEST_TRY_SECONDS, deadline - loop.time()))
            try:
                return await self._rpc.call(
                    subject, request, seconds=seconds, wait_for_responder=True
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
