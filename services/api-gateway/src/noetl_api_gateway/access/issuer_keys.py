"""The public keys of an issuer of tokens.

They are fetched once an hour. A token that names an unknown key makes them be fetched again, but
not twice within half a minute, whatever tokens come.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import httpx
import jwt
import orjson
from noetl_common.logging import get_logger

_log = get_logger()

_FRESH_SECONDS = 3600.0
_PAUSE_SECONDS = 30.0
_FETCH_SECONDS = 5.0
_MOST_BYTES = 256 << 10
_MOST_KEYS = 100


class KeysAwayError(Exception):
    """The keys can't be read, and none are known from before."""


class IssuerKeys:
    """Fetch keys and remember them.

    Args:
        url: where they are.
        issuer: whose metadata say where they are, without a ``url``.
    """

    def __init__(self, url: str, *, issuer: str = "") -> None:
        self._url = url
        self._issuer = issuer
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching = asyncio.Lock()

    async def find(self, name: object) -> jwt.PyJWK | None:
        """Return the key of a name; the only one there is for a token that names none.

        Raises:
            KeysAwayError: they can't be read.
        """
        found = self._find(name)
        if found is None or self._is_old():
            async with self._fetching:
                if (self._find(name) is None or self._is_old()) and self._may_fetch():
                    await self._fetch()
            found = self._find(name)
        if found is None and self._fetched_at is None:
            raise KeysAwayError
        return found

    def _find(self, name: object) -> jwt.PyJWK | None:
        if name is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(name) if isinstance(name, str) else None

    def _is_old(self) -> bool:
        return self._fetched_at is None or time.monotonic() - self._fetched_at > _FRESH_SECONDS

    def _may_fetch(self) -> bool:
        return self._tried_at is None or time.monotonic() - self._tried_at > _PAUSE_SECONDS

    async def _fetch(self) -> None:
        """Read the keys; those that are known stay when it fails."""
        self._tried_at = time.monotonic()
        try:
            async with (
                asyncio.timeout(_FETCH_SECONDS),
                httpx.AsyncClient(timeout=_FETCH_SECONDS, follow_redirects=False) as client,
            ):
                url = self._url
                if not url:
                    base = self._issuer.rstrip("/")
                    metadata = await _read(client, f"{base}/.well-known/openid-configuration")
                    url = str(metadata["jwks_uri"])
                listed = (await _read(client, url))["keys"]
            keys = dict(_usable(listed[:_MOST_KEYS]))
        except (httpx.HTTPError, TimeoutError, ValueError, KeyError, TypeError) as error:
            _log.warning("login_keys_not_read", error=f"{type(error).__name__}: {error}")
            return
        self._keys, self._fetched_at = keys, time.monotonic()


async def _read(client: httpx.AsyncClient, url: str) -> Mapping[str, Any]:
    """Return a JSON object of bounded size."""
    body = b""
    async with client.stream("GET", url) as answer:
        answer.raise_for_status()
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > _MOST_BYTES:
                raise ValueError(f"{url} has more than {_MOST_BYTES} bytes")
    value = orjson.loads(body)
    if not isinstance(value, dict):
        raise TypeError(f"{url} is no JSON object")
    return value


def _usable(listed: list[Mapping[str, Any]]) -> list[tuple[str, jwt.PyJWK]]:
    """Return public keys for signatures by their names."""
    found = []
    for one in listed:
        if one.get("kty") == "oct" or one.get("use", "sig") != "sig":
            continue
        try:
            found.append((str(one.get("kid", "")), jwt.PyJWK(dict(one))))
        except jwt.PyJWTError:
            continue  # of a kind that is not known here
    return found
