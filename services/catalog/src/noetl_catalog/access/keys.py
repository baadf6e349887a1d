"""API keys: settings, creation and parsing."""

import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from noetl_common.environment.pieces import SettingsPiece
from noetl_common.errors import Permanent
from noetl_contract.access.keys import API_KEY
from noetl_contract.access.rights import Role
from pydantic import Field, SecretStr

_ID_BYTES = 6
_SECRET_BYTES = 32


class AccessSettings(SettingsPiece):
    """Preconfigured keys, and the retention of the audit."""

    access_keys: SecretStr = SecretStr("")
    """Keys that are stored at start: `role=nk_<id>_<secret>`, separated by commas. A revoked key
    stays revoked until its secret changes."""
    access_audit_retention_days: float = Field(default=90.0, ge=0)
    """Retention of the access audit in days; 0 for ever."""
    access_key_use_seconds: float = Field(default=10.0, gt=0)
    """Interval at which the last uses of keys are written."""
    access_key_limit: int = Field(default=10_000, gt=0)
    """Maximum number of keys, or of grants, in one answer."""


class BadAccessKey(Permanent):
    """A key in the settings is not valid; the message doesn't quote it."""

    template = "NOETL_ACCESS_KEYS: entry {number} is {problem}"
    http_status = 500


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key: its id, which is public, and its whole text, which is secret."""

    key_id: str
    token: str = field(repr=False)

    @property
    def sha256(self) -> bytes:
        """The hash of the key that is stored; a secret of 256 random bits needs no slow hash."""
        return hashlib.sha256(self.token.encode()).digest()


def new_key() -> ApiKey:
    """Generate a key."""
    key_id = secrets.token_hex(_ID_BYTES)
    return ApiKey(key_id, f"nk_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}")


def read_key(token: str) -> ApiKey | None:
    """Parse an API key; return None for any other text."""
    match = API_KEY.fullmatch(token)
    return None if match is None else ApiKey(match[1], token)


def configured_keys(text: str) -> Iterator[tuple[Role, ApiKey]]:
    """Parse a list ``role=key, …``.

    Raises:
        BadAccessKey: an entry has an unknown role, or no valid key.
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
