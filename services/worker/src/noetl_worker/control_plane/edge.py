"""Calls to the control plane over HTTP, as the original worker makes them."""

import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import lru_cache
from typing import NamedTuple

import aiohttp
from noetl_common.telemetry.carrier import carried_headers
from noetl_common.telemetry.tracing import inside
from noetl_contract.json import Json, parse
from yarl import URL

from noetl_worker import jsonb
from noetl_worker.bounded_http import AnswerTooLarge
from noetl_worker.settings import Settings

_SECONDS = 30.0
# The edge keeps connections for longer.
_KEPT_SECONDS = 15.0
_HEADERS = {"content-type": "application/json"}


class EdgeUnreachable(Exception):
    """No answer came; whether the call had its effect is unknown."""


class EdgeAddressRefused(EdgeUnreachable):
    """The address is none to which a call could be made."""


class Edge:
    """HTTP client of the control plane, for all addresses.

    Addresses come with notifications. The worker's own token goes to the configured place only,
    and there only without the capability of a command, which an address holds as user and password
    and which goes out as HTTP Basic. The client of tools isn't used here: following redirects and
    holding strangers to rules cost several times as much for each call.
    """

    def __init__(
        self, session: aiohttp.ClientSession, *, default_url: str, token: str = ""
    ) -> None:
        self._session = session
        self._default_url = default_url
        self._own_origin = _place(default_url).origin
        self._bearer = {"authorization": f"Bearer {token}"} if token else {}

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        base: str | None = None,
        most: int | None = None,
        seconds: float = _SECONDS,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:
        """Return status and body of the answer to a JSON body.

        Args:
            method: of HTTP.
            path: below the address, percent-encoded where it has to be.
            body: what is sent.
            base: the address; the configured one without it.
            most: bytes that the answer may have; None: any number.
            seconds: the answer has to be whole by then.
            params: the query.
            headers: beside the token, and the trace context while tracing is on.

        Raises:
            AnswerTooLarge: the answer has more bytes than that.
            EdgeAddressRefused: the address is none of HTTP.
            EdgeUnreachable: there was no whole answer in time.
        """
        try:
            place = _place(base or self._default_url)
            url = URL(f"{place.text}{path}", encoded=True)
            if params:
                url = url.update_query(params)
        except ValueError as error:
            raise EdgeAddressRefused(f"{type(error).__name__}: {error}") from error
        with inside(_name_of(method, path), kind="client"):
            sent = {**self._login(place), **carried_headers(), **(headers or {})}
            return await _answer(self._request(method, url, body, sent, seconds), most, seconds)

    def _login(self, place: "_Place") -> Mapping[str, str]:
        if place.login:
            return {"authorization": place.login}
        return self._bearer if place.origin == self._own_origin else {}

    def _request(
        self, method: str, url: URL, body: bytes | None, headers: Mapping[str, str], seconds: float
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._session.request(
            method,
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=seconds),
        )

    async def call_json(
        self, method: str, path: str, body: Json, *, base: str | None = None
    ) -> tuple[int, Json]:
        """Like ``call``, with a body to encode; an answer without JSON is None."""
        status, data = await self.call(method, path, jsonb.encode(body), base=base)
        try:
            return status, parse(data)
        except ValueError:
            return status, None


async def _answer(
    request: AbstractAsyncContextManager[aiohttp.ClientResponse], most: int | None, seconds: float
) -> tuple[int, bytes]:
    try:
        async with request as response:
            data = await (response.read() if most is None else _read(response, most))
            return response.status, data
    except TimeoutError as error:
        raise EdgeUnreachable(f"no answer in {seconds:g} seconds") from error
    except (aiohttp.ClientError, ValueError) as error:
        raise EdgeUnreachable(f"{type(error).__name__}: {error}") from error


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Read an answer of at most so many bytes, unpacked.

    Raises:
        AnswerTooLarge: it has more.
    """
    data = bytearray()
    async for part in response.content.iter_any():
        data += part
        if len(data) > most:
            raise AnswerTooLarge
    return bytes(data)


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
    connector = aiohttp.TCPConnector(ssl=_trust(settings), limit=0, keepalive_timeout=_KEPT_SECONDS)
    async with aiohttp.ClientSession(
        connector=connector, headers=_HEADERS, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield Edge(
            session,
            default_url=settings.server_url,
            token=settings.internal_api_token.get_secret_value(),
        )


class _Place(NamedTuple):
    """An address without its login, its origin, and the login as a header's value."""

    text: str
    origin: URL
    login: str


@lru_cache(maxsize=256)
def _place(base: str) -> _Place:
    """Read an address.

    Raises:
        ValueError: it is none of HTTP.
    """
    url = URL(base.rstrip("/"))
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("no address of HTTP")
    login = ""
    if url.user is not None or url.password is not None:
        pair = f"{url.user or ''}:{url.password or ''}".encode()
        login = f"Basic {b64encode(pair).decode()}"
    return _Place(str(url.with_user(None)).rstrip("/"), url.origin(), login)


def _trust(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.tls_ca:
        context.load_verify_locations(settings.tls_ca)
    if settings.tls_client_cert:
        context.load_cert_chain(settings.tls_client_cert, settings.tls_client_key)
    return context
