"""The hash chain of a log: each digest covers an event and the digest before it."""

import hashlib
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite

import orjson
from noetl_contract.events import EventRow
from noetl_contract.json import Json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SMALLEST, _LARGEST = -(1 << 63), (1 << 64) - 1
_EXACT_UNTIL = 1e16
_odd_number = re.compile(rb"[\[:,]-?(?:\d+(?:\.\d+)?e|0\.0)").search
# All delimiters become commas and all other characters of numbers go, so that only `,e,` is left of
# a number with an exponent.
_DELIMITERS = bytes.maketrans(b"[]{}:", b",,,,,")
_IN_NUMBERS = b"0123456789.+-"


@dataclass(slots=True)
class Chain:
    """The digest of a log from its first event on.

    The digest after an event is SHA-256 over the digest before it (empty before the first event)
    and the event's `canonical` bytes. Recomputing it from the log shows whether a row was changed,
    lost, added or moved. The digest is not a signature: whoever can write both the log and the
    digest can recompute it. To detect that too, keep digests elsewhere.

    Attributes:
        position: position of the last event in the chain; 0 for an empty log.
        digest: 32 bytes; empty for an empty log.
    """

    position: int = 0
    digest: bytes = b""

    def extend(self, rows: Iterable[EventRow]) -> bool:
        """Append rows in the order of their positions; stop and return False at a gap.

        Rows that the chain already contains are skipped.
        """
        last, is_gapless = self.position, True
        following: list[EventRow] = []
        for row in rows:
            if row.position <= last:
                continue
            if row.position != last + 1:
                is_gapless = False
                break
            last = row.position
            following.append(row)
        digest = self.digest
        for text in _all_canonical(following):
            digest = hashlib.sha256(digest + text).digest()
        self.position, self.digest = last, digest
        return is_gapless


def canonical(row: EventRow) -> bytes:
    """Return the bytes of an event that its digest covers; storing the event doesn't change them.

    The bytes are a JSON array of the columns in the order of `EventRow`: without blanks, with
    sorted keys, and with the time in microseconds since 1970. Floats from 10^16 on and integers
    beyond 64 bits are written as the integer that equals the shortest text of their double.

    Raises:
        TypeError, ValueError: a value is not JSON.
    """
    fields = _fields(row)
    try:
        text = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # Keys may be numbers. They become strings when they are stored, which changes their order.
        return _as_stored(json.loads(json.dumps(fields)))
    return _as_stored(fields) if _may_be_rewritten(text) else text


def _all_canonical(rows: list[EventRow]) -> list[bytes]:
    """Return the `canonical` bytes of events, computed together."""
    try:
        texts = [orjson.dumps(_fields(row), option=orjson.OPT_SORT_KEYS) for row in rows]
    except TypeError:
        return [canonical(row) for row in rows]
    return [canonical(row) for row in rows] if _may_be_rewritten(b"".join(texts)) else texts


def _fields(row: EventRow) -> list[Json]:
    return [
        row.execution_id,
        row.position,
        row.event_id,
        row.event_type,
        (row.created_at - _EPOCH) // _MICROSECOND,
        row.catalog_id,
        row.node_id,
        row.node_name,
        row.node_type,
        row.status,
        row.parent_event_id,
        row.parent_execution_id,
        row.context,
        row.result,
        row.meta,
        row.error,
        row.worker_id,
        row.note,
    ]


def _may_be_rewritten(text: bytes) -> bool:
    """Return whether another JSON encoder may write one of the numbers differently.

    PostgreSQL writes no exponents and no negative zero, and libraries differ in the size from which
    they write an exponent.
    """
    # The cheap tests rule out nearly all texts; the expression is evaluated for the rest.
    exponents = text.translate(_DELIMITERS, _IN_NUMBERS)
    return (b",e," in exponents or b"0.0000" in text or b"-0.0" in text) and bool(_odd_number(text))


def _as_stored(fields: Json) -> bytes:
    # The encoder of the standard library writes floats as `repr` does, which will not change.
    text = json.dumps(
        _canonical_value(fields), separators=(",", ":"), sort_keys=True, ensure_ascii=False
    )
    return text.encode()


def _canonical_value(value: Json) -> Json:
    match value:
        case dict():
            return {key: _canonical_value(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_canonical_value(inner) for inner in value]
        case float():
            return _canonical_float(value)
        case int() if not _SMALLEST <= value <= _LARGEST:
            # Readers convert such an integer to a double, unless it is too large for a double.
            with suppress(OverflowError):
                return _canonical_float(float(value))
            return value
        case _:
            return value


def _canonical_float(value: float) -> Json:
    if not isfinite(value):
        return None
    if value == 0:
        return 0.0
    return int(Decimal(repr(value))) if abs(value) >= _EXACT_UNTIL else value
