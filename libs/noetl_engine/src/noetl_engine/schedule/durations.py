"""Durations as documents write them: ``90``, ``30s``, ``15m``, ``1h30m``, ``2d``, ``1w``."""

import re
from typing import Final

from noetl_engine.playbook.model import LONGEST_SECONDS, Value

_UNITS: Final = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_FORM: Final = re.compile(
    r"(?:(\d{1,9})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?"
)


def whole_seconds(value: Value) -> int | None:
    """Return a duration in seconds; None for another value, a negative one or more than a year."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        seconds = value
    elif isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        seconds = int(value) if len(value.strip()) < 10 else -1
    elif isinstance(value, str) and value.strip() and (form := _FORM.fullmatch(value.strip())):
        seconds = sum(
            int(count or 0) * size
            for count, size in zip(form.groups(), _UNITS.values(), strict=True)
        )
    else:
        return None
    return seconds if 0 <= seconds <= LONGEST_SECONDS else None
