"""The processes of DuckDB, as the worker sees them."""

import asyncio
import contextlib
import shutil
import signal
import socket
from collections.abc import Callable
from typing import Any

from noetl_contract.json import JsonObject

from noetl_worker.hosting.process import Channel, ChannelEnded, HostedProcess
from noetl_worker.tools.errors import Failure, ToolError
from noetl_worker.tools.sql.duckdb.host.wire import (
    CONTROL,
    OPEN,
    SPARE_BYTES,
    STOP,
    decoded,
    encoded,
    raised,
)

_STOP_SECONDS = 2.0
_STOP_PAUSE_SECONDS = 0.05
_END_SECONDS = 5.0
_IN_THREAD_BYTES = 1 << 20


class DuckProcess:
    """A process that serves queries.

    Args:
        process: it.
        control: where sessions are asked for and stopped.
        directory: its own.
        most_bytes: of one answer.
        on_end: called when it has ended.
    """

    def __init__(
        self,
        process: HostedProcess,
        control: socket.socket,
        *,
        directory: str,
        most_bytes: int,
        on_end: Callable[["DuckProcess"], None],
    ) -> None:
        self._process = process
        self._control = control
        self.directory = directory
        self._most_bytes = most_bytes
        self._notify_end = on_end
        self._number = 0
        self._cleaning: asyncio.Future[None] | None = None
        self.users = 0
        """Sessions that are open."""
        self.idle_since = 0.0
        self.is_leaving = False
        """Takes no more sessions."""
        process.on_end = self._on_end

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self._process.has_ended

    async def open_session(self) -> "DuckSession":
        """Open a session.

        Raises:
            ToolError: the process has ended.
        """
        self._number += 1
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(
                    self._control, [CONTROL.pack(OPEN, self._number)], [theirs.fileno()]
                )
            except OSError as error:
                ours.close()
                raise await self.ended_error() from error
        return DuckSession(self, self._number, Channel(ours), most_bytes=self._most_bytes)

    def interrupt(self, number: int) -> None:
        """Stop the statement that a session runs."""
        with contextlib.suppress(OSError):
            self._control.send(CONTROL.pack(STOP, number))

    def kill(self) -> None:
        """End it now, with all its sessions."""
        self.is_leaving = True
        self._process.kill()

    def leave(self) -> None:
        """Let it end by itself."""
        self.is_leaving = True
        self._control.close()

    async def wait(self) -> None:
        """Wait until it has ended, in the end by force."""
        while not await self._process.wait(seconds=_END_SECONDS):
            self.kill()
        if self._cleaning is not None:
            await asyncio.shield(self._cleaning)

    async def ended_error(self) -> ToolError:
        """Return the error of a call under which it ended."""
        await self._process.wait(seconds=_END_SECONDS)
        ending = _ending(self._process.exit_code)
        return ToolError(
            "Database error",
            f"Query failed: DuckDB's process ended under it{ending}",
            failure=Failure(kind="db_crash"),
        )

    def _on_end(self) -> None:
        self.leave()
        loop = asyncio.get_running_loop()
        self._cleaning = loop.run_in_executor(None, shutil.rmtree, self.directory, True)
        self._notify_end(self)


class DuckSession:
    """One connection to a database; its statements can be stopped."""

    def __init__(
        self,
        process: DuckProcess,
        number: int,
        channel: Channel,
        *,
        most_bytes: int,
    ) -> None:
        self._process = process
        self._number = number
        self._channel = channel
        self._most_bytes = most_bytes
        self._is_lost = False

    async def ask(self, operation: str, **request: Any) -> Any:
        """Have something done; when cancelled, stop it first.

        Raises:
            ToolError: it can't be done, or the process ended.
        """
        exchange = asyncio.ensure_future(self._exchange({"do": operation, **request}))
        try:
            return await asyncio.shield(exchange)
        except asyncio.CancelledError:
            await self._stop(exchange)
            raise

    async def close(self) -> None:
        """Close the database, as far as it can be done."""
        try:
            if not self._is_lost:
                with contextlib.suppress(ToolError):
                    await self.ask("close")
        finally:
            self._channel.close()

    async def _exchange(self, request: JsonObject) -> Any:
        try:
            is_large, data = await self._channel.ask(
                *encoded(request), most=self._most_bytes + 2 * SPARE_BYTES
            )
            if len(data) > _IN_THREAD_BYTES:
                answer = await asyncio.to_thread(decoded, data, is_large=is_large)
            else:
                answer = decoded(data, is_large=is_large)
        except ValueError as error:
            self._lose()
            raise ToolError("Database error", f"Query failed: {error}") from error
        except ChannelEnded as error:
            self._is_lost = True
            raise await self._process.ended_error() from error
        if "error" in answer:
            raise raised(answer["error"])
        return answer["value"]

    async def _stop(self, exchange: "asyncio.Future[Any]") -> None:
        """Interrupt the statement; kill the process if that doesn't help, or isn't waited for."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _STOP_SECONDS
        try:
            while not exchange.done() and loop.time() < deadline:
                # Stops one statement; the work may just have been between two of them.
                self._process.interrupt(self._number)
                await asyncio.wait([exchange], timeout=_STOP_PAUSE_SECONDS)
        finally:
            if not exchange.done():
                self._lose()
            # Retrieved, so that asyncio does not log it as lost.
            exchange.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    def _lose(self) -> None:
        self._is_lost = True
        self._process.kill()


def _ending(exit_code: int | None) -> str:
    if exit_code is None:
        return ""
    if exit_code >= 0:
        return f" (exit code {exit_code})"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = f"signal {-exit_code}"
    return f" ({name})"
