"""Requests to the broker's JetStream API.

They use the bus's own requests. The client library would keep a request while the connection is
down, and send it to a store that may be another one after the reconnect.
"""

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import orjson
from noetl_contract.json import JsonObject
from noetl_contract.streams import NO_MESSAGES, PURGE_FAILED

from noetl_bus.broker import Bus
from noetl_bus.errors import TopologyRefused

SECONDS = 5.0
"""Default timeout of the broker's answers."""
_NOT_FOUND = frozenset({10014, 10037, 10059})  # consumer, message, stream
_NO_MESSAGE = (10043, 10057)  # errors for the deletion of a missing message
_MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """Current state of a stream.

    Attributes:
        created_at: creation time, which distinguishes the stream from a recreated one.
        asked_at: the broker's time of the answer.
        first_at: time of the oldest message, which has no meaning without messages.
    """

    created_at: datetime
    asked_at: datetime
    messages: int
    first_sequence: int
    last_sequence: int
    first_at: datetime
    config: JsonObject = field(compare=False)

    @classmethod
    def of(cls, answer: JsonObject) -> "StreamInfo":
        """Parse the broker's answer."""
        state = answer.get("state", {})
        created_at = _moment(answer["created"])
        return cls(
            created_at=created_at,
            asked_at=_asked_at(answer),
            messages=state.get("messages", 0),
            first_sequence=state.get("first_seq", 0),
            last_sequence=state.get("last_seq", 0),
            first_at=_moment(state["first_ts"]) if "first_ts" in state else created_at,
            config=answer["config"],
        )


@dataclass(frozen=True, slots=True)
class ConsumerInfo:
    """Current state of a consumer.

    Attributes:
        asked_at: the broker's time of the answer.
        pending: number of messages that are not delivered yet.
        unanswered: number of messages that are delivered but not answered.
    """

    name: str
    asked_at: datetime = field(compare=False)
    delivered_sequence: int
    pending: int
    unanswered: int
    redelivered: int
    config: JsonObject = field(compare=False)

    @classmethod
    def of(cls, answer: JsonObject) -> "ConsumerInfo":
        """Parse the broker's answer."""
        return cls(
            name=answer["name"],
            asked_at=_asked_at(answer),
            delivered_sequence=answer.get("delivered", {}).get("stream_seq", 0),
            pending=answer.get("num_pending", 0),
            unanswered=answer.get("num_ack_pending", 0),
            redelivered=answer.get("num_redelivered", 0),
            config=answer["config"],
        )

    @property
    def filters(self) -> tuple[str, ...]:
        """Filters of subjects; an empty tuple means all subjects."""
        single = self.config.get("filter_subject")
        return (single,) if single else tuple(self.config.get("filter_subjects") or ())


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message of a stream."""

    subject: str
    sequence: int
    data: bytes
    stored_at: datetime
    headers: bytes
    """The stored block of headers."""

    @property
    def message_id(self) -> str | None:
        """The id by which the broker detects repetitions, or None."""
        _, found, rest = self.headers.partition(b"Nats-Msg-Id:")
        return rest.partition(b"\r\n")[0].strip().decode() if found else None


async def stream_info(bus: Bus, name: str, *, seconds: float = SECONDS) -> StreamInfo | None:
    """Return a stream, or None if it does not exist.

    Raises:
        BusUnavailable: the broker doesn't answer.
        TopologyRefused: the broker refuses.
    """
    answer = await call(bus, f"STREAM.INFO.{name}", seconds=seconds)
    return None if answer is None else StreamInfo.of(answer)


async def consumer_info(
    bus: Bus, stream: str, name: str, *, seconds: float = SECONDS
) -> ConsumerInfo | None:
    """Return a consumer, or None if the consumer or its stream does not exist.

    Raises:
        BusUnavailable, TopologyRefused: see `stream_info`.
    """
    answer = await call(bus, f"CONSUMER.INFO.{stream}.{name}", seconds=seconds)
    return None if answer is None else ConsumerInfo.of(answer)


async def list_consumers(
    bus: Bus, stream: str, *, seconds: float = SECONDS
) -> list[ConsumerInfo] | None:
    """Return all consumers of a stream, or None if the stream does not exist.

    Raises:
        BusUnavailable, TopologyRefused: see `stream_info`.
    """
    found: list[ConsumerInfo] = []
    for _ in range(_MOST_PAGES):
        wanted = {"offset": len(found)}
        answer = await call(bus, f"CONSUMER.LIST.{stream}", wanted, seconds=seconds)
        if answer is None:
            return None
        page = answer.get("consumers") or []
        found += [ConsumerInfo.of(consumer) for consumer in page]
        if not page or len(found) >= answer.get("total", 0):
            break
    return found


async def get_message(
    bus: Bus,
    stream: str,
    sequence: int,
    *,
    next_of: str | None = None,
    seconds: float = SECONDS,
) -> StoredMessage | None:
    """Return a message of a stream, or None if the message or the stream does not exist.

    With a subject pattern in ``next_of``, return the first matching message at or after the
    sequence. After a stream was recreated, a sequence may be that of another message.

    Raises:
        BusUnavailable, TopologyRefused: see `stream_info`.
    """
    wanted: JsonObject = {"seq": sequence}
    if next_of is not None:
        wanted["next_by_subj"] = next_of
    answer = await call(bus, f"STREAM.MSG.GET.{stream}", wanted, seconds=seconds)
    if answer is None:
        return None
    message = answer["message"]
    return StoredMessage(
        subject=message["subject"],
        sequence=message["seq"],
        stored_at=_moment(message["time"]),
        data=base64.b64decode(message.get("data", "")),
        headers=base64.b64decode(message.get("hdrs", "")),
    )


async def delete_message(bus: Bus, stream: str, sequence: int, *, seconds: float = SECONDS) -> bool:
    """Delete a message of a stream; return whether it was there.

    Raises:
        BusUnavailable, TopologyRefused: see `stream_info`.
    """
    wanted: JsonObject = {"seq": sequence, "no_erase": True}
    answer = await call(
        bus, f"STREAM.MSG.DELETE.{stream}", wanted, allow=_NO_MESSAGE, seconds=seconds
    )
    return answer is not None and "error" not in answer


async def has_failed(bus: Bus, stream: str, *, seconds: float = SECONDS) -> bool:
    """Return whether a stream rejects all messages until the broker is restarted.

    Raises:
        BusUnavailable, TopologyRefused: see `stream_info`.
        BusForbidden: the login has no right to this request.
    """
    wanted: JsonObject = {"filter": NO_MESSAGES}
    answer = await call(
        bus, f"STREAM.PURGE.{stream}", wanted, allow=(PURGE_FAILED,), seconds=seconds
    )
    return answer is not None and "error" in answer


async def call(
    bus: Bus,
    operation: str,
    body: JsonObject | None = None,
    *,
    allow: tuple[int, ...] = (),
    seconds: float = SECONDS,
) -> JsonObject | None:
    """Call the API; return None if the stream, consumer or message does not exist.

    Raises:
        TopologyRefused: the broker answers with an error that is not in ``allow``.
        BusUnavailable: the broker doesn't answer.
    """
    incoming = await bus.request(
        f"$JS.API.{operation}", b"" if body is None else orjson.dumps(body), seconds=seconds
    )
    answer: JsonObject = orjson.loads(incoming.data)
    error = answer.get("error")
    if error is None or error.get("err_code") in allow:
        return answer
    if error.get("err_code") in _NOT_FOUND:
        return None
    raise TopologyRefused(what=operation, reason=error.get("description", ""))


def _asked_at(answer: JsonObject) -> datetime:
    return _moment(answer["ts"]) if "ts" in answer else datetime.now(UTC)


def _moment(text: str) -> datetime:
    """Parse a time of the broker, which has up to nine digits after the point."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    micros = int(fraction[:6].ljust(6, "0")) if fraction else 0
    return datetime.fromisoformat(whole).replace(tzinfo=UTC) + timedelta(microseconds=micros)
