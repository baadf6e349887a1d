"""Fake services: handlers of free JSON under the names of operations."""

from collections.abc import Awaitable, Callable

from noetl_common.bus.rpc import Handler, handle
from noetl_contract.json import Json, JsonObject
from noetl_contract.rpc import RpcReply
from noetl_contract.rpc.operation import Operation, ServiceName
from pydantic import RootModel, TypeAdapter

__all__ = ["fake_handler"]

_FREE: TypeAdapter[Json] = TypeAdapter(Json)


def fake_handler(
    service: ServiceName,
    name: str,
    function: Callable[[JsonObject], Awaitable[RpcReply | JsonObject]],
) -> Handler:
    """Answer the requests of an operation, whatever its models are."""

    async def answer(request: RootModel[JsonObject]) -> Json | RpcReply:
        return await function(request.root)

    return handle(Operation(service, name, RootModel[JsonObject], _FREE), answer)
