"""Commands of this process: held, unanswered, or finished recently."""

from collections.abc import Callable
from time import monotonic

_REMEMBER_SECONDS = 600.0


class KnownCommands:
    """Commands held or recently finished by this process, by event id.

    Finished ones are remembered for at least ten minutes, at most twenty: two sets that take
    turns cost less than a time for each.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._held: dict[int, object] = {}
        self._recent: set[int] = set()
        self._older: set[int] = set()
        self._turned = clock()

    def __contains__(self, event_id: int) -> bool:
        return event_id in self._held or event_id in self._recent or event_id in self._older

    def hold(self, event_id: int, holder: object = None) -> None:
        """Hold a command."""
        self._held[event_id] = holder

    def let_go(self, event_id: int, holder: object = None) -> None:
        """Stop holding a command; a finished command stays remembered.

        What was released, came again and is another's by now stays held.
        """
        if self._held.get(event_id) is holder:
            self._held.pop(event_id, None)

    def release(self, event_id: int) -> None:
        """Forget that a command was finished here: another worker has it.

        One that is held stays so: this process has it once more.
        """
        self._recent.discard(event_id)
        self._older.discard(event_id)

    def finish(self, event_id: int) -> None:
        """Remember that it was run here."""
        self._held.pop(event_id, None)
        now = self._clock()
        if now - self._turned >= _REMEMBER_SECONDS:
            self._older, self._recent = self._recent, set()
            self._turned = now
        self._recent.add(event_id)
