"""Bounded output of an interpreter's pipe."""

import os

_CHUNK = 256 << 10


class Capture:
    """One pipe of the interpreter: keeps the first bytes, counts and drops the rest."""

    __slots__ = ("_limit", "_parts", "_size", "descriptor", "dropped")

    def __init__(self, descriptor: int, *, limit: int) -> None:
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self.dropped = 0

    def read(self) -> bool:
        """Read available bytes; False when there were none."""
        try:
            part = os.read(self.descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if not part:
            return False
        room = self._limit - self._size
        if len(part) > room:
            self.dropped += len(part) - room
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
        """Take the kept bytes as text, which ends with the number of dropped bytes."""
        text = self.take().decode("utf-8", errors="replace")
        if self.dropped:
            text += f"\n[{self.dropped} more bytes were dropped]"
            self.dropped = 0
        return text
