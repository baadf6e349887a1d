"""Requests that two parsers could read in two ways."""

import pytest
from attacker import ask, status_of
from noetl_testkit.stack import Stack

POST = b"POST /api/execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HIDDEN = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n{}  ",
        b"Content-Length: +4\r\n\r\n{}  ",
        b"Content-Length : 4\r\n\r\n{}  ",
        b"Content-Length: 4\n\n{}  ",
        b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\n",
    ],
    ids=repr,
)
def test_a_request_that_hides_another_is_refused(edge_stack: Stack, fields: bytes) -> None:
    answer = ask(edge_stack, POST + fields + HIDDEN)

    assert status_of(answer) in {400, 0}
    assert b"HTTP/1.1 200" not in answer
