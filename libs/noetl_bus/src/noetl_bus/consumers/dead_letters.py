"""Dead letters: messages that no handler can process, kept in a stream for operators."""

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
"""Prefix of the headers that describe a dead letter; other headers are of the original message."""
_LONGEST_REASON = 500
_ROOM_FOR_HEADERS = 16 << 10
_DEAD_LETTERS = metrics.counter(
    "noetl_dead_letter_total",
    "Messages that were moved to the dead-letter stream.",
    ("stream",),
    zeros=[stream.name for stream in STREAMS if stream is not DEAD],
)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Description of a dead letter.

    Attributes:
        number: sequence in the dead-letter stream.
        subject: subject of the original message.
        execution_id: id of the execution, if the subject contains one.
        reason: reason for which the message was given up.
        tries: number of deliveries of the original message.
        given_up_at: time at which the message was given up.
        hindrance: reason for which the message can't be replayed; None if it can.
    """

    number: int
    subject: str | None
    execution_id: int | None
    reason: str
    tries: int
    given_up_at: datetime
    hindrance: str | None


def read_dead_letter(message: StoredMessage) -> DeadLetter:
    """Parse the headers of a dead letter."""
    headers = headers_of(message)
    subject = headers.get(f"{OURS}Subject")
    return DeadLetter(
        number=message.sequence,
        subject=subject,
        execution_id=_execution_of(subject),
        reason=headers.get(f"{OURS}Reason", ""),
        tries=int(headers.get(f"{OURS}Deliveries", "1")),
        given_up_at=message.stored_at,
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
        return f"it is a message of {source} for {subscription}: send it there again"
    if f"{OURS}Subject" not in headers:
        return "it has no header with its original subject"
    if f"{OURS}Cut" in headers:
        return "only its beginning was kept: send it again"
    if f'"{MASK}"'.encode() in message.data or MASK in headers.values():
        return "its secrets were masked when it was kept: send it again"
    return None


def _execution_of(subject: str | None) -> int | None:
    parts = (subject or "").split(".")
    if len(parts) < 3 or parts[0] != INGRESS_ROOT or not parts[2].isdecimal():
        return None
    return int(parts[2])


async def move_to_dead_letters(
    bus: Bus, spec: DurableSpec, delivery: Delivery, reason: str
) -> bool:
    """Copy a delivery to ``noetl_dead.<stream>``; return whether the copy is stored.

    Secrets in body and headers are masked. Headers of the broker are not copied, because the broker
    would act on them again.
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
    _DEAD_LETTERS.labels(spec.stream).inc()
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
    """Mask values of a JSON body that look like secrets; return other bodies unchanged."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data
    clean = masked(body)
    return data if clean == body else orjson.dumps(clean)
