"""Dead letters: messages that no handler can take, kept in a stream for people."""

import orjson
from noetl_contract.message_ids import dead_letter_id
from noetl_contract.streams import DEAD, STREAMS, DurableSpec
from noetl_contract.subjects import dead_letter_subject

from noetl_common import metrics
from noetl_common.bus.broker import Bus
from noetl_common.bus.delivery import Delivery
from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger, masked

_log = get_logger()
_LONGEST_REASON = 500
_ROOM_FOR_HEADERS = 16 << 10
_BURIED = metrics.counter(
    "noetl_dead_letter_total",
    "Messages given up.",
    ("stream",),
    zeros=[stream.name for stream in STREAMS if stream is not DEAD],
)


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
