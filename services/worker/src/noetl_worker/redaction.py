"""Replace secrets in results before they leave the worker."""

import json
import re
from binascii import b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import quote

from noetl_contract.json import Json

from noetl_worker.interpreters.host.results import plain

REDACTED = "[REDACTED]"
DEEPEST = 100
"""Levels of a result. Readers of our messages stop between 128 and 255, framing included."""

# A key counts when one of these is anywhere in it. Longer words of the contract's list that
# contain a shorter one (`auth_token`, `db_password`) need no entry of their own.
_SENSITIVE = (
    "password", "passwd", "pwd", "secret", "token", "bearer", "api_key", "apikey", "auth",
    "credential", "private_key", "privatekey", "connection_string", "connectionstring", "gcp_key",
    "azure_key", "ssh_key", "sshkey", "passphrase", "pem", "cert", "encryption_key",
    "decrypt_key", "master_key", "keychain", "jwt",
)  # fmt: skip
_SHORTEST = 8
"""Shorter texts occur in honest output by chance."""
# Most secrets are letters and digits: looking costs less than spelling them out.
_SAME_IN_JSON = re.compile(r"[ !#-\[\]-~]+")
_COLON_ALONE_DIFFERS_IN_URL = re.compile(r"[A-Za-z0-9_.~:-]+")
_SCHEME = re.compile(r"\s{0,64}(?:bearer|basic)\s+\S", re.IGNORECASE)
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z", re.IGNORECASE)
_INSIDE = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----"
    r"|(?:^|[ \t\r\n\"':=,])"
    r"(?:sk-|AIza|ya29\.|gh[psour]_|github_pat_|xox[baprs]-)[A-Za-z0-9_-]{12}",
    re.IGNORECASE,
)
# Texts in every match of the pattern, in lower case. Searching for all of them one after the
# other takes a tenth of the pattern's time (32 MB: 0.2 s instead of 2.2 s).
_HINTS = (
    "private key-----", "sk-", "aiza", "ya29.", "ghp_", "ghs_", "gho_", "ghu_", "ghr_",
    "github_pat_", "xox",
)  # fmt: skip
# A look at one piece holds the interpreter's lock; between two pieces others have their turn.
_PIECE = 64 << 10
_OVERLAP = 128
_HEAVY_CHARS = 128 << 10
_HEAVY_ITEMS = 2_000


class NestedTooDeeply(ValueError):
    """A value nested deeper than readers of our messages can follow."""

    def __init__(self) -> None:
        super().__init__(f"the result is nested more than {DEEPEST} levels deep")


def scrub(value: Json, *, secrets: Sequence[str] = (), _room: int = DEEPEST) -> Json:
    """Return the value with all texts that look secret replaced; unchanged parts are shared.

    Args:
        value: any JSON.
        secrets: texts known to be secret; they alone are replaced where they occur, while a
            text that only looks secret is replaced as a whole.

    Raises:
        NestedTooDeeply: it has too many levels.
        NotJson: something in it has no JSON; its path is not the value's.
    """
    if isinstance(value, str):
        if len(value) >= _SHORTEST and _is_secret(value):
            return REDACTED
        return mask(value, secrets)
    if isinstance(value, dict):
        if not _room:
            raise NestedTooDeeply
        return {
            mask(key, secrets) if secrets and isinstance(key, str) else key: REDACTED
            if is_sensitive(key)
            else scrub(item, secrets=secrets, _room=_room - 1)
            for key, item in value.items()
        }
    if isinstance(value, list):
        if not _room:
            raise NestedTooDeeply
        return [scrub(item, secrets=secrets, _room=_room - 1) for item in value]
    if value is None or (isinstance(value, int | float) and (value - value) == 0):
        return value
    # What a tool of another package gave, and numbers for which the encoder would write null.
    return scrub(plain(value), secrets=secrets, _room=_room)


def mask(text: str, secrets: Sequence[str]) -> str:
    """Return the text with all given secrets replaced."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, REDACTED)
    return text


def spellings_of(*secrets: str) -> list[str]:
    """Return the spellings in which secrets may be put out, the longest first."""
    found: dict[str, None] = {}
    for secret in secrets:
        if len(secret) < _SHORTEST:
            continue
        plain = secret.encode("utf-8", "replace")
        found[secret] = None
        if _SAME_IN_JSON.fullmatch(secret) is None:
            found[json.dumps(secret)[1:-1]] = None
            found[json.dumps(secret, ensure_ascii=False)[1:-1]] = None
        is_simple = _COLON_ALONE_DIFFERS_IN_URL.fullmatch(secret) is not None
        found[secret.replace(":", "%3A") if is_simple else quote(plain, safe="")] = None
        code = b2a_base64(plain, newline=False).decode()
        found[code] = None
        found[code.rstrip("=")] = None
        if "\n" in secret:
            # Each line of a key is secret by itself.
            found.update(dict.fromkeys(line for line in secret.splitlines() if len(line) >= 32))
    return sorted(found, key=len, reverse=True)


def is_heavy(value: Json) -> bool:
    """Return whether scrubbing and encoding a value would hold up the event loop."""
    chars, items = _HEAVY_CHARS, _HEAVY_ITEMS
    waiting = [value]
    while waiting:
        one = waiting.pop()
        items -= 1
        if isinstance(one, str):
            chars -= len(one)
        elif isinstance(one, dict):
            if len(one) > items:
                return True
            waiting += one.values()
        elif isinstance(one, list):
            if len(one) > items:
                return True
            waiting += one
        if chars < 0 or items < 0:
            return True
    return False


@lru_cache(maxsize=4096)
def is_sensitive(key: str) -> bool:
    """Return whether a value counts as secret by its key alone."""
    name = key.lower().replace("-", "_")
    return any(word in name for word in _SENSITIVE)


def _is_secret(text: str) -> bool:
    if _SCHEME.match(text) is not None:
        return True
    # A token longer than a piece is none.
    if text[:3].lower() == "eyj" and len(text) <= _PIECE and _TOKEN.match(text) is not None:
        return True
    if len(text) <= _PIECE:
        return _has_hint(text) and _INSIDE.search(text) is not None
    for start in range(0, len(text), _PIECE):
        begin, end = max(0, start - _OVERLAP), start + _PIECE
        if _has_hint(text[begin:end]) and _INSIDE.search(text, begin, end) is not None:
            return True
    return False


def _has_hint(piece: str) -> bool:
    lowered = piece.lower()
    return any(hint in lowered for hint in _HINTS)
