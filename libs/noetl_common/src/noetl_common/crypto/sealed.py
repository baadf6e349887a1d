"""Sealed envelopes: texts that are encrypted for the public key of one process."""

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from noetl_contract.http.secrets.credentials import SealedEnvelope
from noetl_contract.json import Json, JsonObject

from noetl_common.crypto.errors import BadKey, SealingFailed

_ALGORITHM = "x25519-hkdf-sha256-chacha20-poly1305"
_VERSION = 1
_INFO = b"noetl-sealed-v1"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_ASSOCIATED = f"{_ALGORITHM}|v={_VERSION}".encode()


def decode_public_key(text: str, *, base64_text: str, length_text: str) -> bytes:
    """Decode the public key of a recipient.

    Args:
        text: base64 of 32 bytes.
        base64_text: error text for malformed base64, with `{error}`.
        length_text: error text for a wrong length, with `{length}`.

    Raises:
        BadKey: the text is not a valid key.
    """
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadKey(base64_text.format(error=error)) from None
    if len(key) != _KEY_BYTES:
        raise BadKey(length_text.format(length=len(key)))
    return key


def seal(
    plaintext: bytes, *, recipient: bytes, ephemeral: X25519PrivateKey | None = None
) -> SealedEnvelope:
    """Encrypt a text for the owner of a public key.

    The nonce is derived from the shared secret. This is safe because each call generates a new
    ephemeral key; only tests pass one.

    Raises:
        SealingFailed: the recipient's key is not a usable point.
    """
    private = ephemeral or X25519PrivateKey.generate()
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(recipient))
    except ValueError:
        raise SealingFailed(reason="the public key is of low order") from None
    box, nonce = _cipher(shared)
    ciphertext = box.encrypt(nonce, plaintext, _ASSOCIATED)
    return SealedEnvelope(
        alg=_ALGORITHM,
        v=_VERSION,
        eph_pub=base64.b64encode(private.public_key().public_bytes_raw()).decode(),
        ciphertext=base64.b64encode(ciphertext).decode(),
    )


class Unsealable(Exception):
    """An envelope that can't be opened; the message names the reason."""


class SealingKey:
    """A key pair of this process; the private key never leaves it."""

    def __init__(self, private: bytes | None = None) -> None:
        self._private = (
            X25519PrivateKey.generate()
            if private is None
            else X25519PrivateKey.from_private_bytes(private)
        )

    @property
    def public(self) -> str:
        """The public key in base64, as registrations contain it."""
        return base64.b64encode(self._private.public_key().public_bytes_raw()).decode()

    def open(self, envelope: Json) -> bytes:
        """Return the plaintext of an envelope.

        Raises:
            Unsealable: the envelope is malformed, or was sealed for another key.
        """
        if not isinstance(envelope, dict):
            raise Unsealable("not an object")
        if envelope.get("alg") != _ALGORITHM or envelope.get("v") != _VERSION:
            raise Unsealable("unknown algorithm or version")
        peer = _bytes_of(envelope, "eph_pub")
        ciphertext = _bytes_of(envelope, "ciphertext")
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(peer))
        except ValueError as error:
            raise Unsealable("`eph_pub` is not a public key") from error
        box, nonce = _cipher(shared)
        try:
            return box.decrypt(nonce, ciphertext, _ASSOCIATED)
        except InvalidTag as error:
            raise Unsealable("it was sealed for another key") from error


def _cipher(shared: bytes) -> tuple[ChaCha20Poly1305, bytes]:
    """Return the cipher and the nonce that are derived from a shared secret."""
    length = _KEY_BYTES + _NONCE_BYTES
    okm = HKDF(algorithm=SHA256(), length=length, salt=None, info=_INFO).derive(shared)
    return ChaCha20Poly1305(okm[:_KEY_BYTES]), okm[_KEY_BYTES:]


def _bytes_of(envelope: JsonObject, name: str) -> bytes:
    value = envelope.get(name)
    if not isinstance(value, str):
        raise Unsealable(f"`{name}` is not a string")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise Unsealable(f"`{name}` is not base64") from error
