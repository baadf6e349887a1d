"""Wires, which send calls to a server: blocking, or on an event loop."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, override

import httpx

from noetl_client.calls.call import Call, Id, segment
from noetl_client.connection import Connection
from noetl_client.errors import ClientError, Unreachable
from noetl_client.sse import Cursor
from noetl_client.transport import (
    Answer,
    answer_of,
    bad_address,
    options,
    pause_before_next,
    read,
    refused,
    request_of,
    stream_refusal,
    unreachable,
)


class Wire(ABC):
    """Base class that sends calls and reads streams. A wire has to be closed."""

    blocks: ClassVar[bool]
    """Whether its coroutines block the thread instead of waiting for an event loop."""
    http: httpx.Client | httpx.AsyncClient

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        try:
            self._open()
        except (httpx.InvalidURL, ValueError) as error:
            raise bad_address(connection, error) from error

    async def call[Wanted](self, call: Call[Wanted]) -> Wanted:
        """Make a call, and retry it if that is safe; raises the errors of ``Client.send``."""
        made = 0
        while True:
            made += 1
            try:
                answer = await self.exchange(call)
                trouble: ClientError
                if answer.is_good:
                    return read(call, answer, self.connection.url)
                trouble = refused(answer, self.connection.url)
            except Unreachable as error:
                trouble = error
            await self.pause(pause_before_next(call, trouble, made, self.connection))

    async def exchange(self, call: Call[object]) -> Answer:
        """Make a call without retries, and return its answer, even if it is a refusal.

        Raises:
            Unreachable: no answer arrived.
        """
        try:
            return answer_of(await self._send(request_of(self.http, call)))
        except httpx.RequestError as error:
            raise unreachable(self.connection.url, error) from error

    @asynccontextmanager
    async def lines(self, execution_id: Id, cursor: Cursor) -> AsyncIterator[AsyncIterator[str]]:
        """Open the event stream of an execution and return its lines.

        Raises:
            Unreachable: no answer arrived, or the stream broke.
            Refused: the server refused the call.
            UnexpectedAnswer: the answer is not an event stream.
        """
        wanted = self.connection
        request = self.http.build_request(
            "GET",
            f"/api/executions/{segment(execution_id)}/events/stream",
            params=cursor.query(),
            headers=cursor.headers(),
            timeout=httpx.Timeout(
                wanted.timeout, read=wanted.silence, connect=wanted.connect_timeout
            ),
        )
        try:
            response = await self._send(request, stream=True)
            try:
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    await self._read(response)
                    raise stream_refusal(answer_of(response), wanted.url)
                yield self._lines(response)
            finally:
                await self._leave(response)
        except httpx.RequestError as error:
            raise unreachable(wanted.url, error) from error

    @abstractmethod
    async def pause(self, seconds: float) -> None:
        """Wait for some seconds."""

    @abstractmethod
    async def close(self) -> None:
        """Close the connections."""

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    async def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response: ...

    @abstractmethod
    async def _read(self, response: httpx.Response) -> None: ...

    @abstractmethod
    def _lines(self, response: httpx.Response) -> AsyncIterator[str]: ...

    @abstractmethod
    async def _leave(self, response: httpx.Response) -> None: ...


class BlockingWire(Wire):
    """A wire that blocks the thread; threads may share it."""

    blocks = True
    http: httpx.Client

    @override
    def _open(self) -> None:
        self.http = httpx.Client(**options(self.connection), verify=self.connection.tls())

    @override
    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 -- no event loop runs these coroutines

    @override
    async def close(self) -> None:
        self.http.close()

    @override
    async def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        return self.http.send(request, stream=stream)

    @override
    async def _read(self, response: httpx.Response) -> None:
        response.read()

    @override
    async def _lines(self, response: httpx.Response) -> AsyncGenerator[str]:
        for line in response.iter_lines():
            yield line

    @override
    async def _leave(self, response: httpx.Response) -> None:
        response.close()


class AsyncWire(Wire):
    """A wire of one event loop."""

    blocks = False
    http: httpx.AsyncClient

    @override
    def _open(self) -> None:
        self.http = httpx.AsyncClient(**options(self.connection), verify=self.connection.tls())

    @override
    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @override
    async def close(self) -> None:
        await self.http.aclose()

    @override
    async def _send(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        return await self.http.send(request, stream=stream)

    @override
    async def _read(self, response: httpx.Response) -> None:
        await response.aread()

    @override
    def _lines(self, response: httpx.Response) -> AsyncIterator[str]:
        return response.aiter_lines()

    @override
    async def _leave(self, response: httpx.Response) -> None:
        await response.aclose()
