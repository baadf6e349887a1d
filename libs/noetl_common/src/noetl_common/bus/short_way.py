"""Writes that go to an orchestrator past the ingress stream, as long as they are answered there."""

from collections.abc import Callable
from time import monotonic

SHORT_WAY_SECONDS = 0.5
"""Wait for the answer to a write on the short way before the stream gets it."""
_FIRST_CLOSED_SECONDS = 1.0
_LONGEST_CLOSED_SECONDS = 60.0


class ShortWay:
    """Whether a shard's writes go past the stream: not for a while after one was not answered.

    Then one write tries it for all. While it fails the pauses grow: where nobody takes such
    writes, or the orchestrators are slow, more copies would only be more work.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._closed_until = 0.0
        self._pause = 0.0
        self._is_tried = False

    def take(self) -> bool:
        """Return whether a write may go this way; `note` has to follow."""
        if not self._pause:
            return True
        if self._is_tried or self._clock() < self._closed_until:
            return False
        self._is_tried = True
        return True

    def note(self, *, is_answered: bool | None) -> None:
        """Note what became of a write; None when its sender gave up."""
        self._is_tried = False
        if is_answered:
            self._pause = 0.0
        elif is_answered is not None and self._clock() >= self._closed_until:
            self._pause = min(2 * self._pause or _FIRST_CLOSED_SECONDS, _LONGEST_CLOSED_SECONDS)
            self._closed_until = self._clock() + self._pause
