"""A replica that has lost the database leaves its executions to a sibling that reaches it.

Deciding needs no agreement (the commit is fenced), so this is for speed alone, and rests on what
each says of itself: who gets no answer says so, siblings that hear it ask for themselves at once,
and only one that got a quick answer meanwhile is a reason to withdraw, for who asks once more after
that word and gets none. Where the database itself is away or slow, everything stays as it is.
"""

import time
from collections.abc import Callable

from noetl_common.logging import get_logger
from noetl_contract.hints import ReplicaMoves
from noetl_pg.watch import Reachability

_log = get_logger()
_AWAY_SECONDS = 2.0
_BACK_SECONDS = 5.0
_WORD_SECONDS = 2.0
_PROOF_SECONDS = 3.0
"""A word that a sibling reaches it is of a question that it has asked within this time."""


class Withdrawal:
    """Whether this replica leaves its executions to siblings.

    Args:
        reach: of the database that decisions are committed to.
        monotonic: a clock in seconds.

    Attributes:
        is_on: whether it does.
    """

    def __init__(
        self, reach: Reachability, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.is_on = False
        self._reach = reach
        self._monotonic = monotonic
        self._reaching: dict[str, tuple[float, float]] = {}

    def hear(self, message: ReplicaMoves) -> None:
        """Take the word of a sibling that takes part."""
        if message.away:
            self._reach.probe_now()
        if message.reaches:
            now, away_since = self._monotonic(), self._away_since
            first, _ = self._reaching.get(message.sender, (now, now))
            if first <= away_since < now - _PROOF_SECONDS:
                first = now  # what it said before may have been of an answer before the outage
            self._reaching[message.sender] = first, now
        else:
            self._reaching.pop(message.sender, None)

    @property
    def _away_since(self) -> float:
        return self._monotonic() - self._reach.away_seconds

    def lose(self, name: str) -> None:
        """Forget what a sibling has said that is gone."""
        self._reaching.pop(name, None)

    @property
    def is_away(self) -> bool:
        """Whether the database does not answer this replica, as it seems."""
        return self._reach.is_doubtful

    @property
    def is_proven(self) -> bool:
        """Whether it has just answered it."""
        return self._reach.is_proven

    def look(self, *, is_alone: bool) -> bool:
        """Withdraw or come back, if there is reason to; return whether that has changed.

        A replica without siblings does what it can.
        """
        if self.is_on:
            if not (is_alone or self._reach.back_seconds >= _BACK_SECONDS):
                return False
            self.is_on = False
            _log.info("replica_came_back", is_alone=is_alone)
            return True
        late = max(self._monotonic() - _WORD_SECONDS, self._away_since + _PROOF_SECONDS)
        if self._reach.away_seconds < _AWAY_SECONDS or not any(
            last > late and first > self._away_since and self._reach.failed_since(first)
            for first, last in self._reaching.values()
        ):
            return False
        self.is_on = True
        _log.warning("replica_withdrawn", away_seconds=round(self._reach.away_seconds, 1))
        self._reach.give_up()
        return True
