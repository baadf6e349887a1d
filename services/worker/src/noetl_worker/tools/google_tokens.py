"""Access tokens by Google's application-default credentials: a key file or the metadata server."""

import asyncio
import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import monotonic, time
from typing import Any

import httpx
import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from noetl_worker.bounded_http import AnswerTooLarge, fetch
from noetl_worker.settings import Settings
from noetl_worker.tools.tool import Failure, ToolError

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105  an address
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GCLOUD_FILE = Path(".config/gcloud/application_default_credentials.json")
_LIFE_SECONDS = 3600
_MARGIN_SECONDS = 60.0
_SECONDS = 10.0
_MOST_BYTES = 64 << 10
_MOST_SCOPES = 64


class GoogleTokens:
    """Fetch tokens; each is cached until shortly before it expires."""

    def __init__(self, client: httpx.AsyncClient, settings: Settings) -> None:
        self._client = client
        self._file = settings.google_credentials
        self._metadata = settings.google_metadata_host
        self._known: dict[str, tuple[str, float]] = {}
        self._fetching = asyncio.Lock()

    async def token(self, scopes: Iterable[str] = ()) -> str:
        """Return a token for scopes; without any for the whole platform.

        Raises:
            ToolError: there is none.
        """
        scope = " ".join(scopes) or CLOUD_PLATFORM
        async with self._fetching:
            known, until = self._known.get(scope, ("", 0.0))
            if monotonic() < until:
                return known
            answer = await self._fetch(scope)
            token, life = answer.get("access_token"), answer.get("expires_in")
            if not isinstance(token, str) or not token:
                raise _error("the answer has no token")
            seconds = float(life) if isinstance(life, int | float) else _LIFE_SECONDS
            if len(self._known) >= _MOST_SCOPES:
                self._known.clear()
            self._known[scope] = (token, monotonic() + seconds - _MARGIN_SECONDS)
            return token

    async def _fetch(self, scope: str) -> Mapping[str, Any]:
        credentials = await asyncio.to_thread(_read_file, self._file)
        if credentials is None:
            return await self._from_metadata(scope)
        kind = credentials.get("type")
        if kind == "service_account":
            form = {"grant_type": _GRANT, "assertion": _assertion(credentials, scope)}
        elif kind == "authorized_user":
            names = ("client_id", "client_secret", "refresh_token")
            form = {name: _text(credentials, name) for name in names}
            form["grant_type"] = "refresh_token"
        else:
            raise _error(f"credentials of type '{kind}' are not supported")
        url = _token_url(credentials)
        try:
            request = self._client.build_request("POST", url, data=form)
        except (httpx.InvalidURL, TypeError) as error:
            raise _error(f"token_uri: {error}") from error
        return await self._ask(request)

    async def _from_metadata(self, scope: str) -> Mapping[str, Any]:
        url = f"http://{self._metadata}/computeMetadata/v1/instance/service-accounts/default/token"
        request = self._client.build_request(
            "GET",
            url,
            params={"scopes": scope.replace(" ", ",")},
            headers={"metadata-flavor": "Google"},
        )
        return await self._ask(request)

    async def _ask(self, request: httpx.Request) -> Mapping[str, Any]:
        where = f"{request.url.scheme}://{request.url.netloc.decode()}"
        try:
            async with asyncio.timeout(_SECONDS):
                response, data = await fetch(self._client, request, most=_MOST_BYTES)
        except (httpx.HTTPError, TimeoutError, AnswerTooLarge) as error:
            reason = str(error) or type(error).__name__
            failure = Failure(kind="connection", retryable=True)
            raise _error(f"no token from {where}: {reason}", failure) from error
        if not response.is_success:
            raise _error(f"no token from {where}: HTTP {response.status_code}")
        try:
            answer = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise _error(f"no token from {where}: the answer is no JSON") from error
        return answer if isinstance(answer, dict) else {}


def _read_file(name: str) -> Mapping[str, Any] | None:
    """Return the credentials of the named file, else of gcloud's, else None."""
    path = Path(name) if name else Path.home() / _GCLOUD_FILE
    if not name and not path.is_file():
        return None
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        # Without the reason of the decoder: it may quote the key.
        reason = error.strerror if isinstance(error, OSError) else "no JSON"
        raise _error(f"the file '{path}' can't be read: {reason}") from None
    if not isinstance(found, dict):
        raise _error(f"the file '{path}' holds no credentials")
    return found


def _assertion(credentials: Mapping[str, Any], scope: str) -> str:
    now = int(time())
    header = {"alg": "RS256", "typ": "JWT", "kid": credentials.get("private_key_id")}
    claims = {
        "iss": _text(credentials, "client_email"),
        "scope": scope,
        "aud": _token_url(credentials),
        "iat": now,
        "exp": now + _LIFE_SECONDS,
    }
    signed = f"{_packed(orjson.dumps(header))}.{_packed(orjson.dumps(claims))}"
    try:
        key = load_pem_private_key(_text(credentials, "private_key").encode(), password=None)
    except (ValueError, TypeError):
        raise _error("the private key can't be read") from None
    if not isinstance(key, RSAPrivateKey):
        raise _error("the private key is no RSA key")
    signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_packed(signature)}"


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _token_url(credentials: Mapping[str, Any]) -> str:
    return str(credentials.get("token_uri") or _TOKEN_URL)


def _text(credentials: Mapping[str, Any], name: str) -> str:
    value = credentials.get(name)
    if not isinstance(value, str) or not value:
        raise _error(f"the credentials have no `{name}`")
    return value


def _error(message: str, failure: Failure | None = None) -> ToolError:
    return ToolError("Authentication error", f"gcp_adc: {message}", failure=failure)
