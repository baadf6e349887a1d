"""Signed links by which people without a login answer one wait, once.

A link is text: what it is for as JSON, and an HMAC-SHA-256 of that, both url-safe. Its id becomes
the id of the signal, so the second use has no effect.
"""

import base64
import binascii
import hashlib
import hmac
from typing import Final

import orjson
from pydantic import ConfigDict, Field, ValidationError

from noetl_contract.json import JsonObject
from noetl_contract.model import Model

LONGEST_LINK: Final = 4096
_PURPOSE: Final = b"noetl link of a wait, 1"
_MAC_BYTES: Final = 20


class Link(Model):
    """Content of a link; the names are short, because it stands in an address.

    ``e`` is the execution, ``s`` the signal, ``k`` the link's own id, ``x`` the end of its life
    in Unix seconds; ``t`` the only step, ``i`` the only iteration and ``w`` the only wait that it
    may end; ``p`` a payload that its page doesn't ask for; ``f`` the person it was made for.
    """

    model_config = ConfigDict(extra="forbid")

    e: int
    s: str
    k: str
    x: int
    t: str | None = None
    i: int | None = None
    w: int | None = None
    p: JsonObject = Field(default_factory=dict)
    f: str | None = None


def sealed_link(link: Link, key: bytes) -> str:
    """Return the text of a link.

    Raises:
        ValueError: There is no key, or the payload makes it longer than an address may be.
    """
    if not key:
        raise ValueError("links need a key")
    body = orjson.dumps(link.model_dump(exclude_none=True, exclude_defaults=True))
    text = f"{_text(body)}.{_text(_mac(body, key))}"
    if len(text) > LONGEST_LINK:
        raise ValueError(f"the link has {len(text)} characters, the limit is {LONGEST_LINK}")
    return text


def opened_link(text: str, key: bytes) -> Link | None:
    """Return the content of a link; None if it wasn't signed with this key."""
    head, _, tail = text.partition(".")
    if not key or len(text) > LONGEST_LINK or not text.isascii():
        return None
    try:
        body, mac = _bytes(head), _bytes(tail)
        if not hmac.compare_digest(mac, _mac(body, key)):
            return None
        return Link.model_validate_json(body)
    except (ValueError, binascii.Error, ValidationError):
        return None


def _mac(body: bytes, key: bytes) -> bytes:
    own = hmac.digest(key, _PURPOSE, hashlib.sha256)
    return hmac.digest(own, body, hashlib.sha256)[:_MAC_BYTES]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
