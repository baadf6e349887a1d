"""Settings of keys, credentials and the keychain."""

import json
from typing import Annotated, Literal

from noetl_common.environment.pieces import SettingsPiece
from noetl_common.logging import get_logger
from pydantic import BeforeValidator, Field, SecretStr

_TRUE_WORDS = frozenset({"1", "true", "yes", "on"})
_log = get_logger()


def _switch(value: object) -> bool:
    """Read a switch; any other text than a yes is a no: a typing error must not open anything."""
    return str(value).strip().lower() in _TRUE_WORDS


type Switch = Annotated[bool, BeforeValidator(_switch)]


class SecretSettings(SettingsPiece):
    """Keys, lifetimes, residency and limits of secrets."""

    encryption_key: SecretStr = SecretStr("")
    """Base64 of the 32 bytes that data keys of stored secrets are wrapped with."""
    encryption_key_version: str = Field(default="v1", min_length=1)
    """Name of that key; a new key gets a new one, see docs/secrets.md."""
    encryption_keys_earlier: SecretStr = SecretStr("")
    """Earlier keys that records may still be under: `version=base64`, by commas."""
    envelope_oldest_version: Literal[1, 2] = 1
    """Oldest version of records that is read; 2 once a rotation has bound all to their rows."""
    allow_insecure_default_key: Switch = False
    """Without a key make one for this process: nothing is readable after it."""
    allow_plain_secrets: Switch = False
    """Read rows that a Python server stored as plain JSON; rotating encrypts them."""
    kms_provider: str = "local"
    """`local` or `gcp-kms`."""
    gcp_kms_key: str = ""
    """Name of the key for `gcp-kms`."""
    gcp_kms_endpoint: str = "https://cloudkms.googleapis.com/v1"
    """Address of that KMS."""
    secret_audit_required: Switch = False
    """Refuse a secret when its read can't be recorded."""
    secret_audit_retention_days: float = Field(default=0.0, ge=0)
    """Days that audit records are kept; 0: for ever."""
    keychain_retention_seconds: float = Field(default=86_400.0, ge=0)
    """How long expired keychain entries stay, renewing ones apart."""
    keychain_local_seconds: float = Field(default=3_600.0, gt=0)
    """Life of a local keychain entry that names none."""
    keychain_seconds: float = Field(default=86_400.0, gt=0)
    """Life of any other keychain entry that names none."""
    keychain_cache_seconds: float = Field(default=600.0, gt=0)
    """Life of a resolved secret whose issuer names none."""
    keychain_cache_dynamic_safety_margin_secs: float = Field(
        default=60.0, ge=0, validation_alias="KEYCHAIN_CACHE_DYNAMIC_SAFETY_MARGIN_SECS"
    )
    """A secret that expires sooner isn't cached."""
    keychain_cache_refresh_window_secs: float = Field(
        default=60.0, ge=0, validation_alias="KEYCHAIN_CACHE_REFRESH_WINDOW_SECS"
    )
    """A cached secret that expires sooner is resolved again in the background."""
    keychain_renewal_seconds: float = Field(default=15.0, gt=0)
    """Longest that one process asks a provider for a secret, for all others."""
    keychain_retry_seconds: float = Field(default=1.0, gt=0)
    """Pause after a provider failed; doubled after each further failure of the same secret, up
    to…"""
    keychain_retry_max_seconds: float = Field(default=30.0, gt=0)
    """…this pause."""
    server_region: str = ""
    """Region of this cluster, for residency."""
    secret_broker_registry: str = ""
    """JSON object of other regions and the base URLs of their edges."""
    secret_broker_timeout_secs: float = Field(default=10.0, gt=0)
    """Timeout of a call to another region."""
    internal_api_token: SecretStr = SecretStr("")
    """Bearer token for the edges of other regions."""
    auth: Literal["auto", "on", "off"] = "auto"
    """As at the edge: whether callers must say who they are."""
    keychain_references: str = ""
    """References that playbooks may ask providers for: a JSON object of path prefixes with lists of
    `provider:pattern`. Empty: none where callers must say who they are, else all."""
    credential_list_limit: int = Field(default=10_000, gt=0)
    """Credentials in one answer of the list, newest first."""
    rotation_slice_seconds: float = Field(default=3.0, gt=0)
    """How long one request rotates keys before it answers."""

    def region_addresses(self) -> dict[str, str]:
        """Return base URLs by region; none, with a warning, when the setting is no JSON object."""
        if not self.secret_broker_registry.strip():
            return {}
        try:
            registry = json.loads(self.secret_broker_registry)
        except ValueError:
            registry = None
        if not isinstance(registry, dict):
            _log.warning("secret_broker_registry_ignored", reason="not a JSON object")
            return {}
        return {
            region: url.rstrip("/")
            for region, url in registry.items()
            if isinstance(url, str) and url.strip()
        }
