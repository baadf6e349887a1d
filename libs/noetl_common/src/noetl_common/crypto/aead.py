"""The cipher of stored secrets: AES-256-GCM, with the nonce before the ciphertext."""

import secrets
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from noetl_common.crypto.errors import DecryptionFailed

type RandomBytes = Callable[[int], bytes]

KEY_BYTES = 32
NONCE_BYTES = 12

random_bytes: RandomBytes = secrets.token_bytes


def encrypt(
    key: bytes,
    plaintext: bytes,
    *,
    associated: bytes | None = None,
    random: RandomBytes = random_bytes,
) -> bytes:
    """Return nonce, ciphertext and tag as one text.

    The result doesn't contain the ``associated`` data; decryption needs the same data.
    """
    nonce = random(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, associated)


def decrypt(key: bytes, blob: bytes, *, associated: bytes | None = None) -> bytes:
    """Return the plaintext of a text that `encrypt` has returned.

    Raises:
        DecryptionFailed: the text is damaged, or was encrypted with another key or other
            associated data.
    """
    if len(blob) < NONCE_BYTES:
        raise DecryptionFailed("Ciphertext too short (missing nonce)")
    try:
        return AESGCM(key).decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], associated)
    except (InvalidTag, ValueError):
        raise DecryptionFailed(reason="aead::Error") from None
