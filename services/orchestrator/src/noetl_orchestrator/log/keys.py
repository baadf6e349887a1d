"""Keys by which a repetition is known: of requests (W5) and of events (W3)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A key under which a repeated request finds the first one's execution (W5).

    Attributes:
        scope: what keys are unique within.
        window_seconds: how long the key is held.
    """

    scope: str
    key: str
    window_seconds: float


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """What decides whether an event of equal id is the same event (W3)."""

    event_type: str
    command_id: str | None
    worker_id: str | None
    late: bool = False

    def is_same(self, other: "StoredEvent") -> bool:
        """Tell whether type, command and worker agree."""
        return (self.event_type, self.command_id, self.worker_id) == (
            other.event_type,
            other.command_id,
            other.worker_id,
        )
