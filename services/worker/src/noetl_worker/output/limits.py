"""How much of a run's output is passed on."""

from dataclasses import dataclass
from time import monotonic


@dataclass(frozen=True, slots=True)
class OutputLimits:
    """Bounds of one run.

    Attributes:
        bytes_per_second: of its lines; what it prints faster is left out.
        most_bytes: of its lines together; 0 passes nothing on.
        kept_bytes: of its newest lines, for who begins to watch, and for the result of a run that
            was cut short.
    """

    bytes_per_second: int = 64 << 10
    most_bytes: int = 32 << 20
    kept_bytes: int = 64 << 10


class Allowance:
    """Bytes that one run may pass on now. A second's worth may come at once."""

    __slots__ = ("_at", "_left", "_per_second", "_total")

    def __init__(self, limits: OutputLimits) -> None:
        self._per_second = limits.bytes_per_second
        self._left = float(limits.bytes_per_second)
        self._total = limits.most_bytes
        self._at = monotonic()

    def take(self, wanted: int) -> int:
        """Take at most so many bytes; return how many there were."""
        now = monotonic()
        self._left = min(self._left + (now - self._at) * self._per_second, self._per_second)
        self._at = now
        taken = min(wanted, int(self._left), self._total)
        self._left -= taken
        self._total -= taken
        return taken
