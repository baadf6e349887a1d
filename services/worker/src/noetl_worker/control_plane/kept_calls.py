"""Calls over kept connections, for the requests that a worker sends with every command.

The client of tools costs several times as much for each call: it follows redirects and counts the
bytes of answers of strangers.
"""

import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache

import aiohttp
from yarl import URL

_SECONDS = 30.0
# The edge keeps them for longer.
_KEPT_SECONDS = 15.0
_HEADERS = {"content-type": "application/json"}


class CallFailed(Exception):
    """No answer came; whether the call had its effect is unknown."""


class KeptCalls:
    """Sends JSON bodies and reads answers whole."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def call(
        self, method: str, base: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """Return status and body of the answer.

        User and password of the base go out as HTTP Basic, in place of another login.

        Raises:
            CallFailed: there was no answer.
        """
        try:
            place, login = _place(base)
            request = self._session.request(
                method,
                URL(f"{place}{path}", encoded=True),
                data=body,
                headers=headers if login is None else {**headers, "authorization": login},
                allow_redirects=False,
            )
            async with request as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise CallFailed(f"{type(error).__name__}: {error}") from error


@asynccontextmanager
async def open_calls(trust: ssl.SSLContext | None = None) -> AsyncIterator[KeptCalls]:
    """Open the connections; without ``trust`` the machine's list judges certificates."""
    connector = aiohttp.TCPConnector(ssl=trust or True, limit=0, keepalive_timeout=_KEPT_SECONDS)
    async with aiohttp.ClientSession(
        connector=connector,
        headers=_HEADERS,
        timeout=aiohttp.ClientTimeout(total=_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield KeptCalls(session)


@lru_cache(maxsize=256)
def _place(base: str) -> tuple[str, str | None]:
    """Return an address without its login, and the login as a header's value.

    Raises:
        ValueError: it is no address of HTTP.
    """
    url = URL(base.rstrip("/"))
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("no address of HTTP")
    place = str(url.with_user(None)).rstrip("/")
    if url.user is None and url.password is None:
        return place, None
    login = f"{url.user or ''}:{url.password or ''}".encode()
    return place, f"Basic {b64encode(login).decode()}"
