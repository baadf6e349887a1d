"""Wrap and unwrap data keys with the configured master key; refuse when there is none."""

from typing import Protocol

from noetl_common.crypto.aead import KEY_BYTES, random_bytes
from noetl_common.crypto.envelope import WrappedKey
from noetl_common.crypto.errors import BadKey
from noetl_common.crypto.local_keys import LocalKeys, MasterKey, decode_key, decode_keys
from noetl_common.errors import Unavailable
from noetl_common.logging import get_logger

from noetl_catalog.secrets.settings import SecretSettings

_log = get_logger()


class KeyMissing(Unavailable):
    """No key is configured."""

    template = "NOETL_ENCRYPTION_KEY is not set: secrets can be neither stored nor read"


class KeyManager(Protocol):
    """A manager that wraps and unwraps data keys."""

    @property
    def has_keys(self) -> bool:
        """Whether a key is configured."""

    @property
    def is_durable(self) -> bool:
        """Whether the next process will be able to unwrap this process's data keys."""

    async def wrap(self, data_key: bytes, /) -> WrappedKey:
        """Wrap a data key with the current version."""

    async def unwrap(self, dek: WrappedKey, /) -> bytes:
        """Unwrap a data key with the known version that wrapped it."""

    async def is_current(self, dek: WrappedKey, /) -> bool:
        """Return whether the current key wraps a data key."""

    def open_bare(self, blob: bytes, /) -> bytes:
        """Open a text that was encrypted without a data key."""


class LocalKeyManager:
    """Keys from settings; without any it refuses every operation, and the rest works."""

    def __init__(self, keys: LocalKeys | None, *, is_durable: bool = True) -> None:
        self._keys = keys
        self.has_keys = keys is not None
        self.is_durable = is_durable

    async def wrap(self, data_key: bytes) -> WrappedKey:
        """Wrap with the current key."""
        return self._found.wrap(data_key)

    async def unwrap(self, dek: WrappedKey) -> bytes:
        """Unwrap with any key."""
        return self._found.unwrap(dek)

    async def is_current(self, dek: WrappedKey) -> bool:
        """Return whether the current key wraps it."""
        return self._found.is_current(dek)

    def open_bare(self, blob: bytes) -> bytes:
        """Open with any key."""
        return self._found.open_bare(blob)

    @property
    def _found(self) -> LocalKeys:
        if self._keys is None:
            raise KeyMissing
        return self._keys


def local_manager(settings: SecretSettings) -> LocalKeyManager:
    """Build the manager of configured keys.

    Raises:
        BadKey: a configured key is unusable, which ends the start.
    """
    text = settings.encryption_key.get_secret_value()
    if text.strip():
        current = MasterKey(settings.encryption_key_version, decode_key(text))
        earlier = decode_keys(settings.encryption_keys_earlier.get_secret_value())
        return LocalKeyManager(LocalKeys(current, earlier=earlier))
    if settings.encryption_keys_earlier.get_secret_value().strip():
        raise BadKey(reason="NOETL_ENCRYPTION_KEYS_EARLIER is set without NOETL_ENCRYPTION_KEY")
    if settings.allow_insecure_default_key:
        _log.warning("insecure_encryption_key", reason="secrets are unreadable after a restart")
        material = random_bytes(KEY_BYTES)
        keys = LocalKeys(MasterKey(settings.encryption_key_version, material))
        return LocalKeyManager(keys, is_durable=False)
    _log.error("encryption_key_missing", variable="NOETL_ENCRYPTION_KEY")
    return LocalKeyManager(None, is_durable=False)
