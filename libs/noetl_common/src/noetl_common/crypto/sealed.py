"""Sealed answers: encrypted for the key of one worker."""

import base64
import binascii

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from noetl_contract.http.secrets.credentials import SealedEnvelope

from noetl_common.crypto.errors import BadKey, SealingFailed

_ALGORITHM = "x25519-hkdf-sha256-chacha20-poly1305"
_VERSION = 1
_INFO = b"noetl-sealed-v1"
_KEY_BYTES = 32
_NONCE_BYTES = 12


def decode_public_key(text: str, *, base64_text: str, length_text: str) -> bytes:
    """Return a recipient's key.

    Args:
        text: base64 of 32 bytes.
        base64_text: error text for bad base64, with `{error}`.
        length_text: error text for another length, with `{length}`.

    Raises:
        BadKey: it is no key.
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
    """Encrypt for the holder of the private half of a public key.

    The nonce is derived from the shared secret, which is safe because the ephemeral key is
    used once; only tests give one.

    Raises:
        SealingFailed: the recipient's key is not a usable point.
    """
    private = ephemeral or X25519PrivateKey.generate()
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(recipient))
    except ValueError:
        raise SealingFailed(reason="the public key is of low order") from None
    okm = HKDF(algorithm=SHA256(), length=_KEY_BYTES + _NONCE_BYTES, salt=None, info=_INFO).derive(
        shared
    )
    aad = f"{_ALGORITHM}|v={_VERSION}".encode()
    ciphertext = ChaCha20Poly1305(okm[:_KEY_BYTES]).encrypt(okm[_KEY_BYTES:], plaintext, aad)
    return SealedEnvelope(
        alg=_ALGORITHM,
        v=_VERSION,
        eph_pub=base64.b64encode(private.public_key().public_bytes_raw()).decode(),
        ciphertext=base64.b64encode(ciphertext).decode(),
    )
