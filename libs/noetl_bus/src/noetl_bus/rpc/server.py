"""Serving requests.

The rules: too many waiting requests are refused at once with 503; a request whose sender has
given up is dropped; every error becomes an answer; answers above the broker's limit travel in
parts; requests taken before the end are answered before it.
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
from noetl_bus.rpc.listener import Listener
from noetl_bus.rpc.rules import Rules

_log = get_logger()
_HEARD_SECONDS = 60.0


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
        handlers: made by ``handle``.
        queue: name of the service.
        shard: whose requests of operations of scope ``shard`` are served.
        concurrency: how many requests are worked on at a time.
    """
    rules = Rules(bus, concurrency=concurrency)
    listener = Listener(bus, limit=rules.most_taken, refuse=rules.refuse)
    for handler in handlers:
        operation = handler.operation
        rules.take(operation.subject(shard if operation.scope == "shard" else None), handler)
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
        await _until_heard(bus)
        yield
    finally:
        await listener.drain()


async def _until_heard(bus: Bus) -> None:
    """Wait until the broker knows our subscriptions: who hears of us may ask at once, elsewhere.

    After a lost connection they are made anew, and it is no longer the broker's turn to tell.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_HEARD_SECONDS):
            while bus.is_connected and not await bus.flush():
                _log.info("rpc_waits_for_broker", bus=bus.name)


async def _serve_on_faststream(
    bus: Bus, rules: Rules, listener: Listener, queue: str, *, without: Container[str]
) -> None:
    # Here, because it takes 0.1 s that processes which only ask need not spend.
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
