"""Bytes that a connection moves, as the kernel counts them."""

import fcntl
import socket
import struct
import termios
from asyncio import WriteTransport
from contextlib import suppress
from typing import NamedTuple

_COUNTS = struct.Struct("=120xQQ")
# Of closed sockets the loops raise different ones; not every system has the option.
_UNKNOWN = (OSError, ValueError, AttributeError, struct.error)


class Traffic(NamedTuple):
    """Bytes of a TCP connection so far: those that the peer has acknowledged, and received ones."""

    acknowledged: int
    received: int


def traffic_of(transport: WriteTransport) -> Traffic | None:
    """Return what a connection has moved, on which both sides have said something.

    None if that isn't known: it is closed, isn't TCP, or the kernel doesn't count.
    """
    with suppress(*_UNKNOWN):
        if (found := _socket(transport)) is not None:
            counts = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _COUNTS.size)
            traffic = Traffic(*_COUNTS.unpack(counts))
            return traffic if all(traffic) else None
    return None


def is_moving(transport: WriteTransport, *, since: Traffic) -> bool:
    """Return whether something came since then, or some of what still waits to be sent has left.

    True also if that isn't known.
    """
    now = traffic_of(transport)
    if now is None or now.received != since.received:
        return True
    return now.acknowledged != since.acknowledged and _unsent(transport) > 0


def _unsent(transport: WriteTransport) -> int:
    """Return the bytes that the peer has not acknowledged, here and in the kernel."""
    waiting = bytearray(4)
    with suppress(*_UNKNOWN):
        if (found := _socket(transport)) is not None:
            fcntl.ioctl(found.fileno(), termios.TIOCOUTQ, waiting)
    return transport.get_write_buffer_size() + int.from_bytes(waiting, "little")


def _socket(transport: WriteTransport) -> socket.socket | None:
    found: socket.socket | None = transport.get_extra_info("socket")
    return found
