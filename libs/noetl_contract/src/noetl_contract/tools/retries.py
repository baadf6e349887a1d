"""Words of ``retry_on``: on which failures a tool is tried again."""

from typing import Final

FAILURE_KINDS: Final = frozenset(
    {
        "auth", "client_error", "connection", "db_connection", "db_constraint", "db_deadlock",
        "db_timeout", "not_found", "rate_limit", "server_error", "timeout", "unknown",
    }
)  # fmt: skip
"""Kinds of failures as policies see them (``output.error.kind``)."""

RETRY_SYNONYMS: Final = {
    "connection_error": "connection",
    "deadlock": "db_deadlock",
    "network": "connection",
    "network_error": "connection",
    "rate_limited": "rate_limit",
    "timeout_error": "timeout",
}
"""Synonyms of some kinds of failures."""


def is_retry_condition(word: str) -> bool:
    """Return whether a word of ``retry_on`` can hold for a failure: a kind, a code or a status."""
    bare = word.strip().lower()
    if RETRY_SYNONYMS.get(bare, bare) in FAILURE_KINDS or bare.startswith(("http_", "pg_")):
        return True
    return len(bare) == len("503") and bare[0] in "12345" and (bare[1:] == "xx" or bare.isdecimal())
