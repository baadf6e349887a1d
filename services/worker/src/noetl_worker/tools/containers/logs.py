"""Output of containers, without the secrets that they were given."""

from collections.abc import Iterable

from noetl_worker.redaction import mask

_SHORTEST = 4


def masked(text: str, hidden: Iterable[str]) -> str:
    """Return a text without the given values, longest first; shorter ones occur by chance."""
    values = sorted({value for value in hidden if len(value) >= _SHORTEST}, key=len, reverse=True)
    return mask(text, values)
