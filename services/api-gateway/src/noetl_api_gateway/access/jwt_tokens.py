"""JWTs of a login provider (OIDC): signature, issuer, audience and times."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt

from noetl_api_gateway.access.issuer_keys import IssuerKeys, KeysAwayError
from noetl_api_gateway.access_settings import AccessSettings
from noetl_api_gateway.http.refusals import unavailable

_MOST_VALUES = 200


class UnprovenError(Exception):
    """The token proves nothing; the text may be shown to its sender."""


@dataclass(frozen=True, slots=True)
class Proven:
    """Claims that a valid token proves.

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
        self._keys = IssuerKeys(settings.oidc_jwks_url, issuer=settings.oidc_issuer)

    @property
    def is_configured(self) -> bool:
        """Whether an issuer is configured."""
        return bool(self._settings.oidc_issuer)

    async def proven_by(self, token: str) -> Proven:
        """Return the claims that a token proves.

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
        try:
            found = await self._keys.find(name)
        except KeysAwayError as error:
            raise unavailable("The keys of the login provider can't be read") from error
        if found is None:
            raise UnprovenError("The JWT names a key that its issuer has not got")
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
