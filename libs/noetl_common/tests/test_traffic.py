"""Bytes that a connection moves, on both loops, and where nobody counts them."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvloop
from noetl_common.traffic import Traffic, is_moving, traffic_of
from noetl_testkit.waiting import eventually


class Counted:
    """A transport whose kernel answers with these bytes, or an error."""

    def __init__(self, answer: bytes | Exception) -> None:
        self._answer = answer

    def get_extra_info(self, _name: str) -> "Counted":
        return self

    def getsockopt(self, *_arguments: int) -> bytes:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_counts_until_it_is_closed(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def look() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readexactly(3))
            await reader.read()
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        try:
            writer.write(b"one")
            await reader.readexactly(3)
            before = traffic_of(writer.transport)
            assert before is not None
            assert before.received == 3
            assert not is_moving(writer.transport, since=before)

            writer.transport.abort()
            await eventually(lambda: writer.transport.get_extra_info("socket").fileno() < 0)
            assert traffic_of(writer.transport) is None
            assert is_moving(writer.transport, since=before)
        finally:
            writer.transport.abort()
            server.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(look())


async def test_one_that_is_not_tcp_counts_nothing() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        _, writer = await asyncio.open_connection(sock=ours)
        assert traffic_of(writer.transport) is None
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "answer", [bytes(136), bytes(104), OSError(), AttributeError("TCP_INFO"), ValueError()]
)
def test_where_the_kernel_does_not_count_nothing_is_known(answer: bytes | Exception) -> None:
    transport = cast("Any", Counted(answer))

    assert traffic_of(transport) is None
    assert is_moving(transport, since=Traffic(1, 1))
