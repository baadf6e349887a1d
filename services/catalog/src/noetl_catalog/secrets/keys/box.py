"""Encryption of values for the database, and decryption of every stored form."""

import base64
import binascii
import json
from dataclasses import dataclass, field

import orjson
from noetl_common.crypto.envelope import Envelope, decode_envelope, new_data_key
from noetl_common.crypto.errors import DecryptionFailed, NotAnEnvelope
from noetl_contract.json import Json

from noetl_catalog.secrets.keys.manager import KeyManager

BARE, PLAIN = "bare", "plain"


@dataclass(frozen=True, slots=True)
class Closed:
    """A text to store, and the version of the key it depends on."""

    text: str
    key_version: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A value, and the version of its key, or the name of an old form."""

    value: Json = field(repr=False)
    key_version: str


class SecretBox:
    """Encryption of new values, and decryption of all forms that were ever stored.

    Args:
        keys: wraps the data keys.
        allows_plain: whether unencrypted rows of a Python server are read.
    """

    def __init__(self, keys: KeyManager, *, allows_plain: bool = False) -> None:
        self._keys = keys
        self._allows_plain = allows_plain

    async def close(self, value: Json) -> Closed:
        """Encrypt a value.

        Raises:
            NoetlError: the key manager can't wrap.
        """
        return await self._closed(_dumped(value))

    async def open(self, text: str) -> Opened:
        """Decrypt a stored text.

        Raises:
            NotAnEnvelope: the form of the text is unknown.
            DecryptionFailed: no known key opens it.
            WrongProvider: another key manager wrapped its key.
        """
        plaintext, version = await self._plaintext(text)
        try:
            return Opened(orjson.loads(plaintext), version)
        except orjson.JSONDecodeError:
            raise DecryptionFailed(reason="the plaintext is not JSON") from None

    async def rewrap(self, text: str) -> str | None:
        """Return a stored text under the current key; None when it needs no change.

        The encrypted data stays the same; only old forms are encrypted again.

        Raises:
            NotAnEnvelope: the form of the text is unknown.
            DecryptionFailed: no known key opens it.
            WrongProvider: another key manager wrapped its key.
        """
        try:
            envelope = decode_envelope(text)
        except NotAnEnvelope:
            plaintext, _ = await self._plaintext(text)
            return (await self._closed(plaintext)).text
        if await self._keys.is_current(envelope.dek):
            return None
        data_key = await self._keys.unwrap(envelope.dek)
        return envelope.rewrapped(await self._keys.wrap(data_key)).encode()

    async def _closed(self, plaintext: bytes) -> Closed:
        data_key = new_data_key()
        dek = await self._keys.wrap(data_key)
        envelope = Envelope.seal(plaintext, data_key=data_key, dek=dek)
        return Closed(envelope.encode(), dek.version)

    async def _plaintext(self, text: str) -> tuple[bytes, str]:
        try:
            envelope = decode_envelope(text)
        except NotAnEnvelope as error:
            return self._old_plaintext(text, error)
        return envelope.open(await self._keys.unwrap(envelope.dek)), envelope.dek.version

    def _old_plaintext(self, text: str, error: NotAnEnvelope) -> tuple[bytes, str]:
        """Read the forms of earlier servers: without a data key, or plain JSON."""
        try:
            blob = base64.b64decode(text.strip(), validate=True)
        except (binascii.Error, ValueError):
            blob = b""
        if blob:
            return self._keys.open_bare(blob), BARE
        if not self._allows_plain:
            raise error
        try:
            return _dumped(orjson.loads(text)), PLAIN
        except orjson.JSONDecodeError:
            raise error from None


def _dumped(value: Json) -> bytes:
    """Encode as the original server does: compact, keys sorted."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers beyond 64 bits
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode()
