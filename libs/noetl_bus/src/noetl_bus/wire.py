"""Bytes on the wire: the only module that uses internals of nats-py.

The client's ``publish`` validates, copies and flushes each message, which costs most of the time of
the hot path (``benchmarks/bus.py``). It compares only the body with the broker's limit, although
the broker closes a connection if headers and body exceed the limit. And it keeps messages while the
connection is down, and sends them to a store that may be another one after the reconnect.
"""

import asyncio
import re
from collections.abc import Iterable, Mapping

from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from noetl_common.errors import Invalid
from noetl_common.logging import get_logger

_log = get_logger()
_LONGEST_SUBJECT = 2048  # a line of 4096 bytes also contains the reply subject and the sizes
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
        Invalid: the subject contains white space, which would inject protocol commands, or is so
            long that the broker would close the connection.
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
    """Return the bytes of headers; line breaks in values become spaces."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines = []
    for name, value in pairs:
        text = value if value.isprintable() else _LINE_BREAKS.sub(" ", value)
        lines.append(f"{name}: {text}\r\n")
    return _HEADER_START + "".join(lines).encode() + b"\r\n"


async def write(client: Client, data: bytes) -> None:
    """Queue bytes and wake the flusher; wait only if the socket can't keep up.

    Bytes that are written while the connection ends are lost with it.
    """
    try:
        await client._send_command(data)  # noqa: SLF001
        queue = client._flush_queue  # noqa: SLF001
        if queue is not None and queue.empty():
            await client._flush_pending()  # noqa: SLF001
    except (OSError, RuntimeError, TypeError, AttributeError) as error:
        # If the flusher has detected the end before the client, the client itself writes to the
        # closed transport. The error depends on the event loop.
        if _has_flusher(client):
            raise
        _log.debug("connection_ended_beneath_a_write", error=repr(error))


def _has_flusher(client: Client) -> bool:
    task = client._flusher_task  # noqa: SLF001
    return task is not None and not task.done()


def write_nowait(client: Client, data: bytes) -> None:
    """Queue bytes and wake the flusher without waiting, for small answers and acks."""
    client._pending.append(data)  # noqa: SLF001
    client._pending_data_size += len(data)  # noqa: SLF001
    queue = client._flush_queue  # noqa: SLF001
    if queue is not None and queue.empty():
        queue.put_nowait(asyncio.get_running_loop().create_future())


async def ping(client: Client, *, seconds: float) -> bool:
    """Wait until the broker has received everything written so far; return whether it has.

    Unlike the client's own ``flush``, this never cancels the future of the answer: the client sets
    its result when the answer arrives, and a cancelled future would end the client's read loop.
    """
    done, _ = await asyncio.wait([send_ping(client)], timeout=seconds)
    return bool(done)


def send_ping(client: Client) -> asyncio.Future[bool]:
    """Send a ping after everything written so far; the returned future must not be cancelled."""
    answered = asyncio.get_running_loop().create_future()
    # The client's own ping would overtake queued bytes.
    client._pongs.append(answered)  # noqa: SLF001
    # This must not wait if the socket accepts no more bytes, which is what a probe detects.
    write_nowait(client, _PING)
    return answered


def log_in_by_key(client: Client, public: str) -> None:
    """Configure an unconnected client to log in with a key; callbacks of the caller sign."""
    client._auth_configured = True  # noqa: SLF001
    client._public_nkey = public  # noqa: SLF001


def was_started(client: Client) -> bool:
    """Return whether a client has ever tried to connect; otherwise it can't be closed."""
    return client._flush_queue is not None  # noqa: SLF001


def forget_unsent(client: Client) -> None:
    """Drop unsent messages, because the next connection may lead to another store."""
    client._pending.clear()  # noqa: SLF001
    client._pending_data_size = 0  # noqa: SLF001


def transport(client: Client) -> asyncio.WriteTransport | None:
    """Return the transport of a TCP connection, or None without one."""
    found = client._transport  # noqa: SLF001
    writer = found._io_writer if isinstance(found, TcpTransport) else None  # noqa: SLF001
    return None if writer is None else writer.transport


def has_lost_its_loops(client: Client) -> bool:
    """Return whether a client has lost the task that reads or reconnects."""
    if client.is_reconnecting:
        task = client._reconnection_task  # noqa: SLF001
    elif client.is_connected:
        task = client._reading_task  # noqa: SLF001
    else:
        return False
    return task is None or task.done()
