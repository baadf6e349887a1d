"""Calls a URL (tools 4)."""

import asyncio
import base64
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import perf_counter, time
from typing import Any

import httpx
import orjson

from noetl_worker import encoding
from noetl_worker.tools.bounded import AnswerTooLarge, fetch
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.tool import Failure, Tool, ToolContext, ToolError, ToolParts, ToolResult

__all__ = ["Http", "create"]

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_RESPONSE_TYPES = ("json", "text", "binary")


class Http:
    """The http tool."""

    def __init__(
        self, client: httpx.AsyncClient, *, timeout_seconds: float, body_bytes: int
    ) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds
        self._body_bytes = body_bytes

    async def run(self, config: dict[str, Any], context: ToolContext) -> ToolResult:
        """Send one request; any answer is a result."""
        started = perf_counter()
        config = context.render(config)
        response_type = Fields(config, kind="http").choice(
            "response_type", _RESPONSE_TYPES, default="json"
        )
        request, seconds = self._request(config, context)
        try:
            response, body = await self._send(request, seconds=seconds)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _transport_error(error, request) from error
        duration_ms = int((perf_counter() - started) * 1000)
        return _result(response, body, response_type=response_type, duration_ms=duration_ms)

    def _request(self, config: dict[str, Any], context: ToolContext) -> tuple[httpx.Request, float]:
        fields = Fields(config, kind="http")
        url = fields.text("url")
        method = fields.choice("method", _METHODS, default="GET")
        headers = httpx.Headers(_texts(fields.mapping("headers")))
        params = _texts(fields.mapping("params"))
        seconds = fields.optional_unsigned("timeout_seconds") or self._timeout_seconds
        content = _content(config, fields, headers)
        _add_auth(headers, context)
        try:
            target = httpx.URL(url)
            if params:
                target = target.copy_merge_params(params)
            request = self._client.build_request(
                method, target, headers=headers, content=content, timeout=float(seconds)
            )
        except (httpx.InvalidURL, ValueError, TypeError) as error:
            raise ToolError("HTTP error", f"builder error: {error}") from error
        return request, float(seconds)

    async def _send(
        self, request: httpx.Request, *, seconds: float
    ) -> tuple[httpx.Response, bytes]:
        try:
            async with asyncio.timeout(seconds):
                return await fetch(self._client, request, most=self._body_bytes)
        except TimeoutError as error:
            raise httpx.ReadTimeout("operation timed out", request=request) from error
        except AnswerTooLarge as error:
            message = f"the answer has more than {self._body_bytes} bytes"
            raise ToolError("HTTP error", message) from error


def _result(
    response: httpx.Response, body: bytes, *, response_type: str, duration_ms: int
) -> ToolResult:
    status = response.status_code
    headers = {
        name.lower(): value if value.isascii() else ""
        for name, value in (
            (raw_name.decode("ascii", "replace"), raw_value.decode("latin-1"))
            for raw_name, raw_value in response.headers.raw
        )
    }
    text: str | None = None
    value: Any
    if response_type == "binary":
        value = {"base64": base64.b64encode(body).decode(), "size": len(body)}
    else:
        text = body.decode(_charset(response), "replace")
        value = _parsed(body, text) if response_type == "json" else text
    good = response.is_success
    return ToolResult(
        status="success" if good else "error",
        data={"status_code": status, "headers": headers, "body": value},
        error=None if good else f"HTTP {status} response",
        stdout=text,
        exit_code=0 if good else 1,
        duration_ms=duration_ms,
        failure=None if good else _failure(status, headers),
        http={"status": status, "headers": headers},
    )


def _parsed(body: bytes, text: str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return text


def _charset(response: httpx.Response) -> str:
    name = response.charset_encoding or "utf-8"
    try:
        "".encode(name)
    except LookupError:
        return "utf-8"
    return name


def _failure(status: int, headers: Mapping[str, str]) -> Failure:
    if status == 429:
        kind, retryable = "rate_limit", True
    elif status in {401, 403}:
        kind, retryable = "auth", False
    elif status == 404:
        kind, retryable = "not_found", False
    elif status >= 500:
        kind, retryable = "server_error", True
    else:
        kind, retryable = "client_error", False
    return Failure(
        kind=kind,
        retryable=retryable,
        code=f"HTTP_{status}",
        status=status,
        retry_after=_retry_after(headers.get("retry-after")),
    )


def _retry_after(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time())
    except ValueError:
        return None


def _transport_error(error: Exception, request: httpx.Request) -> ToolError:
    is_timeout = isinstance(error, httpx.TimeoutException)
    text = str(error) or type(error).__name__
    return ToolError(
        "HTTP error",
        f"error sending request for url ({request.url.copy_with(userinfo=b'')}): {text}",
        failure=Failure(kind="timeout" if is_timeout else "connection", retryable=True),
    )


def _content(config: dict[str, Any], fields: Fields, headers: httpx.Headers) -> bytes | None:
    """Return the body and set its type: `json`, else `form`, else `body`."""
    if config.get("json") is not None:
        headers.setdefault("content-type", "application/json")
        return encoding.encode(config["json"])
    if config.get("form") is not None:
        headers.setdefault("content-type", "application/x-www-form-urlencoded")
        return str(httpx.QueryParams(_texts(fields.mapping("form")))).encode()
    body = config.get("body")
    if body is None:
        return None
    if isinstance(body, str):
        return body.encode()
    headers.setdefault("content-type", "application/json")
    return encoding.encode(body)


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Coerce a map's values to text; null is dropped."""
    texts: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, str):
            texts[name] = value
        elif value is not None:
            texts[name] = encoding.encode(value).decode()
    return texts


def _add_auth(headers: httpx.Headers, context: ToolContext) -> None:
    auth = context.auth
    if auth is None:
        return
    match auth.get("type"):
        case "bearer":
            headers["authorization"] = f"Bearer {_bearer(auth, context)}"
        case "basic":
            headers["authorization"] = f"Basic {_basic(auth, context)}"
        case "api_key":
            secret = context.secrets.get(str(auth.get("credential"))) or auth.get("token")
            if not secret:
                raise _auth_error("API key auth requires 'token' or 'credential'")
            headers[str(auth.get("header") or "X-API-Key")] = str(secret)
        case "gcp_adc":
            raise _auth_error("auth type 'gcp_adc' is not supported yet")
        case "none":
            return
        case other:
            raise _auth_error(f"auth type '{other}' is not known")


def _bearer(auth: Mapping[str, Any], context: ToolContext) -> str:
    if auth.get("token"):
        return str(auth["token"])
    name = auth.get("credential")
    if not name:
        raise _auth_error("Bearer auth requires 'token' or 'credential'")
    secret = context.secrets.get(str(name))
    if secret is None:
        raise _auth_error(f"Credential '{name}' not found in context")
    return secret


def _basic(auth: Mapping[str, Any], context: ToolContext) -> str:
    user = auth.get("username")
    if not user:
        raise _auth_error("Basic auth requires 'username'")
    password = context.secrets.get(str(auth.get("credential"))) or auth.get("password")
    if password is None:
        raise _auth_error("Basic auth requires 'password'")
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _auth_error(message: str) -> ToolError:
    return ToolError("Authentication error", message)


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    settings = parts.settings
    return Http(
        parts.http,
        timeout_seconds=settings.worker_http_timeout_seconds,
        body_bytes=settings.worker_http_body_bytes,
    )
