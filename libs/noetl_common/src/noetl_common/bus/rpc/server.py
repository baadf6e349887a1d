"""Serving requests.

The rules: too many waiting requests are refused at once with 503; a request whose sender has
given up is dropped; every error becomes an answer; answers above the broker's limit travel in
parts; requests taken before the end are answered before it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from time import monotonic
from typing import Any

import orjson
from nats.aio.msg import Msg
from noetl_contract.rpc import RpcReply
from noetl_contract.subjects import family
from pydantic import ValidationError

from noetl_common.bus.broker import Bus
from noetl_common.bus.rpc.handlers import Handler, Outcome
from noetl_common.bus.rpc.listener import Listener
from noetl_common.bus.rpc.replies import encode_error, reply_to_wrong_request
from noetl_common.bus.rpc.rules import Route, Rules

__all__ = ["RpcHandler", "serve_rpc"]

type RpcHandler = Callable[[dict[str, Any]], Awaitable[RpcReply | dict[str, Any] | bytes]]
"""A handler without types, on its way out."""


@asynccontextmanager
async def serve_rpc(
    bus: Bus,
    handlers: Sequence[Handler] | Mapping[str, RpcHandler],
    *,
    queue: str,
    shard: int | None = None,
    concurrency: int = 64,
    direct: bool = False,
) -> AsyncIterator[None]:
    """Answer requests while the block lasts; replicas with the same ``queue`` share them.

    Args:
        bus: the connection.
        handlers: made by ``handle``.
        queue: name of the service.
        shard: whose requests of operations of scope ``shard`` are served.
        concurrency: how many requests are worked on at a time.
        direct: without FastStream, for requests that come with every command (ADR 0005).
    """
    rules = Rules(bus, concurrency=concurrency)
    listener = Listener(bus, limit=rules.most_taken, refuse=rules.refuse)
    rules.routes.update((route.subject, route) for route in _routes(handlers, shard))
    serving = _serve_directly if direct else _serve_on_faststream
    try:
        await serving(bus, rules, listener, queue)
        # The caller who hears of us may ask at once, over another connection.
        await bus.flush()
        yield
    finally:
        await listener.drain()


async def _serve_on_faststream(bus: Bus, rules: Rules, listener: Listener, queue: str) -> None:
    # Here, because it takes 0.1 s that processes which only ask need not spend.
    from noetl_common.bus.rpc.faststream import RequestBroker  # noqa: PLC0415 -- see above

    broker = RequestBroker(bus, rules, listener)
    for route in rules.routes.values():
        broker.route(route, queue=queue)
    await broker.start()


async def _serve_directly(_bus: Bus, rules: Rules, listener: Listener, queue: str) -> None:
    for route in rules.routes.values():
        await listener.listen(route.subject, partial(_answer, rules, route), queue=queue)


async def _answer(rules: Rules, route: Route, message: Msg) -> None:
    body = await rules.run(
        route, message.headers, lambda: route.answer(message.data), arrived=monotonic()
    )
    if body is not None:
        await rules.reply(message.reply, body)


def _routes(
    handlers: Sequence[Handler] | Mapping[str, RpcHandler], shard: int | None
) -> list[Route]:
    if isinstance(handlers, Mapping):
        return [_untyped(subject, handler) for subject, handler in handlers.items()]
    return [_typed(handler, shard) for handler in handlers]


def _typed(handler: Handler, shard: int | None) -> Route:
    operation = handler.operation
    subject = operation.subject(shard if operation.scope == "shard" else None)
    return Route(subject, family(subject), handler.answer, handler.has_details)


def _untyped(subject: str, handler: RpcHandler) -> Route:
    async def answer(data: bytes) -> Outcome:
        try:
            request = orjson.loads(data or b"{}")
        except orjson.JSONDecodeError as error:
            return reply_to_wrong_request(error, has_details=True)
        if not isinstance(request, dict):
            return 400, encode_error(400, "the request is no JSON object: not an object")
        try:
            found = await handler(request)
        except ValidationError as error:
            return reply_to_wrong_request(error, has_details=True)
        if isinstance(found, bytes):
            return 200, found
        reply = found if isinstance(found, RpcReply) else RpcReply(body=found)
        return reply.status, orjson.dumps(dict(reply), default=str)

    return Route(subject, family(subject), answer, has_details=True)
