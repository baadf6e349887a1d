"""Takes secrets out of results before they leave the worker (worker 12)."""

import re
from functools import lru_cache
from typing import Any

__all__ = ["DEEPEST", "REDACTED", "NestedTooDeeply", "scrub"]

REDACTED = "[REDACTED]"
DEEPEST = 100
"""Levels of a result. Readers of our messages stop between 128 and 255, framing included."""

# A key counts when one of these is anywhere in it. Longer words of the contract's list that
# contain a shorter one (`auth_token`, `db_password`) need no entry of their own.
_SENSITIVE = (
    "password", "passwd", "pwd", "secret", "token", "bearer", "api_key", "apikey", "auth",
    "credential", "private_key", "privatekey", "connection_string", "connectionstring", "gcp_key",
    "azure_key", "ssh_key", "sshkey", "passphrase", "pem", "cert", "encryption_key",
    "decrypt_key", "master_key", "keychain", "jwt",
)  # fmt: skip
_SHORTEST = 8
_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|^\s*(?:bearer|basic)\s+\S"
    r"|^eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"
    r"|(?:^|[ \t\r\n\"':=,])"
    r"(?:sk-ant-|sk-|AIza|ya29\.|gh[psour]_|github_pat_|xox[bapr s]-)[A-Za-z0-9_-]{12}".replace(
        "[bapr s]", "[baprs]"
    ),
    re.IGNORECASE,
)


class NestedTooDeeply(ValueError):
    """A value that nobody could read."""

    def __init__(self) -> None:
        super().__init__(f"the result is nested more than {DEEPEST} levels deep")


def scrub(value: Any, _room: int = DEEPEST) -> Any:
    """Return the value with whatever looks secret replaced; shares what needs no change.

    Raises:
        NestedTooDeeply: it has too many levels.
    """
    if isinstance(value, str):
        return REDACTED if len(value) >= _SHORTEST and _is_secret(value) else value
    if isinstance(value, dict | list) and not _room:
        raise NestedTooDeeply
    if isinstance(value, dict):
        return {
            key: REDACTED if _is_sensitive(key) else scrub(item, _room - 1)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [scrub(item, _room - 1) for item in value]
    return value


@lru_cache(maxsize=4096)
def _is_sensitive(key: str) -> bool:
    name = key.lower().replace("-", "_")
    return any(word in name for word in _SENSITIVE)


def _is_secret(text: str) -> bool:
    return _VALUE.search(text) is not None
