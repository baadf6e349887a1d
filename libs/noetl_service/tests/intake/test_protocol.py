"""The guarded protocol on a port of its own, with short timeouts where these are tested."""

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import uvloop
from noetl_service.intake.limits import Connections, IntakeLimits
from noetl_service.intake.protocol import GatheredAnswers, GuardedProtocol
from noetl_service.server import allow_connections, server_config
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, unless_it_hangs
from uvicorn import Server

LIMITS = IntakeLimits(
    head_bytes=2048,
    head_fields=10,
    head_seconds=PATIENCE_SECONDS,
    body_silence_seconds=PATIENCE_SECONDS,
    body_seconds=PATIENCE_SECONDS,
    unread_seconds=PATIENCE_SECONDS,
    rest_seconds=PATIENCE_SECONDS,
    connections=6,
    connections_per_address=4,
)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"


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


class Refusing:
    """An app that answers without looking at the body."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        self.count += 1
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"who?", "more_body": False})


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
        async with unless_it_hangs():
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


class Written(asyncio.Transport):
    """Keeps the written bytes, a piece for each packet."""

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
    answers = GatheredAnswers(
        transport, asyncio.get_running_loop(), is_last=lambda: False, close=transport.close
    )

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
        async with unless_it_hangs():
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
    ("limits", "pieces", "status", "text"),
    [
        ({}, (GET, b"A: " + b"b" * 4000), 431, b"more than 2048 bytes"),
        ({}, (GET + b"A: b\r\n" * 20 + b"\r\n",), 431, b"more than 10 header fields"),
        ({"head_seconds": 0.2}, (GET,), 408, b"head was not complete after 0.2 s"),
        (
            {"body_silence_seconds": 0.2},
            (POST, b"a"),
            408,
            b"No byte of the body came for 0.2 s",
        ),
        ({}, (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",), 400, b"Invalid HTTP request"),
        ({}, ((GET + b"\r\n") * 50,), 429, b"More than 32 requests were sent ahead"),
    ],
    ids=["long", "fields", "half head", "half body", "not http", "ahead"],
)
async def test_a_refusal_names_its_limit(
    limits: dict[str, float], pieces: tuple[bytes, ...], status: int, text: bytes
) -> None:
    async with served(Echo(), replace(LIMITS, **limits)) as port:
        answer = await ask(port, *pieces)

    assert b"HTTP/1.1 %d " % status in answer
    assert text in answer
    assert b"connection: close" in answer


@pytest.mark.parametrize(
    ("chunk", "count"),
    [(b"1\r\na\r\n", 1001), (b"1;x=y\r\na\r\n", 5000), (b"ff\r\n%b\r\n" % (b"a" * 255), 1001)],
    ids=["bytes", "extensions", "just too small"],
)
@pytest.mark.parametrize("at_once", [1, 10, 5000])
async def test_a_body_in_small_chunks_is_refused(chunk: bytes, count: int, at_once: int) -> None:
    app = Echo()
    pieces = [chunk * at_once] * (count // at_once) + [chunk * (count % at_once) + LAST]
    async with served(app, replace(LIMITS, body_seconds=60, body_silence_seconds=60)) as port:
        answer = await ask(port, CHUNKED, *pieces)

    assert b"HTTP/1.1 400 " in answer
    assert b"more than 1000 chunks of less than 256 bytes on average" in answer
    assert app.heard[-1] == "http.disconnect"


@pytest.mark.parametrize(
    ("chunk", "count"), [(b"1\r\na\r\n", 1000), (b"100\r\n%b\r\n" % (b"a" * 256), 3000)]
)
async def test_a_body_in_few_or_larger_chunks_is_taken(chunk: bytes, count: int) -> None:
    size = int(chunk.partition(b"\r")[0], 16) * count
    head = CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    async with served(Echo(), replace(LIMITS, body_seconds=60, body_silence_seconds=60)) as port:
        answer = await ask(port, head, *[chunk] * count, LAST)

    assert b"HTTP/1.1 200 " in answer
    assert b"%d 3" % size in answer


@pytest.mark.parametrize(
    "piece",
    [b"1\r\na\r\n" * 10_000, b"fa00\r\n%b\r\n" % (b"a" * 64_000), LAST + (GET + b"\r\n") * 2000],
    ids=["small chunks", "large chunks", "requests"],
)
async def test_nothing_behind_an_early_answer_is_looked_at(
    piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing, most, taken, parsed = Refusing(), 32 << 20, 0, 0
    receive, on_body = GuardedProtocol.data_received, GuardedProtocol.on_body

    def counted(self: GuardedProtocol, data: bytes) -> None:
        nonlocal taken
        taken += len(data)
        receive(self, data)

    def noted(self: GuardedProtocol, body: bytes) -> None:
        nonlocal parsed
        parsed += 1
        on_body(self, body)

    monkeypatch.setattr(GuardedProtocol, "data_received", counted)
    monkeypatch.setattr(GuardedProtocol, "on_body", noted)
    async with served(refusing) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(CHUNKED)
        answer = await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(most // len(piece)):
                writer.write(piece)
                await writer.drain()
        await eventually(writer.transport.is_closing, what="the connection is closed")
        writer.close()

    assert b"HTTP/1.1 401 " in answer
    assert b"connection: close" in answer
    assert taken < LIMITS.rest_bytes + (512 << 10)
    assert (parsed, refusing.count) == (0, 1)


async def test_an_early_answer_reaches_who_sends_the_rest_first() -> None:
    rest = b"a" * (900 << 10)
    async with served(Refusing()) as port:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(rest)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        first = await reader.readexactly(8)
        writer.write(rest)
        await writer.drain()
        async with unless_it_hangs():
            answer = first + await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.endswith(b"0\r\n\r\n")


async def test_a_client_that_only_waits_behind_an_early_answer_is_left() -> None:
    async with served(Refusing(), replace(LIMITS, rest_seconds=0.2)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST + b"a")
        async with unless_it_hangs():
            answer = await reader.read()

        def is_over() -> bool:
            writer.write(b"a")
            return writer.transport.is_closing()

        await eventually(is_over, what="the connection is closed")

    assert answer.count(b"HTTP/1.1 ") == 1


def test_one_connection_is_read_once_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the loop of the services, which reads on while its buffer is filled."""
    turn, reads = 0, Counter[tuple[int, int]]()
    receive = GuardedProtocol.data_received

    def counted(self: GuardedProtocol, data: bytes) -> None:
        reads[id(self), turn] += 1
        if len(data) >= 64 << 10:
            # Time for the client to fill what the kernel keeps.
            never.wait(0.02)
        receive(self, data)

    def count() -> None:
        nonlocal turn
        turn += 1
        asyncio.get_running_loop().call_soon(count)

    def send(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(CHUNKED + chunk * 4000 + LAST)
            client.settimeout(60)
            answers.append(client.recv(65536))

    async def scene() -> None:
        count()
        limits = replace(LIMITS, body_seconds=60, body_silence_seconds=60)
        async with served(Echo(), limits) as port:
            await asyncio.gather(*(asyncio.to_thread(send, port) for _ in range(2)))

    # So little body that the kept part of it does not stop the reading.
    chunk = b"100;x=%b\r\n%b\r\n" % (b"y" * 3900, b"a" * 256)
    never, answers = threading.Event(), list[bytes]()
    monkeypatch.setattr(GuardedProtocol, "data_received", counted)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())

    assert [answer.count(b"HTTP/1.1 200 ") for answer in answers] == [1, 1]
    assert max(reads.values()) == 1


async def test_nothing_is_written_behind_a_refusal_that_overtakes_an_answer() -> None:
    """A broken request follows a request that is still being served."""
    problems = list[Any]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, one: problems.append(one))
    gate = asyncio.Event()

    async def slow(_scope: Any, _receive: Any, send: Any) -> None:
        await gate.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"late", "more_body": False})

    async with served(slow) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET + b"\r\n" + CHUNKED + b"zz\r\n")
        await writer.drain()
        async with unless_it_hangs():
            await reader.read()
        gate.set()
        await asyncio.sleep(0)
        writer.close()

    assert problems == []


async def test_a_slow_body_is_not_read_for_ever() -> None:
    app = Echo()
    async with served(app, replace(LIMITS, body_seconds=0.6)) as port:
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
    limits = replace(LIMITS, unread_seconds=0.2)
    async with served(Echo(b"a" * (64 << 20)), limits) as port:
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

            await eventually(is_over, what="the connection is dropped")


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
