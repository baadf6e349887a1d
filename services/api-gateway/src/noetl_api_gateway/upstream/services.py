"""Requests to the services behind the edge; refusals of a service become refusals of the edge."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal

from msgspec import UnsetType
from noetl_bus.broker import Bus
from noetl_bus.rpc import RpcClient, RpcUnavailable
from noetl_bus.rpc.rounds import Rounds
from noetl_contract.access.principal import OnBehalf
from noetl_contract.model import Shape
from noetl_contract.rpc import RpcReply
from noetl_contract.rpc.operation import Operation, encode_value
from noetl_contract.rpc.projector import RESULT_GET, RESULT_PUT, RESULT_RESOLVE, ResultPut
from noetl_contract.sharding import shard_for

from noetl_api_gateway.http.caller import caller
from noetl_api_gateway.http.refusals import Refusal, unavailable

if TYPE_CHECKING:
    from noetl_bus.inbox import Incoming

    from noetl_api_gateway.settings import Settings

type Limit = Literal["usual", "secrets", "results", "batch", "sql"]
"""Which timeouts a request has; a number in its place is that of all tries together."""

_SHORTEST_TRY_SECONDS = 0.05
_PAUSE_SECONDS = 0.02  # an answer without sense comes at once
_RESULT_STORE = frozenset({RESULT_PUT.name, RESULT_RESOLVE.name, RESULT_GET.name})
_ENVELOPE_BYTES = 2048  # subject, headers, reply subject


class Services:
    """Send requests to services, again while no answer comes, within a timeout.

    An operation that is not repeatable is sent once; so a service may restart unnoticed.

    Args:
        bus: the connection.
        settings: the number of shards, and the timeouts.
    """

    def __init__(self, bus: Bus, settings: "Settings") -> None:
        self._bus = bus
        self._rpc = RpcClient(bus)
        self._rounds = Rounds[tuple[str, bytes], bytes]() if settings.ask_together else None
        self.shard_count = settings.shard_count
        usual, result = settings.request_try_seconds, settings.result_patience_seconds
        self._seconds: Mapping[Limit, tuple[float, float]] = {
            "usual": (usual, settings.request_patience_seconds),
            "secrets": (settings.secret_try_seconds, settings.secret_patience_seconds),
            "results": (result, result),
            "batch": (usual, settings.batch_patience_seconds),
            "sql": (usual, settings.sql_patience_seconds),
        }

    @property
    def shards(self) -> range:
        """All shards."""
        return range(self.shard_count)

    def shard_of(self, execution_id: int) -> int:
        """Return the shard on which an execution lives."""
        return shard_for(execution_id, shard_count=self.shard_count)

    async def ask[Request: Shape, Answer](
        self,
        operation: Operation[Request, Answer],
        request: Request,
        *,
        execution_id: int | None = None,
        shard: int = 0,
        within: Limit | float = "usual",
    ) -> Answer:
        """Return the answer as its model.

        Args:
            operation: declared in the contract.
            request: its request.
            execution_id: the execution, or subscription, whose shard is asked.
            shard: the shard to ask, where no execution is named.
            within: timeouts.

        Raises:
            Refusal: that of the service, or 503, no answer in time.
        """
        body = await self.forward(
            operation, request, execution_id=execution_id, shard=shard, within=within
        )
        return _decoded(operation, body)

    async def ask_together[Request: Shape, Answer](
        self, operation: Operation[Request, Answer], request: Request, *, within: float
    ) -> Answer:
        """Return the answer that all get who ask the same at the same time, for the same caller.

        It is no older than the call, which may last twice as long as ``within``. Each asks alone
        where the settings say so.

        Raises:
            Refusal: as `ask`.
        """
        if self._rounds is None:
            return await self.ask(operation, request, within=within)
        request = _on_behalf(request)
        body = await self._rounds.ask(
            (operation.name, encode_value(request)),
            lambda: self.forward(operation, request, within=within),
        )
        return _decoded(operation, body)

    async def forward[Request: Shape, Answer](
        self,
        operation: Operation[Request, Answer],
        request: Request,
        *,
        execution_id: int | None = None,
        shard: int = 0,
        within: Limit | float = "usual",
    ) -> bytes:
        """Return the body of the answer, JSON to be passed on: to read a large one takes long.

        A request that depends on who asks is given the caller.

        Raises:
            Refusal: as `ask`.
        """
        place = shard if execution_id is None else self.shard_of(execution_id)
        request = _on_behalf(request)
        if isinstance(within, str):
            limits = self._seconds[within]
        else:
            limits = self._seconds["usual"][0], within
        return await self._call(operation, encode_value(request), place, limits)

    async def ask_all[Request: Shape, Answer](
        self,
        operation: Operation[Request, Answer],
        request: Request,
        *,
        within: Limit | float = "usual",
    ) -> list[Answer]:
        """Return the answers of all shards, in their order.

        Raises:
            Refusal: as `ask`, of the first shard that refuses.
        """
        asked = (self.ask(operation, request, shard=shard, within=within) for shard in self.shards)
        return await asyncio.gather(*asked)

    async def forward_anywhere[Request: Shape, Answer](
        self, operation: Operation[Request, Answer], request: Request
    ) -> bytes:
        """Ask one shard after the other; return the first body, or the last shard's 404.

        Raises:
            Refusal: as `ask`.
        """
        for shard in self.shards[:-1]:
            try:
                return await self.forward(operation, request, shard=shard)
            except Refusal as refusal:
                if refusal.status != 404:
                    raise
        return await self.forward(operation, request, shard=self.shards[-1])

    async def store_result(self, request: ResultPut, *, seconds: float | None = None) -> bytes:
        """Hand a result to the store.

        One that is too large for a message stays here: the request names a subject under which
        the store fetches it, and the answer there travels in parts (W13).
        """
        shard, longest = self.shard_of(request.execution_id), self._seconds["results"][0]
        total = longest if seconds is None else max(_SHORTEST_TRY_SECONDS, min(seconds, longest))
        limits = (total, total)
        data = b"" if isinstance(request.data, UnsetType) else bytes(request.data)
        if len(data) + _ENVELOPE_BYTES <= self._bus.largest_message:
            return await self._call(RESULT_PUT, encode_value(request), shard, limits)
        async with self._offered(data) as place:
            small = ResultPut(
                execution_id=request.execution_id,
                name=request.name,
                data_at=place,
                result_id=request.result_id,
                scope=request.scope,
                source_step=request.source_step,
                expires_seconds=request.expires_seconds,
            )
            return await self._call(RESULT_PUT, encode_value(small), shard, limits)

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

    async def _call[Request: Shape, Answer](
        self,
        operation: Operation[Request, Answer],
        body: bytes,
        shard: int,
        limits: tuple[float, float],
    ) -> bytes:
        """Send a request; ``limits`` are the timeouts of one try and of all together."""
        subject = operation.subject(shard if operation.scope == "shard" else None)
        longest, total = limits
        loop = asyncio.get_running_loop()
        deadline = loop.time() + total
        if not operation.repeatable:
            longest = total
        while True:
            seconds = min(longest, max(_SHORTEST_TRY_SECONDS, deadline - loop.time()))
            try:
                reply = await self._rpc.call(
                    subject,
                    body,
                    seconds=seconds,
                    wait_for_responder=True,
                    is_secret=operation.is_secret,
                    is_busy=operation.is_busy,
                )
                return body_of(reply)
            except RpcUnavailable as error:
                is_over = deadline - loop.time() <= _SHORTEST_TRY_SECONDS
                if is_over or not operation.repeatable:
                    raise unavailable(_silence_of(operation)) from error
            await asyncio.sleep(_PAUSE_SECONDS)


def _silence_of[Request: Shape, Answer](operation: Operation[Request, Answer]) -> str:
    is_store = operation.name in _RESULT_STORE
    who = "result store" if is_store else f"{operation.service} service"
    return f"The {who} did not answer in time"


def _on_behalf[Request: Shape](request: Request) -> Request:
    """Return a request with the caller, if it depends on who asks."""
    who = caller()
    if who is None or not isinstance(request, OnBehalf):
        return request
    return request.model_copy(update={"principal": who})


def _decoded[Request: Shape, Answer](operation: Operation[Request, Answer], body: bytes) -> Answer:
    try:
        return operation.decode_answer(body)
    except ValueError as error:
        text = f"The {operation.service} service gave an answer of the wrong shape"
        raise unavailable(text) from error


def body_of(reply: RpcReply) -> bytes:
    """Return the body of a 2xx reply, JSON.

    Raises:
        Refusal: the reply says something else.
    """
    if reply.is_good:
        return bytes(reply.raw_body)
    text = reply.error or f"The service answered with status {reply.status}"
    headers = {"retry-after": "1"} if reply.status in {429, 503} else {}
    raise Refusal(reply.status, text, detail=reply.detail, headers=headers)
