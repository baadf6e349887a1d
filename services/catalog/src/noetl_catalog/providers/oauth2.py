"""Access tokens of any OAuth2 issuer, with client credentials or a refresh token (RFC 6749)."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar, Final
from urllib.parse import quote, urlsplit

from noetl_contract.json import Json, JsonObject

from noetl_catalog.providers.calls import Options, after_seconds, as_text
from noetl_catalog.providers.errors import ProviderFailed
from noetl_catalog.providers.provider import Provider, Replaced, Secret

REFRESH: Final = "refresh_token"
_METHODS = ("GET", "POST", "PUT")
_OF_CLIENT = ("client_id", "client_secret", "scope", "audience")
_GRANTS = ("client_credentials", REFRESH)
# Fields of a request with a refresh token that an entry must not set itself.
_FIXED = ("grant_type", "refresh_token")
_SCHEMES = ("https", "http")


class OAuth2(Provider):
    """Requests tokens from an issuer; the value is the whole answer with its ``access_token``."""

    asks_again: ClassVar[bool] = True
    credential_type: ClassVar[str] = "bearer"

    @classmethod
    def entry_problem(cls, entry: Mapping[str, Json]) -> str | None:
        """Return the problem of an entry's grant, or None."""
        grant = entry.get("grant") or _GRANTS[0]
        if grant not in _GRANTS:
            return f"'grant' is none of {', '.join(_GRANTS)}"
        if grant != REFRESH:
            return None
        if not isinstance(entry.get("credential"), str) or not entry.get("credential"):
            return f"'grant: {REFRESH}' needs a 'credential' that holds the refresh token"
        more = _mapping(entry.get("data")) | _mapping(entry.get("json"))
        return next((f"'{name}' comes with 'grant'" for name in _FIXED if name in more), None)

    async def fetch(self, reference: str) -> Secret:
        """Refuse a reference without an entry, because a request needs the keys of an entry.

        Raises:
            ProviderMisconfigured: always.
        """
        raise self._calls.misconfigured(f"'{reference[:200]}' is no entry with an 'endpoint'")

    async def fetch_entry(self, reference: str, options: JsonObject) -> Secret:  # noqa: ARG002
        """Return a fresh token.

        Args:
            reference: the endpoint as grants name it; not used.
            options: ``endpoint``, and perhaps ``grant``, ``method``, ``headers``, ``data`` or
                ``json``, ``client`` (fields of a stored credential), ``client_auth`` (``basic``),
                ``oauth_scope`` and ``ttl_seconds``.
        """
        endpoint = as_text(options.get("endpoint") or "")
        parts = urlsplit(endpoint)
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise self._calls.misconfigured("'endpoint' is no address with https:// or http://")
        method = str(options.get("method") or "POST").upper()
        if method not in _METHODS:
            raise self._calls.misconfigured(f"'method' is none of {', '.join(_METHODS)}")
        sent = self._refresh_token(options)
        answer = await self._answer(method, endpoint, self._request(options, method), sent)
        token = answer.get("access_token")
        if not isinstance(token, str) or not token:
            raise self._calls.failed("the answer has no access_token")
        if not sent:
            return Secret(answer, self._end(answer, options))
        # Only the catalog may see the refresh token.
        now = answer.pop("refresh_token", None)
        is_new = isinstance(now, str) and now not in ("", sent)
        replaced = Replaced("refresh_token", sent, str(now)) if is_new else None
        return Secret(answer, self._end(answer, options), replaced)

    def _refresh_token(self, options: JsonObject) -> str:
        """Return the refresh token to send, or an empty text for the other grant."""
        if options.get("grant") != REFRESH:
            return ""
        token = _mapping(options.get("client")).get("refresh_token")
        if not isinstance(token, str) or not token:
            raise self._calls.misconfigured("the credential has no 'refresh_token'")
        return token

    async def _answer(self, method: str, endpoint: str, request: Options, sent: str) -> JsonObject:
        try:
            return await self._calls.json(method, endpoint, **request)
        except ProviderFailed as error:
            reason = str(error.context.get("reason"))
            if not sent or "invalid_grant" not in reason:
                raise
            advice = "it has ended or was replaced: store a new refresh token in the credential"
            raise self._calls.failed(f"{reason} ({advice})") from error

    def _request(self, options: JsonObject, method: str) -> Options:
        headers = {
            name.lower(): as_text(value) for name, value in _mapping(options.get("headers")).items()
        }
        headers.setdefault("accept", "application/json")
        client = _mapping(options.get("client"))
        fields: JsonObject = {"grant_type": _GRANTS[0]}
        fields |= {name: client[name] for name in _OF_CLIENT if client.get(name)}
        if token := self._refresh_token(options):
            fields |= {"grant_type": REFRESH, "refresh_token": token}
        if options.get("oauth_scope"):
            fields["scope"] = options["oauth_scope"]
        if options.get("client_auth") == "basic":
            names = [as_text(fields.pop(name, "")) for name in ("client_id", "client_secret")]
            login = ":".join(quote(name, safe="") for name in names)
            headers["authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        if isinstance(options.get("json"), dict):
            return {"headers": headers, "json": fields | _mapping(options["json"])}
        fields |= _mapping(options.get("data"))
        if method == "GET":
            return {"headers": headers, "params": _texts(fields)}
        if headers.get("content-type", "").startswith("application/json"):
            return {"headers": headers, "json": fields}
        return {"headers": headers, "data": _texts(fields)}

    def _end(self, answer: JsonObject, options: JsonObject) -> datetime | None:
        """Return the expiry of a token, from the answer of the issuer or from the entry."""
        seconds = answer.get("expires_in")
        if seconds is None:
            seconds = options.get("ttl_seconds")
        if seconds is None:
            return None
        end = after_seconds(seconds)
        if end is None or end <= datetime.now(UTC):
            raise self._calls.failed("the answer's expires_in is no number of seconds above 0")
        return end


def _mapping(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _texts(fields: JsonObject) -> dict[str, str]:
    return {name: as_text(value) for name, value in fields.items() if value is not None}
