"""Processes of a fork server: their start, their frames, and the report of their end."""

import asyncio
import errno
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import psutil
import pytest
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_worker.hosting.fork_server import Ends, ForkServer, StartFailed, both_ends
from noetl_worker.hosting.host.wire import HEAD, read_frame, write_frame
from noetl_worker.hosting.process import (
    Channel,
    ChannelEnded,
    HostedProcess,
    LastWords,
    is_readable,
)

PROGRAM = "noetl_tool_wasm.compile"
JOB = {"is_text": True, "uses": [], "seconds": 60, "memory_bytes": 1 << 30, "code_bytes": 1 << 20}
MODULE = b'(module (memory (export "memory") 1))'


@pytest.fixture
async def server() -> AsyncIterator[ForkServer]:
    made = ForkServer(PROGRAM, {}, environment={"PATH": os.defpath})
    yield made
    await made.close()


def given(ends: Ends) -> socket.socket:
    """Make the descriptors of the compiler; return the socket of its frames."""
    ours = ends.socket(socket.SOCK_STREAM)
    ends.given.append(2)
    ends.tell_end()
    return ours


async def start(server: ForkServer, request: object = JOB) -> tuple[HostedProcess, Channel]:
    with both_ends() as ends:
        ours = given(ends)
        process = await server.fork(orjson.dumps(request), ends)
    return process, Channel(ours)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_frame_is_answered_and_the_end_told(server: ForkServer) -> None:
    process, channel = await start(server)

    is_good, said = await channel.ask(word=False, data=MODULE, most=1 << 20)
    has_ended = await process.wait(seconds=PATIENCE_SECONDS)
    channel.close()

    assert (is_good, said) == (False, b"it exports no function 'alloc'")
    assert (has_ended, process.exit_code) == (True, 0)


async def test_what_a_process_dies_of_is_told(server: ForkServer) -> None:
    killed, channel = await start(server)
    ends = []
    killed.on_end = lambda: ends.append(killed.exit_code)
    killed.kill()
    failed, other = await start(server, {"no": "job"})

    for one in (channel, other):
        with pytest.raises(ChannelEnded):
            await one.ask(word=False, data=MODULE, most=1 << 20)
        one.close()
    for process in (killed, failed):
        assert await process.wait(seconds=PATIENCE_SECONDS)

    assert (killed.exit_code, failed.exit_code) == (-signal.SIGKILL, 1)
    assert ends == [-signal.SIGKILL]
    # The number may be another's by now.
    killed.kill()


async def test_a_process_ends_when_the_worker_has_left_it(server: ForkServer) -> None:
    process, channel = await start(server)
    channel.close()

    assert await process.wait(seconds=PATIENCE_SECONDS)
    assert process.exit_code == 0


def test_a_frame_is_read_whole_or_not_at_all() -> None:
    for size in (0, 5, 300_000):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            writing = threading.Thread(target=write_frame, args=(theirs, True, b"x" * size))
            writing.start()
            assert read_frame(ours.fileno()) == (True, b"x" * size)
            writing.join()
            theirs.sendall(HEAD.pack(False, 100_000) + b"a part")
            theirs.close()
            assert read_frame(ours.fileno()) is None


async def test_an_answer_that_is_too_large_is_not_read(server: ForkServer) -> None:
    process, channel = await start(server)

    with pytest.raises(ValueError, match="an answer of"):
        await channel.ask(word=False, data=MODULE, most=4)
    channel.close()
    await process.wait(seconds=PATIENCE_SECONDS)


async def test_processes_end_with_their_server(server: ForkServer) -> None:
    process, channel = await start(server)
    await server.close()

    assert await process.wait(seconds=PATIENCE_SECONDS)
    channel.close()
    again, channel = await start(server)
    again.kill()
    channel.close()
    assert await again.wait(seconds=PATIENCE_SECONDS)


async def start_in(directory: Path, executable: str) -> None:
    server = ForkServer(PROGRAM, {}, environment={}, executable=executable)
    with both_ends() as ends:
        ends.directory("made-", directory)
        ends.to_write()
        given(ends)
        await server.fork(b"", ends)


async def test_nothing_is_left_of_a_failed_start(tmp_path: Path) -> None:
    before = descriptors()

    with pytest.raises(StartFailed, match="No such file"):
        await start_in(tmp_path, str(tmp_path / "none"))

    assert descriptors() == before
    assert os.listdir(tmp_path) == []  # noqa: PTH208  a look, nothing slow


def processes_of(server: ForkServer) -> list[psutil.Process]:
    assert server._process is not None
    return psutil.Process(server._process.pid).children()


async def test_who_gives_up_takes_nothing_from_others(server: ForkServer) -> None:
    """The answer to a request that was cancelled is not taken for the next one."""
    first, channel = await start(server)
    assert server._process is not None
    (known,), own = processes_of(server), psutil.Process(server._process.pid)
    own.suspend()
    given_up = [asyncio.create_task(start(server)) for _ in range(2)]
    await eventually(lambda: server._due, what="the first of them is asked for")
    for task in given_up:
        task.cancel()
    ends = await asyncio.gather(*given_up, return_exceptions=True)
    own.resume()

    second, other = await start(server)

    assert [type(end) for end in ends] == [asyncio.CancelledError] * 2
    assert not first.has_ended
    assert second.pid not in {first.pid, known.pid}
    # That of the cancelled request has ended, as nobody is there for it.
    await eventually(
        lambda: {one.pid for one in processes_of(server)} == {first.pid, second.pid},
        what="the two that are used are left",
    )
    for one, its in ((first, channel), (second, other)):
        its.close()
        assert await one.wait(seconds=PATIENCE_SECONDS)
        assert one.exit_code == 0


async def test_a_killed_server_leaves_nothing(server: ForkServer) -> None:
    process, channel = await start(server)
    assert server._process is not None
    killed = psutil.Process(server._process.pid)
    killed.kill()

    assert await process.wait(seconds=PATIENCE_SECONDS)
    await server.end_strays()

    # Not even zombies, without another request.
    assert [
        one for one in psutil.Process().children() if one.pid in {killed.pid, process.pid}
    ] == []
    channel.close()


async def test_a_stopped_server_ends_though_its_end_is_not_awaited(server: ForkServer) -> None:
    process, channel = await start(server)
    assert server._process is not None
    stopped = psutil.Process(server._process.pid)
    stopped.suspend()
    closing = asyncio.create_task(server.close())
    await eventually(lambda: server._process is None, what="it is being closed")
    closing.cancel()
    await asyncio.wait([closing])

    assert closing.cancelled()
    assert await process.wait(seconds=PATIENCE_SECONDS)
    await eventually(lambda: not stopped.is_running(), what="it is gone")
    channel.close()


def programs(**given: object) -> ForkServer:
    """Return a server of programs of ours."""
    place = str(Path(__file__).parent)
    return ForkServer("hosted_programs", given, environment={"PYTHONPATH": place}, options=())


async def write(server: ForkServer, size: int) -> tuple[HostedProcess, int]:
    """Have so many bytes written; return the descriptor to read them from, too."""
    with both_ends() as ends:
        out = ends.to_read()
        process = await server.fork(b"%d" % size, ends)
    return process, out


async def test_a_server_that_may_not_fork_says_so_and_stays() -> None:
    server, before = programs(forks=False), descriptors()
    try:
        with pytest.raises(StartFailed, match=os.strerror(errno.EAGAIN)) as refused:
            await write(server, 0)
        assert refused.value.may_pass
        assert server._process is not None
        pid = server._process.pid
        # Of the server there are its socket and its process.
        assert descriptors() == before + 2

        server._process.send_signal(signal.SIGUSR1)
        _, out = await write(server, 0)

        assert server._process.pid == pid
        assert await is_readable(out, seconds=PATIENCE_SECONDS)
        assert os.read(out, 100) == b"done"
        os.close(out)
    finally:
        await server.close()


async def test_what_a_process_says_keeps_it_from_nothing() -> None:
    """A pipe without a reader would hold it up."""
    server = programs()
    try:
        process, out = await write(server, 1 << 20)
        words = LastWords(out, most=10)

        assert await process.wait(seconds=PATIENCE_SECONDS)
        assert words.said() == b"......done"
        words.close()
    finally:
        await server.close()
