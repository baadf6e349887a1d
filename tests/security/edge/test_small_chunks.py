"""Bodies in chunks of a byte, and bytes sent on after a refusal."""

import contextlib
import threading
from collections.abc import Iterator

import httpx
import pytest
from attacker import ask, connect, list_executions, pump, rest, status_of, watched
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_until

MEBIBYTE = 1 << 20
HEAD = (
    b"POST /api/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n"
)
BYTES = b"1\r\na\r\n" * 10_000
EXTENSIONS = b"1;name=value\r\na\r\n" * 4000
LARGE = b"fa00\r\n%b\r\n" % (b"a" * 64_000)
REQUESTS = b"0\r\n\r\n" + b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000
UPLOAD = "/api/result/325077236512452608"


@contextlib.contextmanager
def flooded(stack: Stack, head: bytes, piece: bytes, *, connections: int) -> Iterator[None]:
    """Send a body without end on so many connections, again and again, while the block runs."""
    over = threading.Event()

    def flood() -> None:
        while not over.is_set():
            with contextlib.suppress(OSError), connect(stack) as client:
                client.sendall(head)
                while not over.is_set():
                    client.sendall(piece)

    threads = [threading.Thread(target=flood) for _ in range(connections)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)


def login(stack: Stack) -> bytes:
    return b"Authorization: Bearer %b\r\n" % stack.admin_key().encode()


@pytest.mark.parametrize("has_login", [False, True], ids=["nobody", "somebody"])
@pytest.mark.parametrize("piece", [BYTES, EXTENSIONS], ids=["bytes", "extensions"])
@pytest.mark.parametrize("connections", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_others_are_served_within_a_flood_of_small_chunks(
    asking_stack: Stack, connections: int, piece: bytes, *, has_login: bool
) -> None:
    head = HEAD + (login(asking_stack) if has_login else b"") + b"\r\n"
    with (
        flooded(asking_stack, head, piece, connections=connections),
        watched(asking_stack, list_executions) as witness,
    ):
        wait_until(lambda: witness.answers >= 100, what="a hundred answers")

    assert witness.was_served()


@pytest.mark.parametrize("piece", [BYTES, EXTENSIONS, LARGE, REQUESTS])
def test_what_is_sent_on_after_a_refusal_is_not_taken(asking_stack: Stack, piece: bytes) -> None:
    with watched(asking_stack, list_executions) as witness, connect(asking_stack) as client:
        client.sendall(HEAD + b"\r\n")
        answer = client.recv(65536)
        sent = pump(client, piece, most=64 * MEBIBYTE)
        answer += rest(client)

    assert status_of(answer) == 401
    assert b"connection: close" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    # What was under way when the edge closed: buffers of both kernels, no more.
    assert sent < 16 * MEBIBYTE
    assert witness.was_served()


def test_small_chunks_with_a_login_are_told_why(asking_stack: Stack) -> None:
    head = HEAD.replace(b"/api/execute", b"/api/catalog/list") + login(asking_stack) + b"\r\n"
    answer = ask(asking_stack, head + b"1\r\n \r\n" * 1001 + b"0\r\n\r\n")

    assert status_of(answer) == 400
    assert b"more than 1000 chunks of less than 256 bytes on average" in answer


def test_a_short_body_by_the_byte_is_served(asking_stack: Stack) -> None:
    """Of a slow client, which sends each by itself."""
    head = HEAD.replace(b"/api/execute", b"/api/catalog/list") + login(asking_stack) + b"\r\n"
    with connect(asking_stack) as client:
        client.sendall(head)
        for byte in b'{"resource_type": "Playbook"}' + b" " * 900:
            client.sendall(b"1\r\n%c\r\n" % byte)
        client.sendall(b"0\r\n\r\n")
        answer = client.recv(65536)

    assert status_of(answer) == 200


@pytest.mark.slow
def test_a_large_result_in_chunks_arrives(asking_stack: Stack) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"name": "large", "data": "'
        for _ in range(60 * MEBIBYTE // (16 << 10)):
            yield b"1" * (16 << 10)
        yield b'"}'

    with asking_stack.client() as client:
        headers = {"content-type": "application/json"}
        answer = client.put(UPLOAD, content=body(), headers=headers)
        read = client.get(f"{UPLOAD}/large", timeout=PATIENCE_SECONDS)

    assert answer.status_code < 400, answer.text
    assert len(read.content) > 60 * MEBIBYTE


def test_a_refused_upload_is_told_so(asking_stack: Stack) -> None:
    """Also where more is under way than the edge takes behind its answer."""
    with httpx.Client(base_url=asking_stack.url, timeout=PATIENCE_SECONDS) as client:
        answers = [client.put(UPLOAD, content=b"1" * size) for size in (100, 800_000)]

    assert [answer.status_code for answer in answers] == [401, 401]
