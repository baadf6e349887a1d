"""Calls to the control plane over HTTP, as the original worker makes them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache

import httpx
from noetl_common.telemetry.carrier import carried_headers
from noetl_common.telemetry.tracing import inside, tracing
from noetl_contract.json import Json, parse

from noetl_worker import jsonb
from noetl_worker.bounded_http import fetch
from noetl_worker.control_plane.kept_calls import CallFailed, KeptCalls, open_calls
from noetl_worker.settings import Settings

_TIMEOUT_SECONDS = 30.0


class EdgeUnreachable(Exception):
    """No answer came; whether the call had its effect is unknown."""


class EdgeAddressRefused(EdgeUnreachable):
    """The address is none to which a call could be made."""


class Edge:
    """HTTP client of the control plane, for all addresses.

    Addresses come with notifications. The worker's own token goes to the configured place only,
    and there only without the capability of a command, which the client sends as HTTP Basic.
    """

    def __init__(
        self, client: httpx.AsyncClient, calls: KeptCalls, *, default_url: str, token: str = ""
    ) -> None:
        self._client = client
        self._calls = calls
        self._default_url = default_url.rstrip("/")
        self._own_place = _place_of(self._default_url)
        self._bearer = {"authorization": f"Bearer {token}"} if token else {}

    async def call(
        self, method: str, path: str, body: bytes, *, base: str | None = None
    ) -> tuple[int, bytes]:
        """Send a JSON body.

        Raises:
            EdgeUnreachable: there was no answer.
        """
        if tracing() is None:
            return await self._call(method, base or self._default_url, path, body)
        with inside(_name_of(method, path), kind="client"):
            return await self._call(method, base or self._default_url, path, body)

    async def _call(self, method: str, place: str, path: str, body: bytes) -> tuple[int, bytes]:
        try:
            return await self._calls.call(method, place, path, body, self._own_headers(place))
        except (CallFailed, httpx.InvalidURL) as error:
            raise EdgeUnreachable(str(error)) from error

    async def read(
        self,
        method: str,
        path: str,
        *,
        base: str,
        most: int,
        seconds: float,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Send, and take an answer of at most so many bytes in so many seconds.

        Raises:
            AnswerTooLarge: the answer has more.
            EdgeUnreachable: there was no answer in time.
        """
        url = f"{(base or self._default_url).rstrip('/')}{path}"
        try:
            wanted = {
                "accept-encoding": "gzip, deflate",
                **self._own_headers(url),
                **(headers or {}),
            }
            request = self._client.build_request(
                method, url, content=body, params=params, headers=wanted, timeout=seconds
            )
            async with asyncio.timeout(seconds):
                response, data = await fetch(self._client, request, most=most)
        except TimeoutError as error:
            raise EdgeUnreachable(f"no answer in {seconds:g} seconds") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as error:
            raise EdgeAddressRefused(f"{type(error).__name__}: {error}") from error
        except httpx.HTTPError as error:
            raise EdgeUnreachable(f"{type(error).__name__}: {error}") from error
        return response.status_code, data

    def _own_headers(self, url: str) -> Mapping[str, str]:
        """Return the context of the command that calls, while tracing is on, and the token.

        The worker's own token is for the place that the worker was configured with.
        """
        own = self._bearer if self._bearer and _place_of(url) == self._own_place else {}
        return own if tracing() is None else {**own, **carried_headers()}

    async def call_json(
        self, method: str, path: str, body: Json, *, base: str | None = None
    ) -> tuple[int, Json]:
        """Like ``call``, with a body to encode; an answer without JSON is None."""
        status, data = await self.call(method, path, jsonb.encode(body), base=base)
        try:
            return status, parse(data)
        except ValueError:
            return status, None


def _name_of(method: str, path: str) -> str:
    """Return the name of the span of a call; paths hold ids."""
    if path.endswith("/claim"):
        return "claim command"
    if path.endswith("/reports") or path == "/api/events":
        return "report"
    return "start child" if path == "/api/execute" else f"{method} edge"


@asynccontextmanager
async def open_edge(settings: Settings) -> AsyncIterator[Edge]:
    """Open the client of all calls to the control plane."""
    headers, trust = {"content-type": "application/json"}, _trust(settings)
    async with (
        httpx.AsyncClient(
            headers=headers,
            timeout=_TIMEOUT_SECONDS,
            verify=trust,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,
        ) as client,
        open_calls(trust) as calls,
    ):
        yield Edge(
            client,
            calls,
            default_url=settings.server_url,
            token=settings.internal_api_token.get_secret_value(),
        )


@lru_cache(maxsize=256)
def _place_of(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of an address.

    Raises:
        httpx.InvalidURL: it is none.
    """
    address = httpx.URL(url)
    return address.scheme, address.host, address.port


def _trust(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.tls_ca:
        context.load_verify_locations(settings.tls_ca)
    if settings.tls_client_cert:
        context.load_cert_chain(settings.tls_client_cert, settings.tls_client_key)
    return context
