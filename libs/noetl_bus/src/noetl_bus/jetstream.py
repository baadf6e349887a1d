"""Requests to the broker's JetStream API.

Over the bus's own requests: those of the client library are kept while the connection is down,
and sent to whatever store is there afterwards.
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
_NO_MESSAGE = (10043, 10057)  # the answers to the deletion of a missing message
_MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """Current state of a stream; ``created_at`` distinguishes it from others of the same name.

    ``first_at`` is the time of the oldest message, meaningless without messages; ``asked_at``
    the broker's time of the answer.
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
        """Read the broker's answer."""
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

    ``pending`` messages were not delivered yet, ``unanswered`` ones were delivered only;
    ``asked_at`` is the broker's time of the answer.
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
        """Read the broker's answer."""
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
        """Filters of its subjects; none means all."""
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
    """The block of headers as it was stored; `message_id` finds one of them."""

    @property
    def message_id(self) -> str | None:
        """The id by which the broker drops repetitions."""
        _, found, rest = self.headers.partition(b"Nats-Msg-Id:")
        return rest.partition(b"\r\n")[0].strip().decode() if found else None


async def stream_info(bus: Bus, name: str, *, seconds: float = SECONDS) -> StreamInfo | None:
    """Return a stream, None if it does not exist.

    Raises:
        BusUnavailable: no answer.
        TopologyRefused: the broker says no.
    """
    answer = await call(bus, f"STREAM.INFO.{name}", seconds=seconds)
    return None if answer is None else StreamInfo.of(answer)


async def consumer_info(
    bus: Bus, stream: str, name: str, *, seconds: float = SECONDS
) -> ConsumerInfo | None:
    """Return a consumer, None if it or its stream does not exist.

    Raises:
        BusUnavailable, TopologyRefused: as `stream_info`.
    """
    answer = await call(bus, f"CONSUMER.INFO.{stream}.{name}", seconds=seconds)
    return None if answer is None else ConsumerInfo.of(answer)


async def list_consumers(
    bus: Bus, stream: str, *, seconds: float = SECONDS
) -> list[ConsumerInfo] | None:
    """Return all consumers of a stream, None if it does not exist.

    Raises:
        BusUnavailable, TopologyRefused: as `stream_info`.
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
    """Return a message of a stream, None if it or the stream does not exist.

    With a pattern of subjects in ``next_of`` it is the first of these at the number or behind it.
    After the loss of a store the number may be that of another message.

    Raises:
        BusUnavailable, TopologyRefused: as `stream_info`.
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
        BusUnavailable, TopologyRefused: as `stream_info`.
    """
    wanted: JsonObject = {"seq": sequence, "no_erase": True}
    answer = await call(
        bus, f"STREAM.MSG.DELETE.{stream}", wanted, allow=_NO_MESSAGE, seconds=seconds
    )
    return answer is not None and "error" not in answer


async def has_failed(bus: Bus, stream: str, *, seconds: float = SECONDS) -> bool:
    """Return whether a stream refuses all messages until the broker is restarted.

    Raises:
        BusUnavailable, TopologyRefused: as `stream_info`.
        BusForbidden: our login may not ask.
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
    """Call the API; None where the stream, consumer or message does not exist.

    Raises:
        TopologyRefused: the broker said no, other than with an error in ``allow``.
        BusUnavailable: no answer.
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
    """Read the broker's time; it may have nine digits after the point or none."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    micros = int(fraction[:6].ljust(6, "0")) if fraction else 0
    return datetime.fromisoformat(whole).replace(tzinfo=UTC) + timedelta(microseconds=micros)
