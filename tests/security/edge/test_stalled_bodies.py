"""Bodies that stop, drip, or are many at once."""

import contextlib

import httpx
import pytest
from attacker import connect, edge_memory, list_executions, rest, status_of, until_answered, watched
from noetl_testkit.stack import Stack

MEBIBYTE = 1 << 20
UPLOAD = b"/api/result/325077236512452608"


def head(path: bytes, size: int) -> bytes:
    return (
        b"PUT %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % (path, size)
    )


@pytest.mark.parametrize("sent", [b"", b'{"name": "half", "da'], ids=["nothing", "half"])
def test_half_a_body_is_not_waited_for(edge_stack: Stack, sent: bytes) -> None:
    with connect(edge_stack) as client:
        client.sendall(head(UPLOAD, 5000) + sent)
        answer = rest(client)

    assert status_of(answer) == 408
    assert b"No byte of the body came for 3 s" in answer


@pytest.mark.slow
def test_a_body_in_drops_is_not_waited_for(edge_stack: Stack) -> None:
    with connect(edge_stack) as client:
        client.sendall(head(UPLOAD, 5000))
        answer = until_answered(client)

    assert status_of(answer) == 408
    # The second, where this client was kept from sending for so long.
    texts = (b"The body was not complete after 10 s", b"No byte of the body came for 3 s")
    assert any(text in answer for text in texts)


def test_a_body_behind_its_refusal_is_not_read_for_ever(edge_stack: Stack) -> None:
    with connect(edge_stack) as client:
        client.sendall(head(b"/api/nowhere", 5_000_000))
        first = client.recv(65536)
        # Until the edge hangs up.
        while until_answered(client):
            continue

    assert status_of(first) in {404, 405}


def test_stalled_uploads_hold_a_bounded_part_of_memory(edge_stack: Stack) -> None:
    """Fifteen bodies of 60 MB, all but the last bytes sent, against a budget of 64 MiB."""
    before = edge_memory(edge_stack)
    with contextlib.ExitStack() as held, watched(edge_stack, start_nothing) as witness:
        clients = [held.enter_context(connect(edge_stack)) for _ in range(15)]
        for client in clients:
            client.sendall(head(UPLOAD, 60 * MEBIBYTE))
        most = before
        for _ in range(56):
            for client in clients:
                with contextlib.suppress(OSError):
                    client.sendall(b"1" * MEBIBYTE)
            most = max(most, edge_memory(edge_stack))
        statuses = [status_of(rest(client)) for client in clients]

    assert most - before < 400 * MEBIBYTE
    assert statuses.count(503) >= 10
    assert set(statuses) <= {0, 408, 503}
    assert witness.was_served()


def test_a_large_upload_comes_through_after_the_attack(edge_stack: Stack) -> None:
    body = b'{"name": "large", "data": "%b"}' % (b"1" * 8 * MEBIBYTE)
    with edge_stack.client() as client:
        answer = client.put(
            UPLOAD.decode(), content=body, headers={"content-type": "application/json"}
        )

    assert answer.status_code < 400, answer.text


def start_nothing(client: httpx.Client) -> httpx.Response:
    """Validate a small document: a body as ordinary work has it."""
    answer = client.post("/api/catalog/playbooks/validate", json={"content": "kind: Playbook"})
    assert answer.status_code < 500, answer.text
    return list_executions(client)
