"""Clients that ask and don't read."""

import select

from attacker import connect, list_executions, watched
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import wait_until

GET = b"GET /schema/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_answers_that_nobody_reads_are_dropped(edge_stack: Stack) -> None:
    with watched(edge_stack, list_executions) as witness, connect(edge_stack, room=4096) as client:
        client.sendall(GET * 16)

        def is_dropped() -> bool:
            poll = select.poll()
            poll.register(client, select.POLLERR | select.POLLHUP)
            return bool(poll.poll(0))

        wait_until(is_dropped, what="the edge drops the connection")

    assert witness.was_served()
