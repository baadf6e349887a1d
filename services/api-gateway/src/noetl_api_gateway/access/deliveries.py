"""Authentication of deliveries to listeners: a signature, a token, or an OIDC token."""

import base64
import binascii
import hmac
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jwt
from noetl_contract.json import JsonObject

from noetl_api_gateway.access.issuer_keys import IssuerKeys, KeysAwayError

SIGNATURE_HEADER = "x-signature"
"""Header of a signature, where the listener names no other."""

_LEEWAY_SECONDS = 60
_TOLERANCE_SECONDS = 300
_PART = re.compile(r"\{([a-z0-9_-]+)\}")
_FORBIDDEN = frozenset(
    {
        "misconfigured",
        "unsupported",
        "oidc_wrong_audience",
        "oidc_wrong_sa",
        "oidc_unverified_email",
    }
)


class Rejected(Exception):
    """A delivery is refused; the reason is a word of the contract."""

    def __init__(
        self, reason: str, *, status: int | None = None, detail: str | None = None, wait: float = 0
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status or (403 if reason in _FORBIDDEN else 401)
        self.detail = detail
        self.wait = wait


class DeliveryCheck:
    """Verify deliveries.

    Args:
        jwks_url: where the keys of OIDC tokens are.
    """

    def __init__(self, jwks_url: str) -> None:
        self._keys = IssuerKeys(jwks_url)

    async def verify(self, verify: JsonObject, headers: Mapping[str, str], body: bytes) -> None:
        """Check that a delivery proves its origin.

        Args:
            verify: how the listener verifies, its secret in clear.
            headers: of the delivery, by lower-case name.
            body: as it came.

        Raises:
            Rejected: it doesn't.
        """
        match verify.get("type"):
            case "hmac_sha256":
                _check_signature(verify, headers, body)
            case "bearer":
                _check_token(verify, headers)
            case "pubsub_oidc":
                await self._check_oidc(verify, headers)
            case _:
                raise Rejected("unsupported")

    async def _check_oidc(self, verify: JsonObject, headers: Mapping[str, str]) -> None:
        audience, account = verify.get("audience"), verify.get("service_account")
        if not audience or not account:
            raise Rejected("misconfigured")
        token = _bearer(headers.get("authorization"))
        if token is None:
            raise Rejected("missing_token")
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError as error:
            raise Rejected("oidc_malformed") from error
        if header.get("alg") != "RS256":
            raise Rejected("oidc_invalid")
        try:
            key = await self._keys.find(header.get("kid"))
        except KeysAwayError as error:
            raise Rejected("jwks_error", status=502) from error
        if key is None:
            raise Rejected("oidc_unknown_kid")
        claims = _claims(token, key, audience)
        if claims.get("email") != account:
            raise Rejected("oidc_wrong_sa")
        if claims.get("email_verified") not in {True, "true"}:
            raise Rejected("oidc_unverified_email")


def _claims(token: str, key: jwt.PyJWK, audience: str) -> Mapping[str, Any]:
    try:
        return jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            audience=audience,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["exp", "aud"]},
        )
    except jwt.ExpiredSignatureError as error:
        raise Rejected("oidc_expired") from error
    except jwt.InvalidAudienceError as error:
        raise Rejected("oidc_wrong_audience") from error
    except jwt.InvalidSignatureError as error:
        raise Rejected("oidc_bad_signature") from error
    except jwt.InvalidKeyError as error:
        raise Rejected("oidc_bad_key") from error
    except jwt.InvalidTokenError as error:
        raise Rejected("oidc_invalid") from error


def _check_token(verify: JsonObject, headers: Mapping[str, str]) -> None:
    secret = _secret(verify)
    name = verify.get("header") or "authorization"
    sent = headers.get(name)
    token = _bearer(sent)
    if token is None and name != "authorization":
        token = sent
    if not token:
        raise Rejected("missing_token")
    if not hmac.compare_digest(token.encode(), secret):
        raise Rejected("bad_token")


def _check_signature(verify: JsonObject, headers: Mapping[str, str], body: bytes) -> None:
    secret = _secret(verify)
    name = verify.get("header") or SIGNATURE_HEADER
    sent = headers.get(name)
    if not sent:
        raise Rejected("missing_signature")
    stamp, given = _sent(verify, sent, name, headers)
    expected = hmac.digest(secret, _signed(verify, headers, stamp, body), "sha256")
    if not any(hmac.compare_digest(expected, one) for one in given):
        raise Rejected("bad_signature")
    if stamp is not None:
        _check_age(verify, stamp)


def _sent(
    verify: JsonObject, sent: str, name: str, headers: Mapping[str, str]
) -> tuple[str | None, list[bytes]]:
    """Return the time and the signatures that were sent."""
    where = verify.get("timestamp_header")
    stamp: str | None
    encoding = verify.get("encoding") or "hex"
    if where == name:
        # One header for both: `t=1700000000,v1=5257a8…,v1=…`.
        pairs = [part.strip().partition("=")[::2] for part in sent.split(",")[:16]]
        stamp = next((value for key, value in pairs if key == "t"), "")
        signatures = [value for key, value in pairs if key == "v1"]
    else:
        stamp = None if where is None else headers.get(where, "")
        # Several secrets while one is changed: `v1,<base64> v1,<base64>`.
        signatures = [part.removeprefix("v1,") for part in sent.split()[:16]]
    if where is not None and not stamp:
        raise Rejected("missing_timestamp")
    return stamp, list(_decoded(signatures, encoding))


def _decoded(signatures: list[str], encoding: str) -> Iterator[bytes]:
    for text in signatures:
        plain = text.removeprefix("v0=").removeprefix("sha256=")
        try:
            if encoding == "base64":
                yield base64.b64decode(plain, validate=True)
            else:
                yield bytes.fromhex(plain)
        except (ValueError, binascii.Error):
            continue


def _signed(
    verify: JsonObject, headers: Mapping[str, str], stamp: str | None, body: bytes
) -> bytes:
    """Return the signed bytes: the body, or the template that the listener names."""
    form = verify.get("signed") or ("{body}" if stamp is None else "{timestamp}.{body}")
    if "{body}" not in form:
        raise Rejected("misconfigured")
    parts = []
    for index, piece in enumerate(_PART.split(form)):
        if index % 2 == 0:
            parts.append(piece.encode())
        elif piece == "body":
            parts.append(body)
        else:
            value = stamp if piece == "timestamp" else headers.get(piece)
            parts.append((value or "").encode("latin-1", "replace"))
    return b"".join(parts)


def _check_age(verify: JsonObject, stamp: str) -> None:
    tolerance = verify.get("tolerance_seconds") or _TOLERANCE_SECONDS
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 16):
        raise Rejected("stale_timestamp")
    seconds = int(stamp)
    if seconds > 10**11:  # milliseconds
        seconds //= 1000
    if abs(time.time() - seconds) > tolerance:
        raise Rejected("stale_timestamp")


def _secret(verify: JsonObject) -> bytes:
    secret = verify.get("secret")
    if not isinstance(secret, str) or not secret:
        raise Rejected("misconfigured")
    if verify.get("type") == "hmac_sha256" and secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error as error:
            raise Rejected("misconfigured") from error
    return secret.encode()


def _bearer(sent: str | None) -> str | None:
    scheme, _, token = (sent or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
