"""HTTP/1.1 over kept connections, as little of it as an edge's answers need."""

import asyncio
import base64
from collections import deque
from urllib.parse import unquote, urlsplit


def request(method: str, path: str, body: bytes = b"", *, login: str = "") -> bytes:
    """Return the bytes of a request; ``login`` is user and password, as in an address."""
    shown = ""
    if login:
        basic = base64.b64encode(unquote(login).encode()).decode()
        shown = f"authorization: Basic {basic}\r\n"
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{shown}"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """One connection, with one request on its way."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._got = bytearray()
        self._end = 0
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        got = self._got
        got += data
        if not self._end:
            head = got.find(b"\r\n\r\n")
            if head < 0:
                return
            field = bytes(got[:head]).lower().partition(b"content-length:")[2]
            self._end = head + 4 + int(field.partition(b"\r\n")[0])
        if len(got) >= self._end and self._answer is not None:
            body = bytes(got[got.find(b"\r\n\r\n") + 4 : self._end])
            status, answer = int(got[9:12]), self._answer
            self._got, self._end, self._answer = bytearray(), 0, None
            answer.set_result((status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the connection was lost: {exc}"))

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        """Send a request, and return status and body of the answer."""
        self._answer = asyncio.get_running_loop().create_future()
        assert self._transport is not None
        self._transport.write(data)
        return await self._answer


class Pool:
    """Connections to one server; a new one is made where all are busy."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._free: deque[Connection] = deque()

    async def ask(self, data: bytes) -> tuple[int, bytes]:
        """Send a request over a free connection."""
        if self._free:
            connection = self._free.pop()
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(Connection, self._host, self._port)
        answer = await connection.ask(data)
        self._free.append(connection)
        return answer
