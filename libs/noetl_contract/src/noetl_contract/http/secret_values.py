"""Values of sensitive keys of a workload, to mask them where they appear without their key.

A step passes a password under another name, or a tool's error quotes it: only the value shows it
there. A changed value (reversed, cut in two) is not recognised.
"""

import base64
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import quote

from noetl_contract.json import Json

MASK = "[REDACTED]"

# Keys whose texts are secrets, and keys that may as well be names (`auth: my_database`, `author`).
_SURE = re.compile(
    r"(?:password|passwd|pwd|passphrase|secret|token|bearer|jwt|api_?key|access_?key"
    r"|private_?key|ssh_?key|encryption_key|decrypt_key|master_key|connection_?string)[_0-9]*$"
)
_UNSURE = re.compile(r"passw|pwd|secret|token|auth|credential|pem|cert|key")
_RANDOM = re.compile(r"(?=.*[0-9])(?=.*[a-z])(?=.*[A-Z])(?!.*://)\S{16,}\Z", re.DOTALL)
_SHORTEST, _LONGEST = 6, 8192
# Shorter words occur by chance; a password like this one is no secret anyway.
_LONGEST_WORD = 11
_MOST_VALUES = 64
_MOST_NODES = 20_000
_DEEPEST = 20


def secret_values(workload: Json) -> tuple[str, ...]:
    """Return the secret texts of a workload in the spellings in which they may be printed.

    Longest first, as one may be a part of another. At most 64 values of 6 to 8192 characters.
    """
    found: dict[str, None] = {}
    left = _MOST_NODES
    waiting: list[tuple[Json, int, int]] = [(workload, 0, _DEEPEST)]
    while waiting and left > 0 and len(found) < _MOST_VALUES:
        value, certainty, room = waiting.pop()
        left -= 1
        if isinstance(value, str):
            if certainty and _is_secret(value, is_sure=certainty == _certainty("secret")):
                found[value] = None
        elif isinstance(value, dict) and room:
            waiting += [
                (item, max(certainty, _certainty(key)), room - 1) for key, item in value.items()
            ]
        elif isinstance(value, list) and room and len(value) <= left:
            waiting += [(item, certainty, room - 1) for item in value]
    if not found:
        return ()
    spelled = {text for value in found for text in _spellings(value)}
    return tuple(sorted(spelled, key=lambda text: (-len(text), text)))


def without(text: str, secrets: Sequence[str]) -> str:
    """Return a text with each of the secrets replaced."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    return text


@lru_cache(maxsize=8192)
def _certainty(key: str) -> int:
    name = key.lower().replace("-", "_")
    if _SURE.search(name):
        return 2
    return 1 if _UNSURE.search(name) else 0


def _is_secret(text: str, *, is_sure: bool) -> bool:
    if not _SHORTEST <= len(text) <= _LONGEST:
        return False
    if is_sure:
        return len(text) > _LONGEST_WORD or not text.isalpha()
    return _RANDOM.match(text) is not None


def _spellings(value: str) -> set[str]:
    plain = value.encode(errors="surrogatepass")
    code = base64.b64encode(plain).decode()
    return {
        value,
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        quote(plain, safe=""),
        code,
        code.rstrip("="),
    }
