"""Access tokens by OAuth2's client credentials grant, from any issuer (RFC 6749, 4.4)."""

import base64
from datetime import UTC, datetime
from typing import ClassVar
from urllib.parse import quote, urlsplit

from noetl_contract.json import Json, JsonObject

from noetl_catalog.providers.calls import Options, after_seconds, as_text
from noetl_catalog.providers.provider import Provider, Secret

_METHODS = ("GET", "POST", "PUT")
_OF_CLIENT = ("client_id", "client_secret", "scope", "audience")
_SCHEMES = ("https", "http")


class OAuth2(Provider):
    """Asks an issuer's token endpoint; the value is its answer, with ``access_token`` in it."""

    asks_again: ClassVar[bool] = True
    credential_type: ClassVar[str] = "bearer"

    async def fetch(self, reference: str) -> Secret:
        """Refuse a bare reference: a token needs the keys of an entry.

        Raises:
            ProviderMisconfigured: always.
        """
        raise self._calls.misconfigured(f"'{reference[:200]}' is no entry with an 'endpoint'")

    async def fetch_entry(self, reference: str, options: JsonObject) -> Secret:  # noqa: ARG002
        """Return a fresh token.

        Args:
            reference: the endpoint as grants name it; not used.
            options: ``endpoint``, and perhaps ``method``, ``headers``, ``data`` or ``json``,
                ``client`` (fields of a stored credential), ``client_auth`` (``basic``),
                ``oauth_scope`` and ``ttl_seconds``.
        """
        endpoint = as_text(options.get("endpoint") or "")
        parts = urlsplit(endpoint)
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise self._calls.misconfigured("'endpoint' is no address with https:// or http://")
        method = str(options.get("method") or "POST").upper()
        if method not in _METHODS:
            raise self._calls.misconfigured(f"'method' is none of {', '.join(_METHODS)}")
        answer = await self._calls.json(method, endpoint, **self._request(options, method))
        token = answer.get("access_token")
        if not isinstance(token, str) or not token:
            raise self._calls.failed("the answer has no access_token")
        return Secret(answer, self._end(answer, options))

    def _request(self, options: JsonObject, method: str) -> Options:
        headers = {
            name.lower(): as_text(value) for name, value in _mapping(options.get("headers")).items()
        }
        headers.setdefault("accept", "application/json")
        client = _mapping(options.get("client"))
        fields: JsonObject = {"grant_type": "client_credentials"}
        fields |= {name: client[name] for name in _OF_CLIENT if client.get(name)}
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
        """Return when a token ends: as its issuer says, else as the entry says."""
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
