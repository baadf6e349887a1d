"""NATS: a durable of a stream, or a subject that no stream stores."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError
from noetl_contract.json import Json
from noetl_contract.subscriptions.messages import Message, decoded_body, headers_of

from noetl_worker.sources.source import SourceAway, Taken, WrongSource, about, required, text

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription
    from nats.js import JetStreamContext

_KIND = "nats"
_SECONDS = 10.0
_ACK_WAIT_SECONDS = 60.0
_MOST_PENDING = 10_000
_BROKEN = (NatsError, TimeoutError, OSError)


class NatsSource:
    """Read a durable, which is made if it is not there and ``makes`` says so."""

    def __init__(self, config: Mapping[str, Json], *, servers: list[str], makes: bool) -> None:
        self._config = config
        self._servers = servers
        self._makes = makes
        self._stream = text(config, "stream")
        self._subject = text(config, "subject")
        if self._stream is None and self._subject is None:
            required(config, "stream", source=_KIND)
        if self._stream is not None:
            self._consumer = required(config, "consumer", source=_KIND)
        self._client = Client()
        self._pull: JetStreamContext.PullSubscription | None = None
        self._plain: Subscription | None = None

    async def open(self) -> None:
        """Connect, and bind the durable."""
        config = self._config
        login: dict[str, str] = {}
        if token := text(config, "token"):
            login["token"] = token
        elif user := text(config, "user"):
            login |= {"user": user, "password": text(config, "password") or ""}
        try:
            async with asyncio.timeout(_SECONDS):
                await self._client.connect(
                    servers=self._servers,
                    name="noetl-subscription",
                    allow_reconnect=False,
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=5,
                    error_cb=_say_nothing,
                    **login,  # type: ignore[arg-type]  # no type for each of many parameters
                )
            await self._bind()
        except _BROKEN as error:
            await self.close()
            raise _away(error) from error

    async def _bind(self) -> None:
        if self._stream is None:
            group = text(self._config, "group") or ""
            self._plain = await self._client.subscribe(self._subject or "", queue=group)
            return
        js = self._client.jetstream(timeout=_SECONDS)
        try:
            await js.stream_info(self._stream)
        except NotFoundError as error:
            raise WrongSource(f"subscription[nats]: no stream '{self._stream}'") from error
        try:
            info = await js.consumer_info(self._stream, self._consumer)
        except NotFoundError as error:
            if not self._makes:
                where = f"'{self._consumer}' of stream '{self._stream}'"
                raise WrongSource(f"subscription[nats]: no consumer {where}") from error
            wanted = ConsumerConfig(
                durable_name=self._consumer,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=_ACK_WAIT_SECONDS,
                max_ack_pending=_MOST_PENDING,
                filter_subject=self._subject,
            )
            info = await js.add_consumer(self._stream, wanted)
        if info.config.deliver_subject:
            text_ = f"subscription[nats]: the consumer '{self._consumer}' pushes; it has to pull"
            raise WrongSource(text_)
        self._pull = await js.pull_subscribe_bind(self._consumer, self._stream)

    async def fetch(self, most: int, seconds: float) -> list[Taken]:
        """Take messages."""
        if not self._client.is_connected:
            raise SourceAway("no connection to the broker")
        try:
            if self._pull is not None:
                found = await self._pull.fetch(most, timeout=seconds)
                return [self._taken(one) for one in found]
            return await self._fetch_plain(most, seconds)
        except (NatsTimeoutError, TimeoutError):
            return []
        except _BROKEN as error:
            raise _away(error) from error

    async def _fetch_plain(self, most: int, seconds: float) -> list[Taken]:
        if self._plain is None:
            raise SourceAway("not open")
        found = [await self._plain.next_msg(timeout=seconds)]
        while len(found) < most and self._plain.pending_msgs:
            found.append(await self._plain.next_msg(timeout=seconds))
        return [self._plain_taken(one) for one in found]

    def _taken(self, raw: Msg) -> Taken:
        meta = raw.metadata
        sequence = meta.sequence.stream
        data, notes = decoded_body(raw.data)
        moment = meta.timestamp.isoformat()
        message = Message(
            id=str(sequence),
            data=data,
            headers=headers_of(dict(raw.headers or {})),
            metadata=about(
                source=_KIND,
                mode="pull",
                subject=raw.subject,
                stream=meta.stream,
                sequence=sequence,
                delivered=meta.num_delivered,
                timestamp=moment,
            )
            | notes,
        )
        # The time: a stream that was lost and made again counts from one.
        identity = f"nats:{meta.stream}:{sequence}:{moment}"
        return Taken(
            message=message, identity=identity, handle=(self._client, raw), size=len(raw.data)
        )

    def _plain_taken(self, raw: Msg) -> Taken:
        data, notes = decoded_body(raw.data)
        headers = headers_of(dict(raw.headers or {}))
        message = Message(
            id=str(headers.get("nats-msg-id") or ""),
            data=data,
            headers=headers,
            metadata=about(source=_KIND, mode="pull", subject=raw.subject) | notes,
        )
        return Taken(message=message, identity=message.id or None, handle=None, size=len(raw.data))

    async def ack(self, taken: Sequence[Taken]) -> None:
        """Acknowledge, and hear that the broker knows."""
        acks = (one.ack_sync(timeout=5) for one in self._answerable(taken))
        failed = [
            error
            for error in await asyncio.gather(*acks, return_exceptions=True)
            if isinstance(error, Exception)
        ]
        if failed:
            raise _away(failed[0])

    async def hold(self, taken: Sequence[Taken]) -> None:
        """Start the time for an acknowledgement anew."""
        await self._each(taken, "in_progress")

    async def give_back(self, taken: Sequence[Taken]) -> None:
        """Have messages delivered again."""
        await self._each(taken, "nak")

    async def _each(self, taken: Sequence[Taken], verb: str) -> None:
        try:
            for one in self._answerable(taken):
                await getattr(one, verb)()
        except _BROKEN as error:
            raise _away(error) from error

    def _answerable(self, taken: Sequence[Taken]) -> list[Msg]:
        """Return the messages that can be answered; those of a lost connection come again."""
        handles = [one.handle for one in taken if one.handle is not None]
        return [raw for client, raw in handles if client is self._client and not raw.is_acked]

    async def publish(self, to: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Publish to a stream's subject."""
        try:
            await self._client.jetstream(timeout=_SECONDS).publish(
                to, body, headers=dict(headers) or None
            )
        except _BROKEN as error:
            raise _away(error) from error

    async def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(*_BROKEN):
            async with asyncio.timeout(2):
                await self._client.close()


def _away(error: BaseException) -> SourceAway:
    described = getattr(error, "description", None)
    return SourceAway(str(described or error) or type(error).__name__)


async def _say_nothing(_: Exception) -> None:
    """Take errors of the client, which the call they belong to raises too."""
