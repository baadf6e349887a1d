"""A circuit breaker for requests to the owners of executions."""

from collections.abc import Callable
from time import monotonic

_FIRST_OPEN_SECONDS = 1.0
_LONGEST_OPEN_SECONDS = 8.0


class Breaker:
    """Keeps writes from being requested for a while after one was not answered.

    Then one request tries it for all. While these fail the pauses grow: where nobody takes
    requests, or the orchestrators are slow, more copies would only be more work.

    Args:
        clock: seconds of a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._open_until = 0.0
        self._pause = 0.0
        self._is_tried = False

    def admits(self) -> bool:
        """Return whether a write may be requested; `note` has to follow."""
        if not self._pause:
            return True
        if self._is_tried or self._clock() < self._open_until:
            return False
        self._is_tried = True
        return True

    def note(self, *, is_answered: bool | None) -> None:
        """Note the outcome of a request; None when its sender stopped waiting."""
        self._is_tried = False
        if is_answered:
            self._pause = 0.0
        elif is_answered is not None and self._clock() >= self._open_until:
            self._pause = min(2 * self._pause or _FIRST_OPEN_SECONDS, _LONGEST_OPEN_SECONDS)
            self._open_until = self._clock() + self._pause
