"""Opens envelopes that were sealed for this process."""

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from noetl_contract.json import Json, JsonObject

_ALGORITHM = "x25519-hkdf-sha256-chacha20-poly1305"
_VERSION = 1
_INFO = b"noetl-sealed-v1"
_KEY_BYTES = 32
_NONCE_BYTES = 12


class Unsealable(Exception):
    """A broken envelope, or one for another worker; the message names the reason."""


class SealingKey:
    """A key pair; the private key never leaves the process."""

    def __init__(self, private: bytes | None = None) -> None:
        self._private = (
            X25519PrivateKey.generate()
            if private is None
            else X25519PrivateKey.from_private_bytes(private)
        )

    @property
    def public(self) -> str:
        """The public half, as registrations carry it."""
        return base64.b64encode(self._private.public_key().public_bytes_raw()).decode()

    def open(self, envelope: Json) -> bytes:
        """Return the plaintext of an envelope.

        Raises:
            Unsealable: it can't be opened.
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
        okm = HKDF(
            algorithm=SHA256(), length=_KEY_BYTES + _NONCE_BYTES, salt=None, info=_INFO
        ).derive(shared)
        aad = f"{_ALGORITHM}|v={_VERSION}".encode()
        try:
            box = ChaCha20Poly1305(okm[:_KEY_BYTES])
            return box.decrypt(okm[_KEY_BYTES:], ciphertext, aad)
        except InvalidTag as error:
            raise Unsealable("it was sealed for another key") from error


def _bytes_of(envelope: JsonObject, name: str) -> bytes:
    value = envelope.get(name)
    if not isinstance(value, str):
        raise Unsealable(f"`{name}` is not a string")
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise Unsealable(f"`{name}` is not base64") from error
