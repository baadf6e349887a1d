"""Encryption of values for the database, and decryption of every stored form."""

import base64
import binascii
from dataclasses import dataclass, field

import orjson
from noetl_common.crypto.envelope import (
    BOUND,
    UNBOUND,
    Envelope,
    decode_envelope,
    encode_secret,
    new_data_key,
)
from noetl_common.crypto.errors import DecryptionFailed, NotAnEnvelope
from noetl_contract.json import Json

from noetl_catalog.secrets.keys.manager import KeyManager

BARE, PLAIN = "bare", "plain"


def row_of(table: str, key: str) -> str:
    """Return the identity of a row, to which its record is bound."""
    return f"{table}:{key}"


@dataclass(frozen=True, slots=True)
class Closed:
    """An encrypted text to store, and the version of the key it depends on."""

    text: str
    key_version: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A decrypted value, and the version of its key, or the name of an old form."""

    value: Json = field(repr=False)
    key_version: str


class SecretBox:
    """Encryption of new values, and decryption of all forms that were ever stored.

    Args:
        keys: wraps the data keys.
        allows_plain: whether unencrypted rows of a Python server are read.
        oldest: the oldest version that is read; 2 once all records are bound to their rows.
    """

    def __init__(
        self,
        keys: KeyManager,
        *,
        allows_plain: bool = False,
        oldest: int = UNBOUND,
    ) -> None:
        self._keys = keys
        self._allows_plain = allows_plain
        self._oldest = oldest

    async def close(self, value: Json, *, row: str) -> Closed:
        """Encrypt a value for the row that will hold it.

        Raises:
            NoetlError: the key manager can't wrap.
        """
        return await self._closed(encode_secret(value), row)

    async def open(self, text: str, *, row: str) -> Opened:
        """Decrypt the text that a row holds.

        Raises:
            NotAnEnvelope: the form of the text is unknown, or too old to be read.
            WrongRow: the text is another row's.
            DecryptionFailed: no known key opens it.
            WrongProvider: another key manager wrapped its key.
        """
        plaintext, version = await self._plaintext(text, row)
        try:
            return Opened(orjson.loads(plaintext), version)
        except orjson.JSONDecodeError:
            raise DecryptionFailed(reason="the plaintext is not JSON") from None

    async def rewrap(self, text: str, *, row: str) -> str | None:
        """Return the text of a row under the current key; None when it needs no change.

        The encrypted data stays the same; only older forms are encrypted again, bound to the row.

        Raises:
            NotAnEnvelope: the form of the text is unknown.
            WrongRow: the text is another row's.
            DecryptionFailed: no known key opens it.
            WrongProvider: another key manager wrapped its key.
        """
        try:
            envelope = decode_envelope(text)
        except NotAnEnvelope:
            plaintext, _ = await self._plaintext(text, row)
            return (await self._closed(plaintext, row)).text
        if envelope.version < BOUND:
            plaintext = envelope.open(await self._keys.unwrap(envelope.dek), row=row)
            return (await self._closed(plaintext, row)).text
        if await self._keys.is_current(envelope.dek):
            return None
        data_key = await self._keys.unwrap(envelope.dek)
        envelope.open(data_key, row=row)
        return envelope.rewrapped(await self._keys.wrap(data_key)).encode()

    async def _closed(self, plaintext: bytes, row: str) -> Closed:
        data_key = new_data_key()
        dek = await self._keys.wrap(data_key)
        envelope = Envelope.seal(plaintext, data_key=data_key, dek=dek, row=row)
        return Closed(envelope.encode(), dek.version)

    async def _plaintext(self, text: str, row: str) -> tuple[bytes, str]:
        try:
            envelope = decode_envelope(text)
        except NotAnEnvelope as error:
            if self._oldest > UNBOUND:
                raise
            return self._old_plaintext(text, error)
        if envelope.version < self._oldest:
            raise NotAnEnvelope(reason=f"the record of {row!r} is bound to no row")
        data_key = await self._keys.unwrap(envelope.dek)
        return envelope.open(data_key, row=row), envelope.dek.version

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
            return encode_secret(orjson.loads(text)), PLAIN
        except orjson.JSONDecodeError:
            raise error from None
