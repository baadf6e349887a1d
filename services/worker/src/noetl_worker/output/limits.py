"""Limits of the output of a run that is passed on."""

from dataclasses import dataclass
from time import monotonic


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """Bounds of one run.

    Attributes:
        bytes_per_second: of its lines; what it prints faster is left out.
        lines_per_second: likewise: a line of one letter is sent with a hundred more.
        most_bytes: of its lines together; 0 passes nothing on.
        kept_bytes: of its newest lines, for who begins to watch, and for the result of a run that
            was cut short.
    """

    bytes_per_second: int = 64 << 10
    lines_per_second: int = 1000
    most_bytes: int = 32 << 20
    kept_bytes: int = 64 << 10


class Allowance:
    """Output that one run may pass on now. A second's worth may come at once."""

    __slots__ = ("_at", "_bytes", "_limits", "_lines", "_total")

    def __init__(self, limits: OutputLimits) -> None:
        self._limits = limits
        self._bytes = float(limits.bytes_per_second)
        self._lines = float(limits.lines_per_second)
        self._total = limits.most_bytes
        self._at = monotonic()

    def take(self, data: bytes) -> int:
        """Return how many of these bytes may be passed on; they count as passed on."""
        self._fill()
        room = min(len(data), int(self._bytes), self._total)
        ends = data.count(b"\n", 0, room) + data.count(b"\r", 0, room)
        if ends > self._lines:
            # About so many lines; where exactly is not worth the search.
            room = int(room * self._lines / ends)
            ends = int(self._lines)
        self._bytes -= room
        self._lines -= ends
        self._total -= room
        return room

    def _fill(self) -> None:
        now, limits = monotonic(), self._limits
        passed = now - self._at
        self._at = now
        most = limits.bytes_per_second, limits.lines_per_second
        self._bytes = min(self._bytes + passed * most[0], most[0])
        self._lines = min(self._lines + passed * most[1], most[1])
