"""Bytes on the wire: the only module that goes below the public interface of nats-py.

Why: the client's ``publish`` validates, copies and flushes per message and costs most of the
time of the hot path (``benchmarks/bus.py``). It counts only the body against the broker's limit,
although the broker ends a connection that exceeds the limit with headers. And it keeps messages
written while the connection was down, and sends them to whatever store it finds afterwards.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping

from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from noetl_common.errors import Invalid
from noetl_common.logging import get_logger

_log = get_logger()
_LONGEST_SUBJECT = 2048  # it shares a line of 4096 bytes with the reply subject and the sizes
_HEADER_START = b"NATS/1.0\r\n"
_PING = b"PING\r\n"
_NOT_IN_SUBJECT = re.compile(r"[\s\x00]")
_LINE_BREAKS = re.compile(r"[\r\n]+")


def command(
    subject: str,
    body: bytes,
    *,
    reply: str = "",
    headers: Iterable[tuple[str, str]] | Mapping[str, str] | None = None,
) -> bytes:
    """Return the protocol bytes that publish one message.

    Raises:
        Invalid: the subject holds white space, which would inject protocol commands, or is so
            long that the broker would end the connection.
    """
    if not subject or len(subject) > _LONGEST_SUBJECT or _NOT_IN_SUBJECT.search(subject):
        raise Invalid("the subject {subject!r} is not valid", subject=subject)
    if not headers:
        return b"PUB %s %s %d\r\n%s\r\n" % (subject.encode(), reply.encode(), len(body), body)
    block = header_block(headers)
    return b"HPUB %s %s %d %d\r\n%s%s\r\n" % (
        subject.encode(),
        reply.encode(),
        len(block),
        len(block) + len(body),
        block,
        body,
    )


def header_block(headers: Iterable[tuple[str, str]] | Mapping[str, str]) -> bytes:
    """Return headers as they travel; line breaks in values become spaces."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = []
    for name, value in pairs:
        text = value if value.isprintable() else _LINE_BREAKS.sub(" ", value)
        lines.append(f"{name}: {text}\r\n")
    return _HEADER_START + "".join(lines).encode() + b"\r\n"


async def write(client: Client, data: bytes) -> None:
    """Queue bytes and wake the flusher; waits only when the socket can't keep up.

    Bytes written while the connection ends are lost with it, as if they had been on the way.
    """
    try:
        await client._send_command(data)  # noqa: SLF001
        queue = client._flush_queue  # noqa: SLF001
        if queue is not None and queue.empty():
            await client._flush_pending()  # noqa: SLF001
    except (OSError, RuntimeError, TypeError, AttributeError) as error:
        # The flusher may have seen the end before the client has. Then the client writes to the
        # closed transport itself, which fails in whatever way the event loop has.
        if _has_flusher(client):
            raise
        _log.debug("connection_ended_beneath_a_write", error=repr(error))


def _has_flusher(client: Client) -> bool:
    task = client._flusher_task  # noqa: SLF001
    return task is not None and not task.done()


def write_nowait(client: Client, data: bytes) -> None:
    """Queue bytes and wake the flusher without waiting: for small answers and acks."""
    client._pending.append(data)  # noqa: SLF001
    client._pending_data_size += len(data)  # noqa: SLF001
    queue = client._flush_queue  # noqa: SLF001
    if queue is not None and queue.empty():
        queue.put_nowait(asyncio.get_running_loop().create_future())


async def ping(client: Client, *, seconds: float) -> bool:
    """Wait until the broker has seen everything written so far; False when it doesn't answer.

    Unlike the client's own ``flush`` this never cancels the future it waits for: the client
    sets a result on it when the answer comes, and a cancelled one ends its read loop.
    """
    done, _ = await asyncio.wait([send_ping(client)], timeout=seconds)
    return bool(done)


def send_ping(client: Client) -> asyncio.Future[bool]:
    """Ask for an answer behind everything written so far; never cancel what is returned."""
    answered = asyncio.get_running_loop().create_future()
    # The client's own ping overtakes what waits to be written; this one waits in line.
    client._pongs.append(answered)  # noqa: SLF001
    # Not to wait where the socket takes nothing more: that is to be found out.
    write_nowait(client, _PING)
    return answered


def log_in_by_key(client: Client, public: str) -> None:
    """Set the login of an unconnected client to a key whose signatures we make."""
    client._auth_configured = True  # noqa: SLF001
    client._public_nkey = public  # noqa: SLF001


def was_started(client: Client) -> bool:
    """Return whether a client ever tried to connect; else it can't be closed."""
    return client._flush_queue is not None  # noqa: SLF001


def forget_unsent(client: Client) -> None:
    """Drop messages written and not sent: the next connection may lead to another store."""
    client._pending.clear()  # noqa: SLF001
    client._pending_data_size = 0  # noqa: SLF001


def transport(client: Client) -> asyncio.WriteTransport | None:
    """Return the transport of a connection; None without one, or where it isn't TCP."""
    found = client._transport  # noqa: SLF001
    writer = found._io_writer if isinstance(found, TcpTransport) else None  # noqa: SLF001
    return None if writer is None else writer.transport


def has_lost_its_loops(client: Client) -> bool:
    """Return whether a client that looks alive has lost the task that keeps it alive."""
    if client.is_reconnecting:
        task = client._reconnection_task  # noqa: SLF001
    elif client.is_connected:
        task = client._reading_task  # noqa: SLF001
    else:
        return False
    return task is None or task.done()
