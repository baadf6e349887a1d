"""An HTTP call with a limit on the size of the answer."""

import zlib
from collections.abc import Collection
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

_CODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_MOST_REDIRECTS = 10
_GZIP_MEMBER = b"\x1f\x8b"
_PIECE = 256 << 10


class AnswerTooLarge(Exception):
    """The answer is above the limit."""


def open_tool_client(*, seconds: float, trust_env: bool = True) -> httpx.AsyncClient:
    """Return the client of all tools. It keeps no cookies: executions share it."""
    return httpx.AsyncClient(
        timeout=seconds,
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
        # The codings that `fetch` can unpack.
        headers={"accept-encoding": "gzip, deflate"},
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
        trust_env=trust_env,
    )


async def fetch(
    client: httpx.AsyncClient,
    request: httpx.Request,
    *,
    most: int,
    private: Collection[str] = (),
) -> tuple[httpx.Response, bytes]:
    """Send, follow redirects, read the last answer.

    Not the client's own way: it reads the bodies of redirects whole and unpacks each piece,
    through all codings, into memory before anybody can count it. And of the headers it keeps
    only `Authorization` from another host; ``private`` names those that are as secret.

    Raises:
        AnswerTooLarge: the body, unpacked, has more than ``most`` bytes.
        httpx.HTTPError: there is no good answer.
    """
    for _ in range(_MOST_REDIRECTS + 1):
        response = await client.send(request, stream=True, follow_redirects=False)
        try:
            if response.next_request is None:
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
        """Return what is left to unpack; gzip may hold several members, the rest is junk."""
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
