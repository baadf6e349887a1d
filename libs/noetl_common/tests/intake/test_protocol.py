"""The guarded protocol on a port of its own, with little patience."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from noetl_common.intake.connections import Connections
from noetl_common.intake.limits import IntakeLimits
from noetl_common.intake.protocol import GatheredAnswers
from noetl_common.server import allow_connections, server_config
from noetl_testkit.waiting import eventually
from uvicorn import Server

LIMITS = IntakeLimits(
    head_bytes=2048,
    head_fields=10,
    head_seconds=0.2,
    body_silence_seconds=0.2,
    body_seconds=0.6,
    unread_seconds=0.2,
    connections=6,
    connections_per_address=4,
)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"


class Echo:
    """An app that reads the body and answers with its length, or with much."""

    def __init__(self, answer: bytes | None = None) -> None:
        self.answer = answer
        self.heard: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            self.heard.append(message["type"])
            if message["type"] != "http.request":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        answer = self.answer or b"%d %d" % (len(body), len(scope["headers"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer, "more_body": False})


class _Quiet(Server):
    def install_signal_handlers(self) -> None:
        """Leave signals to the test."""


@asynccontextmanager
async def served(app: Any, limits: IntakeLimits = LIMITS) -> AsyncIterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = server_config(app, limits, host="127.0.0.1", port=0, grace_seconds=1)
        config.lifespan = "off"
        server = _Quiet(config)
        task = asyncio.create_task(server._serve(sockets=[listener]))
        await eventually(lambda: server.started, what="the port is open")
        try:
            yield listener.getsockname()[1]
        finally:
            server.force_exit = server.should_exit = True
            await task


async def ask(port: int, *pieces: bytes) -> bytes:
    """Send pieces one after the other and return all until the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


class Written(asyncio.Transport):
    """Keeps what is written, a piece for each packet."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closed
        self.pieces.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


async def test_a_head_goes_out_with_the_first_piece_of_its_body() -> None:
    transport = Written()
    answers = GatheredAnswers(transport, asyncio.get_running_loop())

    for data in (b"HTTP/1.1 200 OK\r\n\r\n", b"one", b"two", b"HTTP/1.1 204 No\r\n\r\n"):
        answers.write(data)
    assert transport.pieces == [b"HTTP/1.1 200 OK\r\n\r\none", b"two"]

    await asyncio.sleep(0)
    assert transport.pieces[2:] == [b"HTTP/1.1 204 No\r\n\r\n"]
    answers.write(b"HTTP/1.1 400 Bad\r\n\r\n")
    answers.close()
    assert transport.is_closed
    assert transport.pieces[3:] == [b"HTTP/1.1 400 Bad\r\n\r\n"]


async def test_a_head_without_its_body_yet_is_sent() -> None:
    goes_on = asyncio.Event()

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await goes_on.wait()
        await send({"type": "http.response.body", "body": b"late", "more_body": False})

    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET + b"Connection: close\r\n\r\n")
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
            goes_on.set()
            rest = await reader.read()
        writer.close()

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"late" in rest


async def test_a_request_in_pieces_is_served() -> None:
    async with served(Echo()) as port:
        last = b"Connection: close\r\nContent-Length: 3\r\n\r\na"
        answer = await ask(port, b"POST / HT", b"TP/1.1\r\nHost: localhost\r\n", last, b"bc")

    assert answer.endswith(b"3 3\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    ("pieces", "status", "text"),
    [
        ((GET, b"A: " + b"b" * 4000), 431, b"more than 2048 bytes"),
        ((GET + b"A: b\r\n" * 20 + b"\r\n",), 431, b"more than 10 header fields"),
        ((GET,), 408, b"head was not complete after 0.2 s"),
        ((POST, b"a"), 408, b"No byte of the body came for 0.2 s"),
        ((b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",), 400, b"Invalid HTTP request"),
        (((GET + b"\r\n") * 50,), 429, b"More than 32 requests were sent ahead"),
    ],
    ids=["long", "fields", "half head", "half body", "not http", "ahead"],
)
async def test_a_refusal_names_its_limit(
    pieces: tuple[bytes, ...], status: int, text: bytes
) -> None:
    async with served(Echo()) as port:
        answer = await ask(port, *pieces)

    assert b"HTTP/1.1 %d " % status in answer
    assert text in answer
    assert b"connection: close" in answer


async def test_a_slow_body_is_not_read_for_ever() -> None:
    app = Echo()
    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST.replace(b"10", b"1000"))
        reading = asyncio.create_task(reader.read())
        while not reading.done():
            writer.write(b"a")
            await asyncio.wait({reading}, timeout=0.05)
        writer.close()

    assert b"body was not complete after 0.6 s" in await reading
    assert app.heard[-1] == "http.disconnect"


async def test_an_answer_that_nobody_reads_is_dropped() -> None:
    async with served(Echo(b"a" * (64 << 20))) as port:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
            client.send(GET + b"\r\n")

            def is_over() -> bool:
                # Sending shows an end that has not been read up to.
                try:
                    client.send(b"\r\n")
                except OSError:
                    return True
                return False

            await eventually(is_over, what="the connection is dropped", timeout_seconds=10)


async def test_an_answer_that_is_read_slowly_arrives() -> None:
    size = 4 << 20
    async with served(Echo(b"a" * size)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=8192)
        writer.write(GET + b"Connection: close\r\n\r\n")
        received = 0
        while piece := await reader.read(65536):
            received += len(piece)
            await asyncio.sleep(0.01)
        writer.close()

    assert received > size


async def test_connections_are_bounded_by_address_and_in_all() -> None:
    connections = Connections(LIMITS)
    held = [connections.enter(_Nobody(), "10.0.0.1") for _ in range(5)]
    other = [connections.enter(_Nobody(), "10.0.0.2") for _ in range(2)]

    assert held == [None] * 4 + ["connections_per_address"]
    assert other == [None, "connections"]


async def test_a_connection_that_left_makes_room() -> None:
    connections = Connections(LIMITS)
    first = _Nobody()
    for _ in range(2):
        connections.enter(first, "10.0.0.1")
        connections.leave(first, "10.0.0.1")
        connections.leave(first, "10.0.0.1")

    assert connections._by_address == {}


def test_as_many_connections_as_files() -> None:
    assert allow_connections(10) == 10


class _Nobody:
    def check(self, now: float) -> None:
        """Nothing to end."""
