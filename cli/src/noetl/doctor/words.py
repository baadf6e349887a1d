"""Numbers and times in words."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def counted(number: int, word: str) -> str:
    """Return a number with its word: 1 row, 2 rows."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def ages(seconds: float) -> str:
    """Return a time in its two largest units: 45s, 3m 20s, 2h 5m, 4d 1h."""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"
