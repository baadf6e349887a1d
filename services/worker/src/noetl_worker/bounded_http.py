"""An HTTP call with a limit on the size of the answer."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Collection
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx
from noetl_common.egress import Egress, EgressRefused

_CODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_MOST_REDIRECTS = 10
_GZIP_MEMBER = b"\x1f\x8b"
_PIECE = 256 << 10


class AnswerTooLarge(Exception):
    """The answer is above the limit."""


def open_tool_client(
    *, seconds: float, trust_env: bool = True, egress: Egress | None = None
) -> httpx.AsyncClient:
    """Return the client of all tools. It keeps no cookies: executions share it.

    With ``egress`` every request, also one that a redirect asks for, and every connection is
    held to its rules. A proxy resolves names itself: there only names and literal addresses count.
    """
    client = httpx.AsyncClient(
        timeout=seconds,
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
        # The codings that `fetch` can unpack.
        headers={"accept-encoding": "gzip, deflate"},
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        trust_env=trust_env,
        event_hooks={} if egress is None else {"request": [_checking(egress)]},
    )
    if egress is not None:
        # There is no public way that leaves the proxies of the environment as they are.
        pool: Any = client._transport._pool  # type: ignore[attr-defined]  # noqa: SLF001
        pool._network_backend = _CheckedBackend(pool._network_backend, egress)  # noqa: SLF001
    return client


def _checking(egress: Egress) -> Callable[[httpx.Request], Awaitable[None]]:
    async def check(request: httpx.Request) -> None:
        try:
            egress.check_host(request.url.host)
        except EgressRefused as error:
            raise httpx.ConnectError(str(error), request=request) from error

    return check


class _CheckedBackend:
    """Opens connections to addresses that were checked (httpcore's network backend)."""

    def __init__(self, inner: Any, egress: Egress) -> None:
        self._inner = inner
        self._egress = egress

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- the interface is httpcore's
        **more: Any,
    ) -> Any:
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._egress.addresses(host, port)
        except OSError as error:
            raise httpx.ConnectError(str(error) or type(error).__name__) from error
        for left, address in enumerate(addresses, start=1 - len(addresses)):
            try:
                return await self._inner.connect_tcp(address, port, timeout=timeout, **more)
            except Exception:
                if not left:
                    raise
        raise httpx.ConnectError(f"{host} has no address")

    async def connect_unix_socket(self, *_args: Any, **_named: Any) -> Any:
        raise httpx.ConnectError("sockets of the file system are not for tools")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


async def fetch(
    client: httpx.AsyncClient,
    request: httpx.Request,
    *,
    most: int,
    private: Collection[str] = (),
    redirects: bool = True,
) -> tuple[httpx.Response, bytes]:
    """Send, follow redirects, read the last answer.

    Not the client's own way: it reads the bodies of redirects whole and unpacks each piece,
    through all codings, into memory before anybody can count it. And of the headers it keeps
    only `Authorization` from another host; ``private`` names those that are as secret. Without
    ``redirects`` the first answer is the last.

    Raises:
        AnswerTooLarge: the body, unpacked, has more than ``most`` bytes.
        httpx.HTTPError: there is no good answer.
    """
    for _ in range(_MOST_REDIRECTS + 1):
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            if response.next_request is None or not redirects:
                return response, await _read(response, most)
            request = response.next_request
            if _origin(request.url) != _origin(response.url):
                for name in private:
                    request.headers.pop(name, None)
        finally:
            await response.aclose()
    raise httpx.TooManyRedirects("Exceeded maximum allowed redirects.", request=request)


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


async def _read(response: httpx.Response, most: int) -> bytes:
    parts: list[bytes] = []
    room = raw_room = most
    unpacker = _Unpacker(response)
    async for raw in response.aiter_raw(_PIECE):
        part = unpacker.unpack(raw, room + 1)
        room -= len(part)
        raw_room -= len(raw)
        if room < 0 or raw_room < 0:
            raise AnswerTooLarge
        parts.append(part)
    return b"".join(parts)


class _Unpacker:
    """Decompress an answer piece by piece, never beyond the given size."""

    def __init__(self, response: httpx.Response) -> None:
        self._request = response.request
        name = response.headers.get("content-encoding", "").strip().lower()
        # Unknown codings stay packed; a chain of codings is a bomb more often than not.
        self._is_packed = name in _CODINGS
        self._window = _CODINGS.get(name, 0)
        self._stream = zlib.decompressobj(self._window)
        self._is_first = True
        self._has_ended = False

    def unpack(self, data: bytes, most: int) -> bytes:
        if not self._is_packed:
            return data
        parts: list[bytes] = []
        try:
            while data and most > 0 and not self._has_ended:
                part = self._some(data, most)
                parts.append(part)
                most -= len(part)
                data = self._after(data)
        except zlib.error as error:
            raise httpx.DecodingError(str(error), request=self._request) from error
        return b"".join(parts)

    def _after(self, data: bytes) -> bytes:
        """Return the bytes left to unpack; gzip may hold several members, the rest is junk."""
        stream = self._stream
        if not stream.eof:
            return stream.unconsumed_tail
        data = stream.unused_data
        if not data.startswith(_GZIP_MEMBER):
            self._has_ended = True
            return b""
        self._stream = zlib.decompressobj(self._window)
        return data

    def _some(self, data: bytes, most: int) -> bytes:
        first, self._is_first = self._is_first, False
        try:
            return self._stream.decompress(data, most)
        except zlib.error:
            if not first or self._window != _CODINGS["deflate"]:
                raise
            # Some servers send deflate without its envelope.
            self._window = -15
            self._stream = zlib.decompressobj(self._window)
            return self._stream.decompress(data, most)
