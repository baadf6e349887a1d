"""JWTs of a login provider (OIDC): signature, issuer, audience and times.

The provider's keys are fetched once an hour. A token that names an unknown key makes them be
fetched again, but not twice within half a minute, whatever tokens come.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt
import orjson
from noetl_common.logging import get_logger

from noetl_api_gateway.access_settings import AccessSettings
from noetl_api_gateway.http.refusals import unavailable

_log = get_logger()

_FRESH_SECONDS = 3600.0
_PAUSE_SECONDS = 30.0
_FETCH_SECONDS = 5.0
_MOST_BYTES = 256 << 10
_MOST_KEYS = 100
_MOST_VALUES = 200


class UnprovenError(Exception):
    """The token proves nothing; the text may be shown to its sender."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What a token proves.

    Attributes:
        subject: of its claim `sub`.
        values: values of the claims that grants may name, as ``groups:ops``.
        expires_at: its end.
    """

    subject: str
    values: tuple[str, ...]
    expires_at: datetime


class JwtTokens:
    """Check tokens of the configured issuer.

    Args:
        settings: issuer, audience, algorithms, where the keys are.
    """

    def __init__(self, settings: AccessSettings) -> None:
        self._settings = settings
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching = asyncio.Lock()

    @property
    def is_configured(self) -> bool:
        """Whether there is an issuer."""
        return bool(self._settings.oidc_issuer)

    async def proven_by(self, token: str) -> Proven:
        """Return what a token proves.

        Raises:
            UnprovenError: nothing.
            Refusal: 503, the provider's keys can't be had.
        """
        settings = self._settings
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise UnprovenError("The token is no JWT") from error
        algorithm = header.get("alg")
        if algorithm not in settings.algorithms():
            raise UnprovenError("The JWT's algorithm is not taken")
        key = await self._key(header.get("kid"))
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=settings.oidc_audience,
                issuer=settings.oidc_issuer,
                leeway=settings.oidc_leeway_seconds,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise UnprovenError("The JWT has expired") from error
        except jwt.InvalidTokenError as error:
            raise UnprovenError(f"The JWT is not valid: {error}") from error
        return Proven(
            subject=str(claims["sub"])[:500],
            values=_values(claims, settings.claims()),
            expires_at=datetime.fromtimestamp(int(claims["exp"]), UTC),
        )

    async def _key(self, name: object) -> jwt.PyJWK:
        """Return the key of a name; the only one there is for a token that names none."""
        found = self._find(name)
        if found is None or self._is_old():
            async with self._fetching:
                if (self._find(name) is None or self._is_old()) and self._may_fetch():
                    await self._fetch()
            found = self._find(name)
        if found is not None:
            return found
        if self._fetched_at is None:
            raise unavailable("The keys of the login provider can't be read")
        raise UnprovenError("The JWT names a key that its issuer has not got")

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
        settings = self._settings
        try:
            async with (
                asyncio.timeout(_FETCH_SECONDS),
                httpx.AsyncClient(timeout=_FETCH_SECONDS, follow_redirects=False) as client,
            ):
                url = settings.oidc_jwks_url
                if not url:
                    base = settings.oidc_issuer.rstrip("/")
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


def _values(claims: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    found: list[str] = []
    for name in names:
        value = claims.get(name)
        if isinstance(value, str):
            value = value.split()
        if isinstance(value, list):
            found += [f"{name}:{one}"[:200] for one in value if isinstance(one, str)]
    return tuple(found[:_MOST_VALUES])
