"""Progress of a call: the answer becomes a stream that ends with the result.

A client that sends a `progressToken` is notified each time that steps have ended. The stream is
that of one call: a client that loses it asks for the execution again, by its id.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from noetl_common.logging import get_logger
from noetl_console.api import Refused
from noetl_contract.http.executions.reads import ExecutionStatusAnswer
from noetl_contract.json import JsonObject
from noetl_contract.rpc.operation import encode_value

from noetl_api_gateway.intake.streams import SSE_HEADERS, client_gone, write_chunk
from noetl_api_gateway.metrics import OPEN_STREAMS
from noetl_api_gateway.routes.mcp.messages import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    REFUSED,
    RpcError,
    answer,
    refusal,
)

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

type Told = Callable[[ExecutionStatusAnswer], Awaitable[None]]
"""Gets the status of an execution, while it is waited for."""
type Call = Callable[[Told], Awaitable[JsonObject]]

_MOST_NAMED: Final = 5
_log = get_logger()


async def nobody(_status: ExecutionStatusAnswer) -> None:
    """Ignore the status: the client asked for no progress."""


def token_of(params: JsonObject) -> str | int | None:
    """Return the token under which a client wants notifications of progress.

    Raises:
        RpcError: it is none.
    """
    meta = params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    if token is None or (isinstance(token, str | int) and not isinstance(token, bool)):
        return token
    raise RpcError(INVALID_PARAMS, "A `progressToken` is a text or an integer")


class Progress:
    """Notifies a client of steps that have ended since the last time.

    Args:
        token: of the client.
        send: takes a message for it.
    """

    def __init__(self, token: str | int, send: Callable[[JsonObject], Awaitable[None]]) -> None:
        self._token = token
        self._send = send
        self._count = 0
        self._named: set[str] = set()

    async def tell(self, status: ExecutionStatusAnswer) -> None:
        """Send a notification if more steps have ended; its number grows each time."""
        count = status.progress.completed_steps + status.progress.failed_steps
        if count <= self._count:
            return
        self._count = count
        over = [name for name in status.completed_steps if name not in self._named]
        self._named.update(over)
        params: JsonObject = {"progressToken": self._token, "progress": count}
        if over:
            more = f" and {len(over) - _MOST_NAMED} more" if len(over) > _MOST_NAMED else ""
            params["message"] = f"over: {', '.join(over[:_MOST_NAMED])}{more}"
        await self._send({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


class ProgressStream:
    """The answer to a call, with notifications before it; an ASGI application.

    Args:
        number: id of the request.
        token: of its progress.
        call: makes the call; its refusals become the answer.
        heartbeat_seconds: silence after which a comment is sent.
    """

    def __init__(
        self, number: int | str, token: str | int, call: Call, *, heartbeat_seconds: float
    ) -> None:
        self._number = number
        self._token = token
        self._call = call
        self._heartbeat_seconds = heartbeat_seconds

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Send until the result, or until the client leaves; the execution goes on then."""
        del scope
        OPEN_STREAMS.inc()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*SSE_HEADERS]})
            async with asyncio.TaskGroup() as group:
                gone = group.create_task(client_gone(receive))
                tasks = {
                    gone,
                    group.create_task(self._answered(send)),
                    group.create_task(self._beaten(send)),
                }
                await asyncio.wait(tasks, return_when="FIRST_COMPLETED")
                is_heard = not gone.done()
                for task in tasks:
                    task.cancel()
            if is_heard:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            OPEN_STREAMS.dec()

    async def _answered(self, send: "Send") -> None:
        async def write(message: JsonObject) -> None:
            await write_chunk(send, b"event: message\ndata: %s\n\n" % encode_value(message))

        try:
            result = answer(self._number, await self._call(Progress(self._token, write).tell))
        except RpcError as error:
            result = refusal(self._number, error)
        except Refused as refused:
            result = refusal(self._number, RpcError(REFUSED, refused.text))
        except Exception as error:  # noqa: BLE001 -- the head has been sent: the body reports it
            _log.error("call_of_tool_failed", exc_info=error)
            result = refusal(self._number, RpcError(INTERNAL_ERROR, "Internal error"))
        await write(result)

    async def _beaten(self, send: "Send") -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            await write_chunk(send, b": keep-alive\n\n")
