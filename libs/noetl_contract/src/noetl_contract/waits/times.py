"""Durations and moments as playbooks write them."""

import re
from datetime import UTC, datetime
from math import isfinite
from typing import Final

from noetl_contract.json import Json

DURATION_FORMS: Final = "90, 90s, 15m, 4h, 3d, 2w or 1d 12h"
MOMENT_FORMS: Final = "2030-01-31T09:00:00Z, with Z or an offset, or 2030-01-31"
# No wait of a playbook is longer.
LONGEST_SECONDS: Final = 366 * 86400.0

_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(s|m|h|d|w)?\s*", re.ASCII)
_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_MOST_CHARS: Final = 100
_BEYOND: Final = 1 << 40


def seconds_of(value: Json) -> float:
    """Return a duration in seconds: a number of them, or a text with units.

    Raises:
        ValueError: It is no duration, negative, or longer than 366 days.
    """
    seconds = _number(value) if not isinstance(value, str) else _parts(value)
    if seconds is None or seconds < 0:
        raise ValueError(f"{_shown(value)} is not a duration like {DURATION_FORMS}")
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"{_shown(value)} is longer than 366 days")
    return seconds


def moment_of(value: Json) -> datetime:
    """Return a moment in UTC; a day is its midnight in UTC.

    Raises:
        ValueError: It is no moment with a zone.
    """
    text = value.strip() if isinstance(value, str) else ""
    try:
        moment = datetime.fromisoformat(text[:_MOST_CHARS])
        if moment.tzinfo is None and len(text) == len("2030-01-31"):
            moment = moment.replace(tzinfo=UTC)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{_shown(value)} is not a moment like {MOMENT_FORMS}")


def told_duration(seconds: float) -> str:
    """Format a duration for people: ``1 day 12 hours``, ``90 seconds``."""
    rest = round(seconds)
    if rest < 120 or rest != seconds:
        amount = f"{seconds:.3f}".rstrip("0").rstrip(".")
        return f"{amount} second" if amount == "1" else f"{amount} seconds"
    parts = []
    for word, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {word}" + ("s" if count > 1 else ""))
    return " ".join(parts)


def _number(value: Json) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(min(value, _BEYOND)) if isinstance(value, int) or isfinite(value) else None


def _parts(text: str) -> float | None:
    text = text.strip()[:_MOST_CHARS]
    at, total = 0, 0.0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or (part[2] is None and part.end() - part.start() != len(text)):
            return None
        total += float(part[1]) * _UNIT_SECONDS[part[2] or "s"]
        at = part.end()
    return total if text else None


def _shown(value: Json) -> str:
    return f"'{str(value)[:50]}'"
