"""Heads that never end, grow without bound, or hide behind a body."""

import contextlib
import socket

import pytest
from attacker import ask, connect, list_executions, pump, rest, status_of, until_answered, watched
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import wait_until

MEBIBYTE = 1 << 20
GET = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = (
    b"POST /api/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
# Other tests of this client may have used up its rate of starts; lists have none.
CHUNKED_LIST = CHUNKED.replace(b"/api/execute", b"/api/catalog/list")


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(GET + b"X-Endless: ", id="value"),
        pytest.param(GET, id="name"),
        pytest.param(b"GET /", id="address"),
        pytest.param(CHUNKED_LIST + b"2;x=", id="chunk extension"),
        pytest.param(CHUNKED_LIST + b"2\r\n{}\r\n0\r\nX-Endless: ", id="trailer"),
    ],
)
def test_a_head_without_end_is_cut(edge_stack: Stack, begin: bytes) -> None:
    with watched(edge_stack, list_executions) as witness, connect(edge_stack) as client:
        client.sendall(begin)
        sent = pump(client, b"a" * 65536, most=64 * MEBIBYTE)
        answer = rest(client)

    # What was under way when the edge closed: buffers of both kernels, no more.
    assert sent < 16 * MEBIBYTE
    assert status_of(answer) in {0, 400, 413, 431, 422}
    assert witness.was_served()


def test_a_head_of_a_hundred_kilobytes_is_told_why(edge_stack: Stack) -> None:
    answer = ask(edge_stack, GET + b"X-Long: " + b"a" * 100_000 + b"\r\n\r\n")

    assert status_of(answer) == 431
    assert b"The request's head has more than 65536 bytes" in answer


def test_thousands_of_fields_are_refused(edge_stack: Stack) -> None:
    few = ask(edge_stack, GET + b"X: 1\r\n" * 150 + b"Connection: close\r\n\r\n")
    many = ask(edge_stack, GET + b"X: 1\r\n" * 500 + b"\r\n")
    most = ask(edge_stack, GET + b"X: 1\r\n" * 20_000 + b"\r\n")

    assert [status_of(answer) for answer in (few, many)] == [200, 431]
    assert b"more than 200 header fields" in many
    assert status_of(most) in {0, 431}


@pytest.mark.parametrize("begin", [b"", b"G", GET, GET + b"X-Half: "], ids=repr)
def test_half_a_head_is_not_waited_for(edge_stack: Stack, begin: bytes) -> None:
    with connect(edge_stack) as client:
        client.sendall(begin)
        answer = rest(client)

    assert status_of(answer) == (408 if begin else 0)


def test_a_head_in_drops_is_not_waited_for(edge_stack: Stack) -> None:
    with connect(edge_stack) as client:
        client.sendall(GET + b"X-Drops: ")
        answer = until_answered(client)

    assert status_of(answer) == 408


def test_half_a_head_behind_a_request_is_not_waited_for(edge_stack: Stack) -> None:
    with connect(edge_stack) as client:
        client.sendall(GET + b"\r\n")
        first = client.recv(65536)
        client.sendall(GET)
        second = rest(client)

    assert status_of(first) == 200
    assert b"HTTP/1.1 408 " in second


def test_requests_ahead_of_their_answers_are_few(edge_stack: Stack) -> None:
    with watched(edge_stack, list_executions) as witness:
        answer = ask(edge_stack, (GET + b"\r\n") * 5000)

    assert answer.count(b"HTTP/1.1 200") < 100
    assert witness.was_served()


def test_fields_behind_a_body_decide_nothing(edge_stack: Stack) -> None:
    answer = ask(
        edge_stack,
        CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        + b'12\r\n{"path":"nowhere"}\r\n0\r\nX-Session-Token: t\r\nOrigin: http://a\r\n\r\n',
    )

    assert status_of(answer) == 404


def test_silent_connections_of_one_address_are_bounded(edge_stack: Stack) -> None:
    with contextlib.ExitStack() as held, watched(edge_stack, list_executions) as witness:
        clients = [held.enter_context(connect(edge_stack)) for _ in range(400)]
        # While all are held: the edge may be slower to take them than we are to let them go.
        wait_until(lambda: any(map(_is_refused, clients)), what="some are refused")

    assert witness.answers


def _is_refused(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return b"Too many connections" in client.recv(4096)
    except BlockingIOError:
        return False
