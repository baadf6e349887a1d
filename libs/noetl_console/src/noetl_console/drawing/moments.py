"""Times and lengths of time, as people read them."""

from datetime import UTC, datetime

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


def moment_of(text: str | None) -> datetime | None:
    """Return the time that an answer of the API names; None where it names none."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def seconds_text(seconds: float | None) -> str:
    """Return a length of time in its two largest units; empty without one."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    for size, unit in _UNITS:
        if seconds >= size:
            large, rest = divmod(int(seconds), size)
            below = {"d": (3600, "h"), "h": (60, "min"), "min": (1, "s")}[unit]
            small = rest // below[0]
            return f"{large} {unit} {small} {below[1]}" if small else f"{large} {unit}"
    return f"{seconds:.0f} s"


def ago(text: str | None, now: datetime) -> str:
    """Return how long ago a time was, or in how long it will be; empty without one."""
    moment = moment_of(text)
    if moment is None:
        return ""
    seconds = (now - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    largest = " ".join(seconds_text(float(int(abs(seconds)))).replace(".0 s", " s").split()[:2])
    return f"{largest} ago" if seconds > 0 else f"in {largest}"


def short_time(text: str | None) -> str:
    """Return a time without its zone, to the second; empty without one."""
    moment = moment_of(text)
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
