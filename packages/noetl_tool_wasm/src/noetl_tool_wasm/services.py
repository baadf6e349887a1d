"""Calls of a plug-in: HTTP to allowed hosts, and values kept for its execution."""

import base64
import hashlib
import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

import httpx
import orjson
from noetl_contract.json import Json, JsonObject
from noetl_worker.bounded_http import AnswerTooLarge, fetch
from noetl_worker.control_plane.edge import Edge, EdgeUnreachable
from noetl_worker.redaction import mask
from noetl_worker.tools.http.hosts import may_be_sent
from noetl_worker.tools.http.http import FRAMING

from noetl_tool_wasm.loan import Loan

# With another host's name a request would reach what is not allowed; what is packed otherwise than
# the worker unpacks could hide a credential from it; the proxy is the worker's.
_OWN: Final = FRAMING | {"host", "accept-encoding", "proxy-authorization"}
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})
_KEY: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_LARGEST_VALUE: Final = 64 << 10
_EDGE_SECONDS: Final = 20.0
_MISSING: Final = 404
_MOST_HEADERS: Final = 100
_SHOWN: Final = 200


class Forbidden(Exception):
    """A plug-in made a call that it may not make; its run ends."""


class Services:
    """Answers the calls of one run.

    Args:
        http: the client of all tools, held to the rules of where connections may lead.
        edge: the control plane, where values are kept.
        path: of the plug-in; values of others are not seen.
        allowed_hosts: hosts that `http` may call.
        execution_id: whose values are seen.
        server_url: address of the edge for this command.
        most: largest answer in bytes.
        loan: the credential of the step, for requests that ask for it.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        edge: Edge,
        *,
        path: str,
        allowed_hosts: Iterable[str],
        execution_id: int,
        server_url: str,
        most: int,
        loan: Loan | None = None,
    ) -> None:
        self._http = http
        self._edge = edge
        self._hosts = tuple(allowed_hosts)
        self._execution_id = execution_id
        self._server_url = server_url
        self._most = most
        self._loan = loan
        self._prefix = f"plugin.{hashlib.sha256(path.encode()).hexdigest()[:16]}."

    async def send(self, asked: bytes, *, seconds: float) -> bytes:
        """Send a request; a failed connection is an answer with an ``error``.

        Raises:
            Forbidden: the request can't be read, or goes, or asks for the credential to go, to a
                host that is not allowed.
        """
        request = self._request(asked, seconds)
        hidden = () if self._loan is None else self._loan.hidden
        try:
            # A redirect is the plug-in's to follow: it may lead to a host that isn't allowed.
            response, data = await fetch(self._http, request, most=self._most, redirects=False)
        except AnswerTooLarge:
            return orjson.dumps({"error": f"the answer has more than {self._most} bytes"})
        except httpx.HTTPError as error:
            text = mask(f"{type(error).__name__}: {error}", hidden)
            return orjson.dumps({"error": text})
        # Some hosts give back what they were sent.
        data = data if self._loan is None else self._loan.without(data)
        answer: JsonObject = {
            "status": response.status_code,
            "headers": {name: mask(value, hidden) for name, value in response.headers.items()},
        }
        try:
            answer["body"] = data.decode()
        except UnicodeDecodeError:
            answer["body_base64"] = base64.b64encode(data).decode()
        return orjson.dumps(answer)

    def _request(self, asked: bytes, seconds: float) -> httpx.Request:
        wanted = _object(asked, "http")
        url, method = wanted.get("url"), wanted.get("method", "GET")
        headers, body = wanted.get("headers", {}), wanted.get("body")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise Forbidden("it called http without an http address in 'url'")
        if method not in _METHODS:
            raise Forbidden(f"it called http with the method '{str(method)[:_SHOWN]}'")
        if not may_be_sent(url, self._hosts):
            host = _host_of(url)
            raise Forbidden(f"it called http for '{host}', which is not in its allowed_hosts")
        if not isinstance(headers, dict) or not all(
            isinstance(value, str) for value in headers.values()
        ):
            raise Forbidden("it called http with 'headers' that is no map of texts")
        if len(headers) > _MOST_HEADERS:
            # The client's work grows with their square.
            raise Forbidden(
                f"it called http with {len(headers)} headers; the limit is {_MOST_HEADERS}"
            )
        if body is not None and not isinstance(body, str):
            raise Forbidden("it called http with a 'body' that is no text")
        try:
            target = httpx.URL(url)
            kept = httpx.Headers(
                {name: value for name, value in headers.items() if name.lower() not in _OWN}
            )
            if wanted.get("auth", False) is not False:
                kept.update(self._credential_for(target, wanted["auth"]))
                # A login in the address would come in place of the credential.
                target = target.copy_with(userinfo=b"")
            return self._http.build_request(
                method, target, headers=kept, content=body, timeout=max(seconds, 0.001)
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise Forbidden(f"it called http with a request that can't be sent: {error}") from error

    def _credential_for(self, target: httpx.URL, asked: Json) -> dict[str, str]:
        """Return the headers of the credential for a request that asks for them."""
        if asked is not True:
            raise Forbidden("it called http with an 'auth' that is neither true nor false")
        if self._loan is None:
            raise Forbidden("it called http with 'auth', and its step has none that it may send")
        if not self._loan.may_go_to(target):
            shown = f"{target.scheme}://{target.netloc.decode('ascii', 'replace')}"[:_SHOWN]
            raise Forbidden(
                f"it called http with 'auth' for '{shown}', where '{self._loan.name}' may not go"
            )
        return self._loan.headers

    async def value(self, key: str, *, seconds: float) -> bytes | None:
        """Return a value as JSON; None: there is none.

        Raises:
            Forbidden: it is no key, or the value can't be read.
        """
        path = f"/api/vars/{self._execution_id}/{quote(self._name(key), safe='')}"
        status, data = await self._call("GET", path, seconds)
        if status == _MISSING:
            return None
        found = orjson.loads(data)
        return orjson.dumps(found.get("var_value") if isinstance(found, dict) else None)

    async def keep(self, key: str, value: bytes, *, seconds: float) -> None:
        """Keep a value.

        Raises:
            Forbidden: it is no key, the value is no JSON or too large, or it can't be kept.
        """
        name = self._name(key)
        if len(value) > _LARGEST_VALUE:
            raise Forbidden(f"it called kv_set with more than {_LARGEST_VALUE} bytes")
        try:
            decoded = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise Forbidden(f"it called kv_set with a value that is no JSON: {error}") from error
        body = {"variables": [{"var_name": name, "var_value": decoded, "var_type": "computed"}]}
        await self._call("POST", f"/api/vars/{self._execution_id}", seconds, orjson.dumps(body))

    def _name(self, key: str) -> str:
        if _KEY.fullmatch(key) is None:
            raise Forbidden(
                f"it named '{key[:_SHOWN]}' as a key: 1 to 128 letters, digits, '_', '.', '-'"
            )
        return f"{self._prefix}{key}"

    async def _call(
        self, method: str, path: str, seconds: float, body: bytes | None = None
    ) -> tuple[int, bytes]:
        try:
            status, data = await self._edge.call(
                method,
                path,
                body,
                base=self._server_url or None,
                most=2 * _LARGEST_VALUE,
                seconds=min(max(seconds, 0.001), _EDGE_SECONDS),
            )
        except (EdgeUnreachable, AnswerTooLarge) as error:
            raise Forbidden(f"its values can't be reached: {error}") from error
        if status >= 300 and status != _MISSING:
            raise Forbidden(f"its values can't be reached: HTTP {status}")
        return status, data


def _host_of(url: str) -> str:
    try:
        return httpx.URL(url).host[:_SHOWN] or url[:_SHOWN]
    except httpx.InvalidURL:
        return url[:_SHOWN]


def _object(data: bytes, name: str) -> JsonObject:
    try:
        found: Json = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Forbidden(f"it called {name} with no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Forbidden(f"it called {name} with something else than an object")
    return found
