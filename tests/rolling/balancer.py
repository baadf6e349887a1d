"""Stand-in for a Service of Kubernetes: connections go to ready replicas, one after the other."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Self

import httpx

PROBE_SECONDS = 1.0
_CHUNK = 1 << 16


class Balancer:
    """A TCP proxy in a thread of its own.

    A connection goes to one replica and stays there. A replica that refuses it refuses the client:
    nothing is tried again.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._upstreams: Sequence[int] = ()
        self._ready: list[int] = []
        self._turn = count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._opened = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._opened.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def watch(self, ports: Sequence[int]) -> None:
        """Ask these replicas for their readiness from now on."""
        self._upstreams = tuple(ports)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(
            asyncio.start_server(self._connection, "127.0.0.1", self.port, backlog=1024)
        )
        probing = self._loop.create_task(self._probe())
        self._opened.set()
        self._loop.run_forever()
        probing.cancel()
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(probing)

    async def _probe(self) -> None:
        async with httpx.AsyncClient(timeout=5) as client:
            while True:
                answers = await asyncio.gather(
                    *(_is_ready(client, port) for port in self._upstreams)
                )
                self._ready = [
                    port for port, ready in zip(self._upstreams, answers, strict=False) if ready
                ]
                await asyncio.sleep(PROBE_SECONDS)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ready = self._ready
        try:
            if not ready:
                return
            port = ready[next(self._turn) % len(ready)]
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.transport.abort()
            return
        finally:
            if not ready:
                writer.transport.abort()
        await asyncio.gather(_pipe(reader, to_writer), _pipe(to_reader, writer))


async def _is_ready(client: httpx.AsyncClient, port: int) -> bool:
    try:
        answer = await client.get(f"http://127.0.0.1:{port}/readyz")
    except httpx.HTTPError:
        return False
    return answer.status_code == 200


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    with suppress(OSError):
        writer.close()
