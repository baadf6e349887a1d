"""Keys by which a repetition is known: of requests (W5) and of events (W3)."""

from dataclasses import dataclass

from noetl_contract.json import Json

_FINGERPRINT = "request_fingerprint"


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A key by which a repeated request finds the execution of the first one (W5).

    Attributes:
        scope: keys are unique within their scope.
        window_seconds: time for which the key is held.
        fingerprint: of what is asked for; another one under the same key is a mistake of the
            client. Empty where only the key counts.
    """

    scope: str
    key: str
    window_seconds: float
    fingerprint: str = ""

    def answer_to_keep(self, body: Json) -> Json:
        """Return the answer to store with the key, with the fingerprint if there is one."""
        if not self.fingerprint or not isinstance(body, dict):
            return body
        return {**body, _FINGERPRINT: self.fingerprint}

    def is_of_another(self, answer: Json) -> bool:
        """Whether a stored answer belongs to a request for something else."""
        known = answer.get(_FINGERPRINT) if isinstance(answer, dict) else None
        return bool(self.fingerprint) and known is not None and known != self.fingerprint


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
