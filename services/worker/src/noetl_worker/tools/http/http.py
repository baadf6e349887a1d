"""The http tool: call a URL."""

import asyncio
import base64
import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from time import perf_counter, time

import httpx
from noetl_contract.json import Json, JsonObject

from noetl_worker import jsonb
from noetl_worker.bounded_http import AnswerTooLarge, fetch
from noetl_worker.tools.errors import NeverBegan
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.google_tokens import GoogleTokens
from noetl_worker.tools.http.auth import auth_headers
from noetl_worker.tools.http.repeat import Change, Repeat, RepeatLimits, read_rules, texts
from noetl_worker.tools.means import lacks_means
from noetl_worker.tools.tool import Failure, Tool, ToolContext, ToolError, ToolParts, ToolResult

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
_RESPONSE_TYPES = ("json", "text", "binary")
_KINDS = {401: "auth", 403: "auth", 404: "not_found", 429: "rate_limit"}
# What stands around a body is the client's: another length or coding of it would let a request
# hide a second one.
FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that are the client's own."""
_SECRET_HEADER = re.compile(
    "auth|cookie|credential|key|passw|secret|session|signature|token", re.IGNORECASE
)
# Codecs of Python that are none of the web's; one takes minutes for a large text.
_NO_CHARSETS = frozenset(
    {
        "idna",
        "mbcs",
        "oem",
        "punycode",
        "raw-unicode-escape",
        "undefined",
        "unicode-escape",
        "utf-7",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A request as configured; pages of one call differ in URL, parameters and headers."""

    method: str
    url: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    auth: Mapping[str, str]
    content: bytes | None
    content_type: str | None
    seconds: float
    response_type: str

    def next(self, change: Change) -> "_Call":
        """Return the call of the next page. Another host gets no authentication."""
        url = change.url or self.url
        is_same = _origin(url) == _origin(self.url)
        kept = self.headers if is_same else _without_secrets(self.headers)
        return replace(
            self,
            url=url,
            # The address of a next page brings its own parameters.
            params=dict(change.params) if change.url else {**self.params, **change.params},
            headers={**kept, **change.headers},
            auth=self.auth if is_same else {},
        )


class Http:
    """The http tool."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        google: GoogleTokens,
        *,
        timeout_seconds: float,
        body_bytes: int,
        limits: RepeatLimits,
    ) -> None:
        self._client = client
        self._google = google
        self._timeout_seconds = timeout_seconds
        self._body_bytes = body_bytes
        self._limits = limits

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Send one request, or as many as the ``retry`` rules say; any answer is a result."""
        started = perf_counter()
        rules = read_rules(config.get("retry"))
        # Rules speak of answers that are not there yet.
        config = context.render({key: one for key, one in config.items() if key != "retry"})
        call = await self._read(config, context)
        may_move = context.may_move

        async def send(one: _Call) -> ToolResult:
            nonlocal may_move
            # Of several pages only the first is the beginning.
            is_first, may_move = may_move, False
            return await self._send(one, may_move=is_first)

        if rules is None:
            result = await send(call)
        else:
            repeat = Repeat(rules, context, self._limits)
            result = await repeat.run(call, send, lambda one, change: one.next(change))
        result.duration_ms = int((perf_counter() - started) * 1000)
        return result

    async def _read(self, config: JsonObject, context: ToolContext) -> _Call:
        fields = Fields(config, kind="http")
        response_type = fields.choice("response_type", _RESPONSE_TYPES, default="json")
        url = fields.text("url")
        method = fields.choice("method", _METHODS, default="GET")
        headers = texts(fields.mapping("headers"))
        params = texts(fields.mapping("params"))
        seconds = fields.optional_unsigned("timeout_seconds") or _timeout(config, context)
        seconds = seconds or self._timeout_seconds
        fields.flag("follow_redirects", default=True)  # they always are, as in the original worker
        content, content_type = _content(config, fields)
        return _Call(
            method=method,
            url=url,
            params=params,
            headers=headers,
            auth=await auth_headers(context, self._google, url=url),
            content=content,
            content_type=content_type,
            seconds=float(seconds),
            response_type=response_type,
        )

    def _request(self, call: _Call) -> httpx.Request:
        try:
            headers = httpx.Headers(_trimmed(_without_framing(call.headers)))
            if call.content_type is not None:
                headers.setdefault("content-type", call.content_type)
            headers.update(_trimmed(call.auth))
            target = httpx.URL(call.url)
            if "authorization" in headers:
                # What the step says wins over a login in the address, as `server_url` has one.
                target = target.copy_with(userinfo=b"")
            if call.params:
                target = target.copy_merge_params(call.params)
            return self._client.build_request(
                call.method, target, headers=headers, content=call.content, timeout=call.seconds
            )
        except (httpx.InvalidURL, ValueError, TypeError) as error:
            raise ToolError("HTTP error", f"builder error: {error}") from error

    async def _send(self, call: _Call, *, may_move: bool) -> ToolResult:
        request = self._request(call)
        private = {*call.auth, *filter(_SECRET_HEADER.search, call.headers)}
        try:
            async with asyncio.timeout(call.seconds):
                response, body = await fetch(
                    self._client, request, most=self._body_bytes, private=private
                )
        except TimeoutError as error:
            timeout = httpx.ReadTimeout("operation timed out", request=request)
            raise _transport_error(timeout, request) from error
        except AnswerTooLarge as error:
            message = f"the answer has more than {self._body_bytes} bytes"
            raise ToolError("HTTP error", message) from error
        except httpx.ConnectError as error:
            failure = _transport_error(error, request)
            # The request of a redirect is another one: what led to it was sent.
            if may_move and error.request is request and lacks_means(error):
                failure = NeverBegan(failure.prefix, failure.message, failure=failure.failure)
            raise failure from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _transport_error(error, request) from error
        return _result(response, body, response_type=call.response_type)


def _timeout(config: JsonObject, context: ToolContext) -> float | None:
    """Return the tool's own `timeout`; in a pipeline it is part of the configuration."""
    found = config.get("timeout") if context.timeout is None else context.timeout
    if isinstance(found, int | float) and not isinstance(found, bool) and found > 0:
        return float(found)
    return None


def _without_framing(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in FRAMING}


def _without_secrets(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if not _SECRET_HEADER.search(name)}


def _trimmed(headers: Mapping[str, str]) -> dict[str, str]:
    """Drop the blanks around values.

    They are no part of a value, but the client refuses them, and "Bearer " is what a header
    becomes whose template has found nothing.
    """
    return {name: value.strip(" \t") for name, value in headers.items()}


def _origin(url: str) -> tuple[str, str, int | None] | None:
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        return None
    return parts.scheme, parts.host, parts.port


def _result(response: httpx.Response, body: bytes, *, response_type: str) -> ToolResult:
    status = response.status_code
    headers = {
        name.lower(): value if value.isascii() else ""
        for name, value in (
            (raw_name.decode("ascii", "replace"), raw_value.decode("latin-1"))
            for raw_name, raw_value in response.headers.raw
        )
    }
    text: str | None = None
    value: Json
    if response_type == "binary":
        value = {"base64": base64.b64encode(body).decode(), "size": len(body)}
    else:
        text = body.decode(_charset(response), "replace")
        value = jsonb.parsed(body, text) if response_type == "json" else text
    good = response.is_success
    return ToolResult(
        status="success" if good else "error",
        data={"status_code": status, "headers": headers, "body": value, "data": value},
        error=None if good else f"HTTP {status} response",
        stdout=text,
        exit_code=0 if good else 1,
        failure=None if good else _failure(status, headers),
        http={"status": status, "headers": headers},
    )


def _charset(response: httpx.Response) -> str:
    name = response.charset_encoding or "utf-8"
    try:
        "".encode(name)
        known = codecs.lookup(name).name
    except (LookupError, ValueError):
        return "utf-8"
    return "utf-8" if known in _NO_CHARSETS else name


def _failure(status: int, headers: Mapping[str, str]) -> Failure:
    other = "server_error" if status >= 500 else "client_error"
    return Failure(
        kind=_KINDS.get(status, other),
        retryable=status == 429 or status >= 500,
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


def _content(config: JsonObject, fields: Fields) -> tuple[bytes | None, str | None]:
    """Return the body and its type: `json`, else `form`, else `body`."""
    if config.get("json") is not None:
        return jsonb.encode(config["json"]), "application/json"
    if config.get("form") is not None:
        form = str(httpx.QueryParams(texts(fields.mapping("form"))))
        return form.encode(), "application/x-www-form-urlencoded"
    body = config.get("body")
    if body is None:
        return None, None
    if isinstance(body, str):
        return body.encode(), None
    return jsonb.encode(body), "application/json"


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    settings = parts.settings
    return Http(
        parts.http,
        GoogleTokens(parts.own_http or parts.http, settings),
        timeout_seconds=settings.worker_http_timeout_seconds,
        body_bytes=settings.worker_http_body_bytes,
        limits=RepeatLimits(
            attempts=settings.worker_retry_max_attempts,
            wait_seconds=settings.worker_retry_max_wait_seconds,
            pages=settings.worker_http_pages_max,
            body_bytes=settings.worker_http_body_bytes,
        ),
    )
