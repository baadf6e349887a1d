"""The chain of a log: a digest over every event of an execution, each with the one before it."""

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
# With the delimiters of numbers alike, and without the rest of each, an exponent stands alone.
_DELIMITERS = bytes.maketrans(b"[]{}:", b",,,,,")
_IN_NUMBERS = b"0123456789.+-"


@dataclass(slots=True)
class Chain:
    """The digest of a log from its first event on.

    ``digest`` after an event is SHA-256 over the 32 bytes before it (none before the first) and the
    event's `canonical` bytes. It can be computed again from the log, so a row that was changed,
    lost, added or moved is found; it is no signature, since a writer of the log and its digest can
    compute a new one. Keep digests elsewhere to be safe from that.

    Attributes:
        position: of the last event in it; 0 for an empty log.
        digest: 32 bytes; empty for an empty log.
    """

    position: int = 0
    digest: bytes = b""

    def extend(self, rows: Iterable[EventRow]) -> bool:
        """Add the rows behind the last one, in their order; return False at a gap.

        Rows that are in the chain already are passed over.
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
    """Return the bytes of an event that its digest covers: the same before and after it is stored.

    They are a JSON array of the columns in the order of `EventRow`, without blanks, keys sorted,
    the moment in microseconds since 1970. Floats from 10^16 on, and whole numbers beyond 64 bits,
    are the whole number that the shortest text of their double is.

    Raises:
        TypeError, ValueError: a value is not JSON.
    """
    fields = _fields(row)
    try:
        text = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # Keys may be numbers, which are texts once they are stored, in another order.
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
    """Return whether another writer of JSON may spell a number otherwise.

    PostgreSQL writes no exponents and no negative zero, and each library begins with exponents of
    its own choice.
    """
    # Nearly all texts pass the cheap looks, whatever digits and letters are in them.
    exponents = text.translate(_DELIMITERS, _IN_NUMBERS)
    return (b",e," in exponents or b"0.0000" in text or b"-0.0" in text) and bool(_odd_number(text))


def _as_stored(fields: Json) -> bytes:
    # The standard library's: floats are written as `repr` does, for ever.
    text = json.dumps(_settled(fields), separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return text.encode()


def _settled(value: Json) -> Json:
    match value:
        case dict():
            return {key: _settled(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_settled(inner) for inner in value]
        case float():
            return _settled_float(value)
        case int() if not _SMALLEST <= value <= _LARGEST:
            # Readers take such a number for a double, if it is not too large even for that.
            with suppress(OverflowError):
                return _settled_float(float(value))
            return value
        case _:
            return value


def _settled_float(value: float) -> Json:
    if not isfinite(value):
        return None
    if value == 0:
        return 0.0
    return int(Decimal(repr(value))) if abs(value) >= _EXACT_UNTIL else value
