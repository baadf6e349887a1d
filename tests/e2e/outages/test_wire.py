"""A wire breaks as its kind says, and passes everything before and after."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from noetl_testkit.waiting import eventually, unless_it_hangs
from wire import Break, Wire


@asynccontextmanager
async def echo() -> AsyncIterator[Wire]:
    """A wire to a server that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(100):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, Wire(server.sockets[0].getsockname()[1]) as wire:
        yield wire
        # The test's own ends of connections, which it leaves as they are.
        server.close_clients()
        for end in ENDS:
            end.transport.abort()
        ENDS.clear()


ENDS: list[asyncio.StreamWriter] = []
type Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def said(ends: Ends, text: bytes) -> bytes:
    """Say something and return as many bytes of the answer; fewer at the end."""
    reader, writer = ends
    writer.write(text)
    async with unless_it_hangs():
        try:
            return await reader.readexactly(len(text))
        except asyncio.IncompleteReadError as error:
            return error.partial
        except OSError:
            return b""


async def opened(wire: Wire) -> Ends:
    """Open a connection that works."""
    ends = await asyncio.open_connection("127.0.0.1", wire.port)
    ENDS.append(ends[1])
    assert await said(ends, b"hello") == b"hello"
    return ends


@pytest.mark.parametrize("kind", [Break.HOLE, Break.ONE_WAY, Break.DELAY])
async def test_what_a_wire_keeps_back_passes_when_it_is_mended(kind: Break) -> None:
    async with echo() as wire:
        ends = await opened(wire)
        breaking = asyncio.create_task(wire.break_for(kind, 3600))
        await eventually(lambda: wire.broken is kind)
        answer = asyncio.create_task(said(ends, b"there"))
        _, late = await asyncio.wait([answer], timeout=wire.delay_seconds / 3)
        breaking.cancel()

        assert late
        assert await answer == b"there"


@pytest.mark.parametrize(("kind", "rest"), [(Break.CUT, b"the"), (Break.RESET, b"")])
async def test_a_connection_that_is_cut_ends_and_new_ones_pass(kind: Break, rest: bytes) -> None:
    async with echo() as wire:
        ends = await opened(wire)
        breaking = asyncio.create_task(wire.break_for(kind, 3600))
        await eventually(lambda: wire.broken is kind)

        assert await said(ends, b"the same") in {rest, b"", b"th"}
        await opened(wire)
        breaking.cancel()


async def test_a_wire_that_refuses_takes_connections_again_on_the_same_port() -> None:
    async with echo() as wire:
        ends, port = await opened(wire), wire.port
        breaking = asyncio.create_task(wire.break_for(Break.REFUSE, 3600))
        await eventually(lambda: wire.broken is Break.REFUSE)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        breaking.cancel()
        await eventually(lambda: wire.broken is None)
        with pytest.raises(asyncio.CancelledError):
            await breaking

        assert await said(ends, b"x") == b""
        await opened(wire)
        assert wire.port == port


async def test_half_open_connections_stay_so_and_new_ones_pass() -> None:
    async with echo() as wire:
        dead = await opened(wire)
        await wire.break_for(Break.HALF_OPEN, 0)

        answer = asyncio.create_task(said(dead, b"there"))
        await opened(wire)
        assert not answer.done()
        answer.cancel()
