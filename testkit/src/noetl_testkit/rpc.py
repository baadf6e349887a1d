"""Fake services: handlers of free JSON under the names of operations."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from noetl_bus.broker import Bus
from noetl_bus.inbox import Incoming
from noetl_bus.rpc import Handler, handle
from noetl_contract.ingress import REPLY_HEADER
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import Refusal, RpcReply, encode_reply
from noetl_contract.rpc.operation import Operation, ServiceName
from noetl_contract.subjects import writes_any
from pydantic import RootModel, TypeAdapter

__all__ = ["fake_handler", "serving_claims"]

_FREE: TypeAdapter[Json] = TypeAdapter(Json)


def fake_handler(
    service: ServiceName,
    name: str,
    function: Callable[[JsonObject], Awaitable[RpcReply | JsonObject]],
) -> Handler:
    """Answer the requests of an operation, with any models."""

    async def answer(request: RootModel[JsonObject]) -> Json | Refusal:
        found = await function(request.root)
        if not isinstance(found, RpcReply):
            return found
        if found.is_good:
            return found.body
        return Refusal(found.status, found.error or "", found.detail)

    # As what comes with every start is: to build a handler on FastStream takes far longer.
    operation = Operation(service, name, RootModel[JsonObject], _FREE, is_busy=True)
    return handle(operation, answer)


@asynccontextmanager
async def serving_claims(
    bus: Bus, function: Callable[[JsonObject], Awaitable[RpcReply | JsonObject]]
) -> AsyncIterator[None]:
    """Answer claims as the owner of all executions does, until the block ends."""
    handler = fake_handler("orchestrator", "claim", function)
    answering: set[asyncio.Task[None]] = set()

    async def answer(incoming: Incoming) -> None:
        reply = await handler.answer(incoming.data)
        await bus.reply(incoming.headers[REPLY_HEADER], encode_reply(reply))

    def take(incoming: Incoming) -> None:
        answering.add(asyncio.create_task(answer(incoming)))

    subscription = await bus.subscribe(writes_any("claim"), take)
    try:
        yield
    finally:
        await subscription.unsubscribe()
        await asyncio.gather(*answering)
