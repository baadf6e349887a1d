"""Counters of the kernel for the bytes of a TCP connection."""

import fcntl
import socket
import struct
import termios
from asyncio import WriteTransport
from contextlib import suppress
from typing import NamedTuple

_COUNTS = struct.Struct("=120xQQ")
# Event loops raise different errors for a closed socket, and not every system has the option.
_UNKNOWN = (OSError, ValueError, AttributeError, struct.error)


class Traffic(NamedTuple):
    """Bytes of a TCP connection so far: sent and acknowledged by the peer, and received."""

    acknowledged: int
    received: int


def traffic_of(transport: WriteTransport) -> Traffic | None:
    """Return the counters of a connection on which both sides have sent bytes.

    Return None if the counters are unknown: the connection is closed or isn't TCP, or the kernel
    doesn't count.
    """
    with suppress(*_UNKNOWN):
        if (found := _socket(transport)) is not None:
            counts = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _COUNTS.size)
            traffic = Traffic(*_COUNTS.unpack(counts))
            return traffic if all(traffic) else None
    return None


def is_moving(transport: WriteTransport, *, since: Traffic) -> bool:
    """Return whether bytes were received, or queued bytes were acknowledged, since then.

    Return True as well if the counters are unknown.
    """
    now = traffic_of(transport)
    if now is None or now.received != since.received:
        return True
    return now.acknowledged != since.acknowledged and _unsent(transport) > 0


def _unsent(transport: WriteTransport) -> int:
    """Return the number of bytes that are queued here or unacknowledged in the kernel."""
    waiting = bytearray(4)
    with suppress(*_UNKNOWN):
        if (found := _socket(transport)) is not None:
            fcntl.ioctl(found.fileno(), termios.TIOCOUTQ, waiting)
    return transport.get_write_buffer_size() + int.from_bytes(waiting, "little")


def _socket(transport: WriteTransport) -> socket.socket | None:
    found: socket.socket | None = transport.get_extra_info("socket")
    return found
