"""Dead letters: messages that no handler can take, kept in a stream for operators."""

from dataclasses import dataclass
from datetime import datetime

import orjson
from noetl_common import metrics
from noetl_common.errors import NoetlError
from noetl_common.logging import MASK, get_logger, masked
from noetl_contract.message_ids import dead_letter_id
from noetl_contract.streams import DEAD, STREAMS, DurableSpec
from noetl_contract.subjects import INGRESS_ROOT, dead_letter_subject

from noetl_bus.broker import Bus
from noetl_bus.consumers.delivery import Delivery
from noetl_bus.jetstream import StoredMessage

_log = get_logger()
OURS = "Noetl-Dead-"
"""Prefix of the headers about a letter; the others are the original's."""
_LONGEST_REASON = 500
_ROOM_FOR_HEADERS = 16 << 10
_BURIED = metrics.counter(
    "noetl_dead_letter_total",
    "Messages given up.",
    ("stream",),
    zeros=[stream.name for stream in STREAMS if stream is not DEAD],
)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Data of a letter about its original.

    Attributes:
        number: in the stream.
        subject: of the original.
        execution_id: to which it belongs, if it names one.
        reason: why it was given up.
        tries: how often it was delivered.
        buried_at: when it was given up.
        hindrance: why it can't be put back; None when it can.
    """

    number: int
    subject: str | None
    execution_id: int | None
    reason: str
    tries: int
    buried_at: datetime
    hindrance: str | None


def read_dead_letter(message: StoredMessage) -> DeadLetter:
    """Read the headers of a letter."""
    headers = headers_of(message)
    subject = headers.get(f"{OURS}Subject")
    return DeadLetter(
        number=message.sequence,
        subject=subject,
        execution_id=_execution_of(subject),
        reason=headers.get(f"{OURS}Reason", ""),
        tries=int(headers.get(f"{OURS}Deliveries", "1")),
        buried_at=message.stored_at,
        hindrance=_hindrance(message, headers),
    )


def headers_of(message: StoredMessage) -> dict[str, str]:
    """Return the headers of a stored message."""
    lines = message.headers.decode(errors="replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name: text.strip() for name, _, text in pairs}


def _hindrance(message: StoredMessage, headers: dict[str, str]) -> str | None:
    subscription = headers.get(f"{OURS}Subscription")
    if subscription is not None:
        source = headers.get(f"{OURS}Source", "its source")
        return f"it is a message of {source} for {subscription}: have it sent there again"
    if f"{OURS}Subject" not in headers:
        return "it doesn't say where it came from"
    if f"{OURS}Cut" in headers:
        return "only its beginning was kept: have it sent again"
    if f'"{MASK}"'.encode() in message.data or MASK in headers.values():
        return "its secrets were masked when it was kept: have it sent again"
    return None


def _execution_of(subject: str | None) -> int | None:
    parts = (subject or "").split(".")
    if len(parts) < 3 or parts[0] != INGRESS_ROOT or not parts[2].isdecimal():
        return None
    return int(parts[2])


async def bury(bus: Bus, spec: DurableSpec, delivery: Delivery, reason: str) -> bool:
    """Copy a delivery to ``noetl_dead.<stream>``; return whether that worked.

    Body and headers are the original's with secrets masked. The broker's own headers are left
    out: on the copy they would have an effect of their own.
    """
    body = _without_secrets(delivery.data)
    limit = bus.largest_message - _ROOM_FOR_HEADERS
    headers = _headers(delivery, spec, reason)
    if len(body) > limit:
        body = body[:limit]
        headers["Noetl-Dead-Cut"] = str(len(delivery.data))
    message_id = dead_letter_id(
        spec.stream, sequence=delivery.stream_sequence, stored_at_ns=delivery.stored_at_ns
    )
    try:
        await bus.publish(
            dead_letter_subject(spec.stream), body, message_id=message_id, headers=headers
        )
    except NoetlError as error:
        _log.error("dead_letter_not_stored", stream=spec.stream, error=error.message)
        return False
    _BURIED.labels(spec.stream).inc()
    _log.warning(
        "dead_letter", stream=spec.stream, subject=delivery.subject, reason=reason[:_LONGEST_REASON]
    )
    return True


def _headers(delivery: Delivery, spec: DurableSpec, reason: str) -> dict[str, str]:
    kept: dict[str, str] = masked(
        {name: text for name, text in delivery.headers.items() if not name.startswith("Nats-")}
    )
    about = {
        "Noetl-Dead-Reason": reason[:_LONGEST_REASON],
        "Noetl-Dead-Subject": delivery.subject,
        "Noetl-Dead-Stream": spec.stream,
        "Noetl-Dead-Consumer": spec.name,
        "Noetl-Dead-Sequence": str(delivery.stream_sequence),
        "Noetl-Dead-Deliveries": str(delivery.num_delivered),
        "Noetl-Dead-Message-Id": delivery.headers.get("Nats-Msg-Id", ""),
    }
    return {**kept, **about}


def _without_secrets(data: bytes) -> bytes:
    """Mask values of a JSON body that look like secrets; other bodies stay as they are."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data
    clean = masked(body)
    return data if clean == body else orjson.dumps(clean)
