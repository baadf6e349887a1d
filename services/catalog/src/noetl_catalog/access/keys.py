"""API keys: creating and parsing them, and keys from settings."""

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from noetl_common.errors import Permanent
from noetl_contract.access.keys import API_KEY
from noetl_contract.access.rights import Role

_ID_BYTES = 6
_SECRET_BYTES = 32


class BadAccessKey(Permanent):
    """A key of the settings is unusable; the text doesn't quote it."""

    template = "NOETL_ACCESS_KEYS: entry {number} is {problem}"
    http_status = 500


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key: its id, which may be shown, and its whole text, which may not."""

    key_id: str
    token: str = field(repr=False)

    @property
    def sha256(self) -> bytes:
        """Return the stored hash of the key; 256 random bits need no slow hash."""
        return hashlib.sha256(self.token.encode()).digest()


def new_key() -> ApiKey:
    """Make a key."""
    key_id = secrets.token_hex(_ID_BYTES)
    return ApiKey(key_id, f"nk_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}")


def read_key(token: str) -> ApiKey | None:
    """Parse an API key; None when the text is not one."""
    match = API_KEY.fullmatch(token)
    return None if match is None else ApiKey(match[1], token)


def configured_keys(text: str) -> Iterator[tuple[Role, ApiKey]]:
    """Read the keys of a list ``role=key, …``.

    Raises:
        BadAccessKey: an entry has no known role, or no key.
    """
    entries = filter(None, (part.strip() for part in text.split(",")))
    for number, entry in enumerate(entries, 1):
        word, _, token = entry.partition("=")
        key = read_key(token.strip())
        if key is None:
            raise BadAccessKey(number=number, problem="not of the form role=nk_<id>_<secret>")
        try:
            role = Role(word.strip())
        except ValueError:
            raise BadAccessKey(number=number, problem="for an unknown role") from None
        yield role, key
