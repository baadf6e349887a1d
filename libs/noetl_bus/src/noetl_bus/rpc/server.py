"""The server of requests.

If too many requests wait, further requests are refused immediately with 503. A request that has
timed out is dropped. Every error becomes a reply, and an answer that exceeds the broker's limit is
sent in parts. At shutdown, accepted requests are answered before the server ends.
"""

import asyncio
from collections.abc import AsyncIterator, Container, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from time import monotonic

from nats.aio.msg import Msg
from noetl_common.logging import get_logger

from noetl_bus.broker import Bus
from noetl_bus.rpc.handlers import Handler
from noetl_bus.rpc.rules import Listener, Rules

_log = get_logger()
_SUBSCRIBED_SECONDS = 60.0


@asynccontextmanager
async def serve_rpc(
    bus: Bus,
    handlers: Sequence[Handler],
    *,
    queue: str,
    shard: int | None = None,
    concurrency: int = 64,
) -> AsyncIterator[None]:
    """Answer requests while the block lasts; replicas with the same ``queue`` share them.

    Args:
        bus: the connection.
        handlers: the handlers, created by ``handle``.
        queue: name of the service.
        shard: shard whose requests are served, for operations of scope ``shard``.
        concurrency: maximum number of requests in progress.
    """
    rules = Rules(bus, concurrency=concurrency)
    listener = Listener(bus, limit=rules.most_accepted, refuse=rules.refuse)
    for handler in handlers:
        operation = handler.operation
        rules.add(operation.subject(shard if operation.scope == "shard" else None), handler)
    busy = {
        subject: handler
        for subject, handler in rules.handlers.items()
        if handler.operation.is_busy and bus.settings.takes("busy-requests")
    }
    try:
        for subject, handler in busy.items():
            await listener.listen(subject, partial(_answer, rules, handler), queue=queue)
        if len(busy) < len(rules.handlers):
            await _serve_on_faststream(bus, rules, listener, queue, without=busy)
        await _until_subscribed(bus)
        yield
    finally:
        await listener.drain()


async def _until_subscribed(bus: Bus) -> None:
    """Wait until the broker has the subscriptions, so that clients can send requests immediately.

    If the connection is lost meanwhile, the client subscribes again after its reconnect.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_SUBSCRIBED_SECONDS):
            while bus.is_connected and not await bus.flush():
                _log.info("rpc_waits_for_broker", bus=bus.name)


async def _serve_on_faststream(
    bus: Bus, rules: Rules, listener: Listener, queue: str, *, without: Container[str]
) -> None:
    # Imported here, because it takes 0.1 s and processes without handlers don't need it.
    from noetl_bus.rpc.faststream import RequestBroker  # noqa: PLC0415 -- see above

    broker = RequestBroker(bus, rules, listener)
    for subject, handler in rules.handlers.items():
        if subject not in without:
            broker.route(subject, handler, queue=queue)
    await broker.start()


async def _answer(rules: Rules, handler: Handler, message: Msg) -> None:
    body = await rules.run(
        handler, message.headers, lambda: handler.answer(message.data), arrived=monotonic()
    )
    if body is not None:
        await rules.reply(message.reply, body)
