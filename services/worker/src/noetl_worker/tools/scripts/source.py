"""Sources of scripts: the playbook, a file, a URL, Google's storage."""

import asyncio
import os
from dataclasses import dataclass, replace
from typing import Self
from urllib.parse import quote

import httpx
from noetl_contract.json import Json, JsonObject

from noetl_worker.bounded_http import AnswerTooLarge, fetch
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.google_tokens import GoogleTokens
from noetl_worker.tools.http.auth import auth_headers
from noetl_worker.tools.tool import Failure, ToolContext, ToolError, ToolParts

_SECONDS = 30.0
_LONGEST_ERROR = 300
_LARGEST = 8 << 20
_GOOGLE_STORAGE = "https://storage.googleapis.com"


@dataclass(frozen=True, slots=True)
class _Download:
    """One fetch, with the name that errors show."""

    what: str
    shown: str
    request: httpx.Request
    seconds: float


class ScriptSource:
    """Read the script of a configuration."""

    def __init__(self, client: httpx.AsyncClient, google: GoogleTokens, *, storage: str) -> None:
        self._client = client
        self._google = google
        self._storage = (storage if "://" in storage else f"http://{storage}").rstrip("/")

    @classmethod
    def of(cls, parts: ToolParts) -> Self:
        """Make it of the worker's parts."""
        google = GoogleTokens(parts.own_http or parts.http, parts.settings)
        return cls(parts.http, google, storage=parts.settings.google_storage_host)

    async def read(self, config: JsonObject, fields: Fields, context: ToolContext) -> JsonObject:
        """Return the script's part of a job.

        Raises:
            ToolError: there is no script, or it can't be had.
        """
        code = fields.optional_text("code")
        if code is not None:
            return {"code": code}
        script = fields.mapping("script") if config.get("script") is not None else {}
        source = script.get("source")
        if source is not None and not isinstance(source, dict):
            raise fields.refuse("`script.source` is not a map")
        source = source or {}
        details = Fields(source, kind="python")
        uri = Fields(script, kind="python").optional_text("uri")
        kind = details.optional_text("type") or "inline"
        match kind:
            case "inline":
                inline = details.optional_text("code")
                if inline is None:
                    raise _refused("inline", "has no `code`")
                return {"code": inline}
            case "file":
                # Read by the script's process: the worker can reach more than a script may.
                path = os.path.abspath(uri) if uri else ""  # noqa: ASYNC240, PTH100  text alone
                return {"file": path, "largest_source": _LARGEST}
            case "http":
                url = details.optional_text("endpoint") or uri or ""
                headers = await self._auth(source.get("auth"), fields, context, url=url)
                method = details.optional_text("method") or "GET"
                seconds = float(details.optional_unsigned("timeout") or _SECONDS)
                return {"code": await self._from_url(method, url, headers, seconds)}
            case "gcs":
                return {"code": await self._from_google(uri or "")}
        raise _refused(kind, "is unknown; expected one of inline | file | gcs | http")

    async def _auth(
        self, auth: Json, fields: Fields, context: ToolContext, *, url: str
    ) -> dict[str, str]:
        if auth is None:
            return {}
        if not isinstance(auth, dict):
            raise fields.refuse("`script.source.auth` is not an `auth` object with a `type`")
        return await auth_headers(replace(context, auth=auth), self._google, url=url)

    async def download(self, url: str) -> str:
        """Return the script behind a URL.

        Raises:
            ToolError: it can't be had.
        """
        return await self._from_url("GET", url, {}, _SECONDS)

    async def _from_url(
        self, method: str, url: str, headers: dict[str, str], seconds: float
    ) -> str:
        shown = _without_password(url)
        try:
            request = self._client.build_request(method, url, headers=headers, timeout=seconds)
        except (httpx.InvalidURL, TypeError, ValueError) as error:
            raise ToolError("HTTP error", f"http fetch `{shown}` failed: {error}") from error
        return await self._fetch(_Download("http", shown, request, seconds))

    async def _from_google(self, uri: str) -> str:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        if not uri.startswith("gs://") or not bucket or not name:
            raise _refused("gcs", f"needs a `uri` like gs://bucket/object, got '{uri[:200]}'")
        url = f"{self._storage}/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"
        headers = {}
        if self._storage == _GOOGLE_STORAGE:
            headers["authorization"] = f"Bearer {await self._google.token()}"
        request = self._client.build_request(
            "GET", url, params={"alt": "media"}, headers=headers, timeout=_SECONDS
        )
        return await self._fetch(_Download("gcs", uri, request, _SECONDS))

    async def _fetch(self, wanted: _Download) -> str:
        about = f"{wanted.what} fetch `{wanted.shown}`"
        try:
            async with asyncio.timeout(wanted.seconds):
                response, body = await fetch(self._client, wanted.request, most=_LARGEST)
        except AnswerTooLarge as error:
            raise ToolError("HTTP error", f"{about} returned too much") from error
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            kind = "timeout" if isinstance(error, TimeoutError) else "connection"
            reason = str(error) or type(error).__name__
            failure = Failure(kind=kind, retryable=True)
            raise ToolError("HTTP error", f"{about} failed: {reason}", failure=failure) from error
        text = body.decode("utf-8", "replace")
        if not response.is_success:
            raise ToolError(
                "HTTP error",
                f"{about} returned HTTP {response.status_code}: {text[:_LONGEST_ERROR]}",
            )
        return text


def _without_password(url: str) -> str:
    try:
        return str(httpx.URL(url).copy_with(userinfo=b""))
    except httpx.InvalidURL:
        return "an invalid URL"


def _refused(kind: str, message: str) -> ToolError:
    return ToolError("Configuration error", f"python script `source.type: {kind}` {message}")
