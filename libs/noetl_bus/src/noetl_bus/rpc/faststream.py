"""FastStream's NATS broker on an existing connection, with `Rules` as its middleware."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from faststream import AckPolicy, BaseMiddleware, ContextRepo, Response, StreamMessage
from faststream.nats import NatsBroker, NatsMessage
from faststream.nats.response import NatsPublishCommand
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription

from noetl_bus.broker import Bus
from noetl_bus.rpc.handlers import Handler
from noetl_bus.rpc.rules import Listener, Rules


class RequestBroker(NatsBroker):
    """A broker that listens and answers over an open connection, and doesn't close it.

    FastStream would open a second connection for each process, with its own reconnects. The
    listener ends the subscriptions: FastStream's ``stop`` would drop requests that arrive
    meanwhile, and close the connection.
    """

    def __init__(self, bus: Bus, rules: Rules, listener: Listener) -> None:
        self._rules = rules
        self._listener = listener
        super().__init__(
            bus.settings.nats_servers(),
            middlewares=[self._for_message],
            apply_types=False,  # the operation's model decodes, in the handler
            serializer=None,  # otherwise each handler gets an unused model of its parameters
            logger=None,  # otherwise each request is logged twice
        )

    def route(self, subject: str, handler: Handler, *, queue: str) -> None:
        """Answer the requests on a subject; replicas with the same queue share them."""
        subscriber = self.subscriber(
            subject, queue, parser=_parse, decoder=_body, ack_policy=AckPolicy.MANUAL
        )
        subscriber(handler.answer)

    async def _connect(self) -> Client:
        client = _Client(self._listener)
        self.config.connect(client)
        return client

    def _for_message(self, msg: Msg | None, /, *, context: ContextRepo) -> "_Request":
        return _Request(self._rules, msg, context)


class _Request(BaseMiddleware[NatsPublishCommand, Msg | None]):
    """One request from its arrival to its answer."""

    def __init__(self, rules: Rules, msg: Msg | None, context: ContextRepo) -> None:
        super().__init__(msg, context=context)
        self._rules = rules
        self._arrived = monotonic()

    async def consume_scope(
        self, call_next: Callable[[StreamMessage[Msg]], Awaitable[Any]], msg: StreamMessage[Msg]
    ) -> Response:
        """Run the handler under the rules."""
        handler = self._rules.handlers[msg.raw_message.subject]
        body = await self._rules.run(
            handler, msg.headers, lambda: call_next(msg), arrived=self._arrived
        )
        if body is None:
            msg.reply_to = ""  # no answer
        return Response(body)

    async def publish_scope(
        self, call_next: Callable[[NatsPublishCommand], Awaitable[Any]], cmd: NatsPublishCommand
    ) -> None:
        """Send the answer, in parts if needed, and without headers of FastStream."""
        del call_next
        await self._rules.reply(cmd.destination, cmd.body)


class _Client(Client):
    """A client whose subscriptions use the listener.

    The real client would call the handler of a subscription for one message at a time.
    """

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    async def subscribe(
        self,
        subject: str,
        queue: str = "",
        cb: Callable[[Msg], Awaitable[None]] | None = None,
        *_unused: object,
        **_also_unused: object,
    ) -> NatsSubscription:
        """Listen on the open connection."""
        if cb is None:
            raise TypeError("a subscriber without a callback")
        return await self._listener.listen(subject, cb, queue=queue)


async def _parse(message: Msg) -> NatsMessage:
    """Wrap a message without FastStream's parser, which creates ids and matches the subject."""
    return NatsMessage(
        raw_message=message,
        body=message.data,
        reply_to=message.reply,
        headers=message.headers or {},
        message_id=message.reply,
        correlation_id=message.reply,
    )


async def _body(message: StreamMessage[Msg]) -> bytes:
    """Return the raw body, which the model of the operation decodes."""
    return message.raw_message.data
