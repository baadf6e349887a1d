"""Logins with a key: the seed of an nkey, or a `.creds` file with a token (JWT) and a seed.

The server sends a text, and the client signs it with its key (Ed25519), so no password is sent.
Seeds and public keys have the notation of NATS: kind, key and checksum in base32.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from noetl_common.errors import Permanent

_SEED = 18 << 3
_USER = 20 << 3
_KEY_BYTES = 32
_SUM_BYTES = 2
_LARGEST_FILE = 1 << 16
_SECTION = re.compile(r"-+BEGIN ([A-Z ]+)-+\s+(\S+)\s+-+END \1-+")
_TOKEN, _KEY = "NATS USER JWT", "USER NKEY SEED"


class BadKey(Permanent):
    """A seed or a `.creds` file is unusable, which a retry doesn't fix."""

    template = "{variable}: {reason}"


@dataclass(frozen=True, slots=True)
class KeyLogin:
    """The key of a user.

    Attributes:
        public: public key, which is the name of the user for servers.
        token: JWT of the user from an account; empty if the server knows the key itself.
    """

    public: str
    token: str
    _key: Ed25519PrivateKey

    def sign(self, text: str) -> bytes:
        """Return the signature of a text of the server, in base64."""
        return base64.b64encode(self._key.sign(text.encode()))


def from_seed(seed: str, *, variable: str, token: str = "") -> KeyLogin:
    """Return the login with the seed of a user, `SU…`.

    Args:
        seed: the seed.
        variable: variable of the seed, for error messages.
        token: JWT of the user.

    Raises:
        BadKey: the text is not a valid seed; the message doesn't quote it.
    """
    try:
        raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except binascii.Error:
        raise BadKey(variable=variable, reason="not a seed of a user (SU…)") from None
    body, check = raw[:-_SUM_BYTES], raw[-_SUM_BYTES:]
    is_user = len(body) == 2 + _KEY_BYTES and body[0] & 0xF8 == _SEED
    is_user = is_user and (body[0] & 7) << 5 | body[1] >> 3 == _USER
    if not is_user:
        raise BadKey(variable=variable, reason="not a seed of a user (SU…)")
    if _sum_of(body) != check:
        raise BadKey(variable=variable, reason="its checksum is wrong")
    key = Ed25519PrivateKey.from_private_bytes(body[2:])
    return KeyLogin(_encoded(bytes([_USER]) + key.public_key().public_bytes_raw()), token, key)


def from_creds(path: Path, *, variable: str) -> KeyLogin:
    """Return the login of a `.creds` file.

    Raises:
        BadKey: the file can't be read, or lacks a token or a seed.
    """
    try:
        with path.open() as file:
            found = dict(_SECTION.findall(file.read(_LARGEST_FILE)))
    except OSError as error:
        raise BadKey(variable=variable, reason=f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise BadKey(variable=variable, reason=f"{path} holds no text") from None
    if _TOKEN not in found or _KEY not in found:
        reason = f"{path} lacks {_TOKEN} or {_KEY}"
        raise BadKey(variable=variable, reason=reason)
    return from_seed(found[_KEY], variable=variable, token=found[_TOKEN])


def new_seed() -> str:
    """Return the seed of a new user."""
    prefix = bytes([_SEED | _USER >> 5, (_USER & 0x1F) << 3])
    return _encoded(prefix + Ed25519PrivateKey.generate().private_bytes_raw())


def _encoded(body: bytes) -> str:
    return base64.b32encode(body + _sum_of(body)).decode().rstrip("=")


def _sum_of(body: bytes) -> bytes:
    return binascii.crc_hqx(body, 0).to_bytes(_SUM_BYTES, "little")
