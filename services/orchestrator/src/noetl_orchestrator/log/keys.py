"""Keys by which a repetition is known: of requests (W5) and of events (W3)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A key by which a repeated request finds the execution of the first one (W5).

    Attributes:
        scope: keys are unique within their scope.
        window_seconds: time for which the key is held.
    """

    scope: str
    key: str
    window_seconds: float


@dataclass(frozen=True, slots=True)
class EventIdentity:
    """The identity of an event beside its id: equal identities are repetitions (W3)."""

    event_type: str
    command_id: str | None
    worker_id: str | None
    late: bool = False

    def is_same(self, other: "EventIdentity") -> bool:
        """Return whether type, command and worker are equal."""
        return (self.event_type, self.command_id, self.worker_id) == (
            other.event_type,
            other.command_id,
            other.worker_id,
        )
