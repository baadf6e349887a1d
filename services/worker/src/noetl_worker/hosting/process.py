"""A process that a fork server has started, seen from the worker."""

import asyncio
import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

from noetl_worker.hosting.host.wire import HEAD, STATUS

if TYPE_CHECKING:
    from collections.abc import Callable


class HostedProcess:
    """A process that is no child of ours, known by its descriptor: a pid may be reused soon.

    Args:
        pid: its number.
        handle: its descriptor.
        told: descriptor over which its end is reported; None: it isn't.

    Attributes:
        on_end: called when it has ended.
        exit_code: how it has ended, negative for a signal; None as long as it is there, and if
            the end wasn't reported.
    """

    def __init__(self, pid: int, handle: int, *, told: int | None = None) -> None:
        self.pid = pid
        self.on_end: Callable[[], object] = lambda: None
        self.exit_code: int | None = None
        self._handle = handle
        self._told = told
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(handle if told is None else told, self._on_end)

    @property
    def has_ended(self) -> bool:
        """Whether it is gone."""
        return self._ended.is_set()

    def send_signal(self, number: int) -> None:
        """Send a signal, if it is there."""
        if not self.has_ended:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """End it now."""
        self.send_signal(signal.SIGKILL)

    async def wait(self, *, seconds: float) -> bool:
        """Wait for its end; False if that takes too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        return self.has_ended

    def _on_end(self) -> None:
        self._loop.remove_reader(self._handle if self._told is None else self._told)
        if self._told is not None:
            status = os.read(self._told, STATUS.size)
            os.close(self._told)
            if len(status) == STATUS.size:
                self.exit_code = os.waitstatus_to_exitcode(STATUS.unpack(status)[0])
        os.close(self._handle)
        self._ended.set()
        self.on_end()


async def is_readable(descriptor: int, *, seconds: float) -> bool:
    """Wait for a descriptor without holding up the loop; False if that takes too long."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(descriptor, readable.set)
    try:
        async with asyncio.timeout(seconds):
            await readable.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
    return True


class LastWords:
    """The end of a process's output to a pipe; read as it comes, so that the process never waits.

    Args:
        descriptor: our end of the pipe.
        most: bytes that are kept.
    """

    def __init__(self, descriptor: int, *, most: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._most = most
        self._said = b""
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(descriptor, self._read)

    def said(self) -> bytes:
        """Return the last output."""
        while self._read():
            pass
        return self._said

    def close(self) -> None:
        """Close our end."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _read(self) -> bool:
        try:
            part = os.read(self._descriptor, self._most)
        except BlockingIOError:
            return False
        if not part:
            self._loop.remove_reader(self._descriptor)  # it is always readable now
        self._said = (self._said + part)[-self._most :]
        return bool(part)


class ChannelEnded(Exception):
    """The process has ended, or closed its end."""


class Channel:
    """Frames that are sent to a process, each with an answer.

    Args:
        ours: a socket that is connected with the process's.
    """

    def __init__(self, ours: socket.socket) -> None:
        ours.setblocking(False)
        self._socket = ours
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, word: bool, data: bytes, *, most: int) -> tuple[bool, bytes]:  # noqa: FBT001  of the frame
        """Send a frame; return word and bytes of the answer.

        Raises:
            ChannelEnded: there is none.
            ValueError: it has more than `most` bytes.
        """
        try:
            if self._streams is None:
                self._streams = await asyncio.open_unix_connection(sock=self._socket)
            reader, writer = self._streams
            writer.writelines((HEAD.pack(word, len(data)), data))
            await writer.drain()
            word, size = HEAD.unpack(await reader.readexactly(HEAD.size))
            if size > most:
                raise ValueError(f"an answer of {size} bytes")
            return word, await reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise ChannelEnded from error

    def close(self) -> None:
        """Close our end."""
        if self._streams is None:
            self._socket.close()
        else:
            self._streams[1].close()
