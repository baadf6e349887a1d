"""RabbitMQ: a queue."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from noetl_contract.json import Json
from noetl_contract.subscriptions.messages import Message, decoded_body, headers_of

from noetl_worker.sources.source import SourceAway, Taken, WrongSource, about, client_of, required

_KIND = "rabbitmq"
_SECONDS = 10.0
_LOOK_SECONDS = 30.0


class RabbitSource:
    """Read a queue, which has to be there.

    A message is known by its property `message_id`; one without is a start of its own each time
    that it is delivered.
    """

    def __init__(self, config: Mapping[str, Json], *, prefetch: int) -> None:
        self._url = required(config, "url", source=_KIND)
        self._queue = required(config, "queue", source=_KIND)
        self._prefetch = prefetch
        self._library: Any = client_of("aio_pika", extra=_KIND)
        errors: Any = client_of("aio_pika.exceptions", extra=_KIND)
        self._broken = (errors.AMQPError, errors.ChannelInvalidStateError, OSError, RuntimeError)
        self._missing = errors.ChannelNotFoundEntity
        self._connection: Any = None
        self._channel: Any = None
        self._arrived: asyncio.Queue[Any] = asyncio.Queue()
        self._look_at = asyncio.get_running_loop().time() + _LOOK_SECONDS

    async def open(self) -> None:
        """Connect, and consume as much as may be held."""
        try:
            async with asyncio.timeout(_SECONDS):
                self._connection = await self._library.connect(self._url)
                self._channel = await self._connection.channel(publisher_confirms=True)
                await self._channel.set_qos(prefetch_count=self._prefetch)
                queue = await self._channel.get_queue(self._queue, ensure=True)
                await queue.consume(self._arrived.put, no_ack=False)
        except self._missing as error:
            await self.close()
            raise WrongSource(f"subscription[rabbitmq]: no queue '{self._queue}'") from error
        except (TimeoutError, *self._broken) as error:
            await self.close()
            raise _away(error) from error

    async def fetch(self, most: int, seconds: float) -> list[Taken]:
        """Take the messages that have arrived."""
        if self._connection is None or self._connection.is_closed or self._channel.is_closed:
            raise SourceAway("no connection to the broker")
        try:
            async with asyncio.timeout(seconds):
                found = [await self._arrived.get()]
        except TimeoutError:
            await self._look()
            return []
        while len(found) < most and not self._arrived.empty():
            found.append(self._arrived.get_nowait())
        return [self._taken(one) for one in found]

    async def _look(self) -> None:
        """See from time to time whether the silence is that of a queue that was deleted."""
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        try:
            async with asyncio.timeout(_SECONDS):
                queue = await self._channel.get_queue(self._queue, ensure=True)
        except (TimeoutError, self._missing, *self._broken) as error:
            raise _away(error) from error
        if not queue.declaration_result.consumer_count:
            raise SourceAway("the queue was made again: nobody reads it")

    def _taken(self, raw: Any) -> Taken:
        data, notes = decoded_body(raw.body)
        headers = headers_of({name: str(value) for name, value in raw.headers.items()})
        message = Message(
            id=raw.message_id or f"{self._queue}:{raw.delivery_tag}",
            data=data,
            headers=headers,
            metadata=about(
                source=_KIND,
                mode="pull",
                queue=self._queue,
                exchange=raw.exchange or None,
                routing_key=raw.routing_key,
                redelivered=raw.redelivered,
                correlation_id=raw.correlation_id,
                type=raw.type,
            )
            | notes,
        )
        identity = f"rabbitmq:{raw.message_id}" if raw.message_id else None
        return Taken(message=message, identity=identity, handle=raw, size=len(raw.body))

    async def ack(self, taken: Sequence[Taken]) -> None:
        """Acknowledge."""
        try:
            for one in self._answerable(taken):
                await one.ack()
        except self._broken as error:
            raise _away(error) from error

    async def hold(self, taken: Sequence[Taken]) -> None:
        """Do nothing: the broker waits as long as its `consumer_timeout` says."""

    async def give_back(self, taken: Sequence[Taken]) -> None:
        """Have messages delivered again."""
        try:
            for one in self._answerable(taken):
                await one.nack(requeue=True)
        except self._broken as error:
            raise _away(error) from error

    def _answerable(self, taken: Sequence[Taken]) -> list[Any]:
        """Return the messages that can be answered; those of a lost channel come again."""
        return [one.handle for one in taken if not self._is_lost(one.handle)]

    def _is_lost(self, raw: Any) -> bool:
        try:
            return bool(raw.channel.is_closed)
        except self._broken:
            return True

    async def publish(self, to: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Publish to a queue, and hear that it is stored."""
        library = self._library
        message = library.Message(
            body, headers=dict(headers), delivery_mode=library.DeliveryMode.PERSISTENT
        )
        try:
            async with asyncio.timeout(_SECONDS):
                await self._channel.default_exchange.publish(message, to, mandatory=True)
        except (TimeoutError, *self._broken) as error:
            raise _away(error) from error

    async def close(self) -> None:
        """Close the connection: messages not acknowledged go back into the queue."""
        if self._connection is not None:
            with contextlib.suppress(TimeoutError, *self._broken):
                async with asyncio.timeout(2):
                    await self._connection.close()
        self._connection = None


def _away(error: BaseException) -> SourceAway:
    return SourceAway(str(error) or type(error).__name__)
