"""Arrival of requests: each becomes a task, too many are refused, the end waits for all."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription

from noetl_bus.broker import Bus, Subscription

RawRequest = Msg
"""A request as it came: body, headers, and the subject to answer to."""


class Listener:
    """Core subscriptions of one server, and the requests it has taken.

    Args:
        bus: the connection.
        limit: most requests taken at a time; `refuse` is called for the next one.
        refuse: answers at once, from the read loop.
    """

    def __init__(self, bus: Bus, *, limit: int, refuse: Callable[[Msg], None]) -> None:
        self._bus = bus
        self._limit = limit
        self._refuse = refuse
        self._subscriptions: list[Subscription] = []
        self._taken: set[asyncio.Future[None]] = set()

    async def listen(
        self, subject: str, answer: Callable[[Msg], Awaitable[None]], *, queue: str
    ) -> NatsSubscription:
        """Call ``answer`` for each request on a subject, shared within the queue."""
        subscription = await self._bus.subscribe_raw(
            subject, partial(self._take, answer), queue=queue
        )
        self._subscriptions.append(subscription)
        return subscription.raw

    async def drain(self) -> None:
        """Stop listening, and return when everything taken is answered."""
        # All at once: each is a round trip.
        await asyncio.gather(*(subscription.drain() for subscription in self._subscriptions))
        self._subscriptions.clear()
        try:
            while self._taken:
                await asyncio.wait(self._taken)
        finally:
            for task in self._taken:
                task.cancel()

    def _take(self, answer: Callable[[Msg], Awaitable[None]], message: Msg) -> None:
        if len(self._taken) >= self._limit:
            self._refuse(message)
            return
        task = asyncio.ensure_future(answer(message))
        self._taken.add(task)
        task.add_done_callback(self._taken.discard)
