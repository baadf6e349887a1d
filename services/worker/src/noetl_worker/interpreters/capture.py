"""Bounded output of an interpreter's pipe."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 256 << 10
_TAIL = 16 << 10
"""Bytes that are kept of the end of dropped output: errors stand there."""


class Capture:
    """One pipe of the interpreter: keeps the first bytes and the last lines, and drops the rest.

    Attributes:
        listener: gets all that is read, also what is dropped. Must be quick.
    """

    __slots__ = ("_limit", "_parts", "_size", "_tail", "descriptor", "dropped", "listener")

    def __init__(self, descriptor: int, *, limit: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._tail = b""
        self.dropped = 0
        self.listener: Callable[[bytes], None] | None = None

    def read(self) -> bool:
        """Read available bytes; False when there were none."""
        try:
            part = os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if not part:
            return False
        if self.listener is not None:
            self.listener(part)
        room = self._limit - self._size
        if len(part) > room:
            self.dropped += len(part) - room
            self._tail = (self._tail + part[max(room, len(part) - _TAIL) :])[-_TAIL:]
            part = part[:room]
        if part:
            self._parts.append(part)
            self._size += len(part)
        return True

    @property
    def size(self) -> int:
        """Number of kept bytes."""
        return self._size

    def head(self, size: int) -> bytes:
        """Return the first bytes without taking them."""
        head = self._parts[0] if self._parts else b""
        return head[:size] if len(head) >= size else b"".join(self._parts)[:size]

    def drain(self) -> None:
        """Take all that is there."""
        while self.read():
            pass

    def take(self) -> bytes:
        """Return the kept bytes and forget them."""
        parts, self._parts = self._parts, []
        self._size = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def take_text(self) -> str:
        """Take the kept bytes as text; in place of dropped bytes it has their number."""
        text = self.take().decode("utf-8", errors="replace")
        if self.dropped:
            tail = _whole_lines(self._tail) if self.dropped > _TAIL else b""
            text += f"\n[{self.dropped - len(tail)} more bytes were dropped]"
            if tail:
                text += f"\n{tail.decode('utf-8', errors='replace')}"
            self.dropped = 0
        self._tail = b""
        return text


def _whole_lines(data: bytes) -> bytes:
    """Return lines without the first one, and without the rest of a key that begins before them.

    What is dropped may hold the beginning of a secret, and a part of one is not masked.
    """
    _, _, data = data.partition(b"\n")
    begin, end = data.find(b"-----BEGIN "), data.find(b"-----END ")
    if end != -1 and not -1 < begin < end:
        _, _, data = data[end:].partition(b"\n")
    return data
