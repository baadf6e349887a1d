"""Times as RFC 3339 texts, and durations, as answers show them."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator

from noetl_contract.json import Json


def rfc3339(moment: datetime) -> str:
    """Format a moment as RFC 3339 in UTC with ``Z`` and 0, 3 or 6 fractional digits.

    A moment without zone is taken as UTC, as the zone-less columns hold it.
    """
    if moment.tzinfo is not None and moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    text = moment.replace(tzinfo=None).isoformat()
    if text.endswith("000") and len(text) == 26:
        text = text[:-3]
    return f"{text}Z"


def rfc3339_or_none(moment: datetime | None) -> str | None:
    """Format a moment that may be missing."""
    return None if moment is None else rfc3339(moment)


def _shown(value: Json) -> Json:
    return rfc3339(value) if isinstance(value, datetime) else value


Rfc3339 = Annotated[str, BeforeValidator(_shown)]
"""A time in an answer, formatted from a `datetime` as rows have it."""


def duration_seconds(start: datetime, end: datetime) -> float:
    """Return the seconds between two moments, never negative, in milliseconds' precision."""
    return round(max((end - start).total_seconds(), 0.0), 3)


def duration_human(seconds: float) -> str:
    """Spell a duration: ``1d 2h 3m 4s``, zero parts left out, at least ``0s``."""
    left = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"
