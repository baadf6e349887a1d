"""Masking of secrets in answers that show event rows.

Rows hold what the worker sent; answers do not. The rules are the baseline's, wrong hits
(``author``, SHA-256 digests) included, so that answers look as they always did.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from noetl_contract.http.secret_values import MASK, without

type Json = Any

_DEPTH_LIMIT = 20
_DEEPEST = 100

# The shortest terms of the list; each longer term of it contains one of these.
_SENSITIVE_KEY = re.compile(
    "password|passwd|pwd|secret|token|bearer|api_key|apikey|auth|credential|private_key|"
    "privatekey|connection_string|connectionstring|gcp_key|azure_key|ssh_key|sshkey|"
    "passphrase|pem|cert|encryption_key|decrypt_key|master_key"
)
_CODE_ALPHABET = str.maketrans("", "", "+/=")


def masked(value: Json, secrets: Sequence[str] = ()) -> Json:
    """Return the value with secrets replaced; untouched parts are shared, not copied.

    Args:
        value: any JSON.
        secrets: texts known to be secret (`secret_values`); they are replaced wherever they occur.
    """
    shown = _masked(value, _DEPTH_LIMIT)
    return _without(shown, secrets, _DEEPEST) if secrets else shown


def _without(value: Json, secrets: Sequence[str], depth: int) -> Json:
    if isinstance(value, str):
        return without(value, secrets)
    if not isinstance(value, dict | list):
        return value
    if depth <= 0:
        return MASK
    if isinstance(value, dict):
        return {
            without(key, secrets): _without(item, secrets, depth - 1) for key, item in value.items()
        }
    return [_without(item, secrets, depth - 1) for item in value]


def _masked(value: Json, depth: int) -> Json:
    if isinstance(value, str):
        return MASK if _looks_secret(value) else value
    if depth <= 0:
        return value
    if isinstance(value, dict):
        return {
            key: MASK if _names_secret(key) else _masked_item(key, item, depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_masked(item, depth - 1) for item in value]
    return value


def _masked_item(key: str, item: Json, depth: int) -> Json:
    shown = _masked(item, depth)
    if isinstance(shown, dict) and _names_headers(key):
        # The other names that headers hide are sensitive keys anyway.
        return {name: MASK if _names_cookie(name) else value for name, value in shown.items()}
    return shown


@lru_cache(maxsize=8192)
def _names_headers(key: str) -> bool:
    return key.lower().endswith("headers")


def _names_cookie(name: str) -> bool:
    return name.lower().replace("_", "-") in {"cookie", "set-cookie"}


@lru_cache(maxsize=8192)
def _names_secret(key: str) -> bool:
    return _SENSITIVE_KEY.search(key.lower().replace("-", "_")) is not None


def _looks_secret(text: str) -> bool:
    if len(text) < 6:
        return False
    first = text[0]
    if first in "bB" and text[:7].lower().startswith(("bearer ", "basic ")):
        return True
    size = len(text)
    if size < 40:
        # Forty bytes may be fewer characters, but only outside ASCII.
        return not text.isascii() and _is_long_code(text)
    if first == "e" and text.startswith("eyJ") and text.count(".") == 2 and _bytes(text) > 50:
        return True
    if "-----BEGIN" in text and "PRIVATE KEY-----" in text:
        return True
    return _is_long_code(text)


def _is_long_code(text: str) -> bool:
    """Return whether a text is forty or more bytes of alphanumerics, ``+``, ``/`` and ``=``."""
    # Most long texts have a space or a bracket early on.
    if not all(letter.isalnum() or letter in "+/=" for letter in text[:16]):
        return False
    if _bytes(text) < 40:
        return False
    bare = text.translate(_CODE_ALPHABET)
    return not bare or bare.isalnum()


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
