"""Frames between the worker and its child processes.

A fork server gets a word about the end, and what the process is for, with the descriptors that it
is given; it answers with the number of the process, or of what hinders it. All else is between
worker and process, in frames of a head and bytes.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

PID = struct.Struct("<i")
"""A process, or below 0 an error of the system's; 0: done."""
STATUS = struct.Struct("<i")
"""Wait status of a process that has ended."""
TOLD = b"T"
"""Begins the request for a process whose end is reported: over its last descriptor."""
NOT_TOLD = b"-"
STRAYS = b"S"
"""The request to end leftovers of processes, and to answer when they are gone."""
_PIECE_BYTES = 64 << 10
HEAD = struct.Struct("<?Q")
"""A word of yes or no about the following data, which each use says, and its length."""


def read_frame(descriptor: int) -> tuple[bool, bytes | bytearray] | None:
    """Return word and bytes of the next frame of a pipe or a socket; None: it has ended before."""
    head = _read_exactly(descriptor, HEAD.size)
    if head is None:
        return None
    word, size = HEAD.unpack(head)
    data = _read_exactly(descriptor, size)
    return None if data is None else (word, data)


def write_frame(connection: socket.socket, word: bool, data: bytes) -> None:  # noqa: FBT001  of the frame
    """Write a frame to a socket."""
    connection.sendall(HEAD.pack(word, len(data)) + data)


def _read_exactly(descriptor: int, size: int) -> bytes | bytearray | None:
    # Most come at once; for those that a script waits for, other classes would be other pages.
    first = os.read(descriptor, min(size, _PIECE_BYTES))
    if len(first) == size:
        return first
    data = bytearray(size)
    data[: len(first)] = first
    left, count = memoryview(data)[len(first) :], len(first)
    while left and count:
        count = os.readv(descriptor, [left])
        left = left[count:]
    return None if left else data
