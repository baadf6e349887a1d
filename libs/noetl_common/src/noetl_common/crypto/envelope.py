"""The record that encrypted columns hold.

Each record is encrypted with a data key of its own. The key manager wraps the data key, and the
record stores the wrapped key; rotating the master key changes only that.
Records of version 2 are bound to their row: its identity is associated data of the encryption,
so that a record that was copied into another row can't be read there. Version 1 has no binding.
"""

import base64
import binascii
import json
from dataclasses import dataclass, field, replace
from typing import Self

import orjson
from noetl_contract.json import Json

from noetl_common.crypto.aead import KEY_BYTES, RandomBytes, decrypt, encrypt, random_bytes
from noetl_common.crypto.errors import DecryptionFailed, NotAnEnvelope, WrongRow

ALGORITHM = "AES-256-GCM"
UNBOUND, BOUND = 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A data key that only its key manager can unwrap.

    Attributes:
        provider: name of the key manager.
        key_id: id of the wrapping key.
        version: version of the wrapping key.
        ciphertext: the wrapped data key.
    """

    provider: str
    key_id: str
    version: str
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Encrypted data and its wrapped key.

    Attributes:
        ciphertext: nonce, ciphertext and tag.
        dek: the data key, wrapped.
        version: `BOUND` to the identity of its row, or `UNBOUND`.
    """

    ciphertext: bytes = field(repr=False)
    dek: WrappedKey
    version: int = UNBOUND

    @classmethod
    def seal(
        cls,
        plaintext: bytes,
        *,
        data_key: bytes,
        dek: WrappedKey,
        row: str | None = None,
        random: RandomBytes = random_bytes,
    ) -> Self:
        """Encrypt a text with its own data key, and bind the record to a row if one is named.

        Args:
            plaintext: the text.
            data_key: a fresh key, which encrypts this record only.
            dek: the same key, wrapped.
            row: identity of the row, such as ``credential:pg``; None for an unbound record.
            random: source of the nonce.
        """
        version = UNBOUND if row is None else BOUND
        associated = _associated(version, row or "")
        ciphertext = encrypt(data_key, plaintext, associated=associated, random=random)
        return cls(ciphertext=ciphertext, dek=dek, version=version)

    def open(self, data_key: bytes, *, row: str = "") -> bytes:
        """Return the plaintext of the record that a row holds.

        Raises:
            WrongRow: the record is damaged, or bound to another row, or the key doesn't fit.
            DecryptionFailed: the record is unbound, and is damaged or the key doesn't fit.
        """
        associated = _associated(self.version, row)
        try:
            return decrypt(data_key, self.ciphertext, associated=associated)
        except DecryptionFailed:
            if associated is None:
                raise
            raise WrongRow(row=repr(row)) from None

    def rewrapped(self, dek: WrappedKey) -> Self:
        """Return the same record with another wrapping of its data key."""
        return replace(self, dek=dek)

    def encode(self) -> str:
        """Return the text to store; the order of its keys is the contract's."""
        return orjson.dumps(
            {
                "v": self.version,
                "alg": ALGORITHM,
                "ct": _base64(self.ciphertext),
                "dek": {
                    "p": self.dek.provider,
                    "kid": self.dek.key_id,
                    "kv": self.dek.version,
                    "ct": _base64(self.dek.ciphertext),
                },
            }
        ).decode()


def encode_secret(value: Json) -> bytes:
    """Encode a value for encryption like the reference server: compact, keys sorted."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers beyond 64 bits
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode()


def new_data_key(random: RandomBytes = random_bytes) -> bytes:
    """Return a new data key."""
    return random(KEY_BYTES)


def decode_envelope(text: str) -> Envelope:
    """Decode a stored record.

    Raises:
        NotAnEnvelope: the text is not a record, or its version or algorithm is unknown. The message
            doesn't quote the text.
    """
    try:
        record = orjson.loads(text.strip())
    except orjson.JSONDecodeError as error:
        reason = f"{error.msg} at line {error.lineno} column {error.colno}"
        raise NotAnEnvelope(reason=reason) from None
    if not isinstance(record, dict):
        raise NotAnEnvelope(reason="expected struct EnvelopeRecord")
    version = _integer(record, "v")
    algorithm = _text(record, "alg")
    ciphertext = _text(record, "ct")
    dek = record.get("dek")
    if not isinstance(dek, dict):
        raise NotAnEnvelope(reason=_missing_or_wrong(record, "dek"))
    wrapped = {name: _text(dek, name) for name in ("p", "kid", "kv", "ct")}
    if version not in {UNBOUND, BOUND}:
        raise NotAnEnvelope(reason="unknown version")
    if algorithm != ALGORITHM:
        raise NotAnEnvelope(reason="unknown algorithm")
    return Envelope(
        ciphertext=_bytes(ciphertext, what="ct"),
        dek=WrappedKey(
            provider=wrapped["p"],
            key_id=wrapped["kid"],
            version=wrapped["kv"],
            ciphertext=_bytes(wrapped["ct"], what="dek"),
        ),
        version=version,
    )


def _associated(version: int, row: str) -> bytes | None:
    return None if version == UNBOUND else f"noetl:{version}:{row}".encode()


def _text(source: dict[str, Json], name: str) -> str:
    value = source.get(name)
    if not isinstance(value, str):
        raise NotAnEnvelope(reason=_missing_or_wrong(source, name))
    return value


def _integer(source: dict[str, Json], name: str) -> int:
    value = source.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise NotAnEnvelope(reason=_missing_or_wrong(source, name))
    return value


def _missing_or_wrong(source: dict[str, Json], name: str) -> str:
    return f"invalid type of field `{name}`" if name in source else f"missing field `{name}`"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str, *, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotAnEnvelope(f"envelope {what} base64: {error}") from None
