"""The commands this process knows: held, unanswered, or finished not long ago."""

from collections.abc import Callable
from time import monotonic

_REMEMBER_SECONDS = 600.0


class KnownCommands:
    """Tells whether a notification is about something this process has in hand.

    Finished ones are remembered for at least ten minutes, at most twenty: two sets that take
    turns cost less than a time for each.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._held: set[int] = set()
        self._recent: set[int] = set()
        self._older: set[int] = set()
        self._turned = clock()

    def __contains__(self, event_id: int) -> bool:
        return event_id in self._held or event_id in self._recent or event_id in self._older

    def hold(self, event_id: int) -> None:
        """Take a command in hand."""
        self._held.add(event_id)

    def let_go(self, event_id: int) -> None:
        """Hold it no longer; one that was finished stays remembered."""
        self._held.discard(event_id)

    def release(self, event_id: int) -> None:
        """Forget it: somebody else runs it, or nobody yet."""
        for known in (self._held, self._recent, self._older):
            known.discard(event_id)

    def finish(self, event_id: int) -> None:
        """Remember that it was run here."""
        self.let_go(event_id)
        now = self._clock()
        if now - self._turned >= _REMEMBER_SECONDS:
            self._older, self._recent = self._recent, set()
            self._turned = now
        self._recent.add(event_id)
