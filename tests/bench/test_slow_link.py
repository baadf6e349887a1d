"""The slow link hands on everything, in order, and late."""

import asyncio
import time

from noetl.stack.process import free_port
from noetl_testkit.waiting import unless_it_hangs

from benchmarks.probes.slow_link import serve


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def test_what_is_sent_comes_back_in_order_after_the_round_trip():
    port = free_port()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    target = server.sockets[0].getsockname()[1]
    link = asyncio.create_task(serve(port, target, 0.02))
    async with unless_it_hangs():
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                await asyncio.sleep(0)
        began = time.monotonic()
        sent = b"".join(number.to_bytes(4) for number in range(50_000))
        for start in range(0, len(sent), 7000):
            writer.write(sent[start : start + 7000])
        assert await reader.readexactly(len(sent)) == sent
        assert time.monotonic() - began >= 0.02

        writer.close()
        await writer.wait_closed()
    link.cancel()
    await asyncio.gather(link, return_exceptions=True)
    server.close()
