"""Master keys that the operator configures: the current key, and earlier keys for reading."""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass, field

from noetl_common.crypto.aead import KEY_BYTES, RandomBytes, decrypt, encrypt, random_bytes
from noetl_common.crypto.envelope import WrappedKey
from noetl_common.crypto.errors import BadKey, DecryptionFailed, WrongProvider

LOCAL = "local"
_KEY_ID = "env:NOETL_ENCRYPTION_KEY"
_MANAGER = "LocalDevKms"


@dataclass(frozen=True, slots=True)
class MasterKey:
    """A key of 32 bytes and its version."""

    version: str
    material: bytes = field(repr=False)


def decode_key(text: str) -> bytes:
    """Return the key that a setting holds as base64.

    Raises:
        BadKey: the text is not a valid key; the message doesn't quote it.
    """
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadKey(reason=f"Invalid base64 key: {error}") from None
    if len(key) != KEY_BYTES:
        raise BadKey(reason=f"Invalid key length: expected 32 bytes, got {len(key)}")
    return key


def decode_keys(text: str) -> tuple[MasterKey, ...]:
    """Return the keys of a list ``version=base64, …``.

    Raises:
        BadKey: an entry lacks a version or a valid key.
    """
    keys = []
    for number, entry in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        version, has_key, key = entry.partition("=")
        if not has_key or not version.strip():
            raise BadKey(reason=f"earlier key {number} is not of the form version=base64")
        try:
            keys.append(MasterKey(version.strip(), decode_key(key)))
        except BadKey as error:
            name = f"earlier key '{version.strip()[:32]}'"
            raise BadKey(reason=f"{name}: {error.message}") from None
    return tuple(keys)


class LocalKeys:
    """Wraps data keys with the current master key, and unwraps them with every master key.

    Args:
        current: the key that wraps data keys of new records.
        earlier: keys of records that are not rotated yet.
        random: source of nonces.

    Raises:
        BadKey: two keys have the same version, so a version names no single key.
    """

    def __init__(
        self,
        current: MasterKey,
        *,
        earlier: Iterable[MasterKey] = (),
        random: RandomBytes = random_bytes,
    ) -> None:
        self._current = current
        self._random = random
        self._keys = {current.version: current}
        for key in earlier:
            if key.version in self._keys:
                reason = f"two encryption keys have the version '{key.version}'"
                raise BadKey(reason=reason)
            self._keys[key.version] = key

    @property
    def version(self) -> str:
        """Version of the current key."""
        return self._current.version

    def wrap(self, data_key: bytes) -> WrappedKey:
        """Wrap a data key with the current key."""
        return WrappedKey(
            provider=LOCAL,
            key_id=_KEY_ID,
            version=self._current.version,
            ciphertext=encrypt(self._current.material, data_key, random=self._random),
        )

    def unwrap(self, dek: WrappedKey) -> bytes:
        """Unwrap a data key.

        Raises:
            WrongProvider: another key manager wrapped it.
            DecryptionFailed: no configured key unwraps it.
        """
        if dek.provider != LOCAL:
            raise WrongProvider(manager=_MANAGER, provider=dek.provider)
        return self._open(dek.ciphertext, first=dek.version)

    def is_current(self, dek: WrappedKey) -> bool:
        """Return whether a data key is wrapped with the current key; tested by unwrapping it."""
        if dek.provider != LOCAL or dek.version != self._current.version:
            return False
        try:
            decrypt(self._current.material, dek.ciphertext)
        except DecryptionFailed:
            return False
        return True

    def open_bare(self, blob: bytes) -> bytes:
        """Decrypt a record of the reference server that has no data key.

        Raises:
            DecryptionFailed: no configured key decrypts it.
        """
        return self._open(blob, first=self._current.version)

    def _open(self, blob: bytes, *, first: str) -> bytes:
        # An operator may have changed a key without changing its version, so all keys are tried.
        keys = sorted(self._keys.values(), key=lambda key: key.version != first)
        for key in keys[:-1]:
            try:
                return decrypt(key.material, blob)
            except DecryptionFailed:
                continue
        return decrypt(keys[-1].material, blob)
