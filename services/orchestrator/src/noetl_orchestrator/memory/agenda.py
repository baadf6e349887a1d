"""Times of the next due timer and the next end of a lease, until which the loops sleep.

The database knows all rows; it is asked every few seconds and after each look for due rows. In
between the commits of this process report the rows that they add, so that its own rows are never
late. A row of another replica is looked for by that replica; only if it ends meanwhile, the row
waits for the next question, which is the longest delay.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

from noetl_common.clock import ServerClock
from noetl_engine.outputs import CommandChange, NewTimer

from noetl_orchestrator.log.stored_rows import NextLooks

# The clock is an estimate; a look a moment too early would find nothing.
_SHORTEST_SECONDS = 0.005


class Agenda:
    """The next times at which loops have work.

    Args:
        read: asks the database.
        clock: decides whether a time has come.
    """

    def __init__(self, read: Callable[[], Awaitable[NextLooks]], clock: ServerClock) -> None:
        self._read = read
        self._clock = clock
        self._asking = asyncio.Lock()
        self._known: NextLooks | None = None
        self._new_timer: datetime | None = None
        self._new_lease: datetime | None = None
        self._earlier = asyncio.Event()

    # -- notes of commits --------------------------------------------------------------

    def note(self, *, timers: Iterable[NewTimer], changes: Iterable[CommandChange]) -> None:
        """Note the timers and leases of a commit."""
        for timer in timers:
            if self._new_timer is None or timer.due_at < self._new_timer:
                self._new_timer = timer.due_at
                self._earlier.set()
        for change in changes:
            until = change.lease_until
            if until is not None and (self._new_lease is None or until < self._new_lease):
                self._new_lease = until

    # -- questions of loops ------------------------------------------------------------

    async def ask(self) -> None:
        """Ask the database for the next times.

        Raises:
            NoetlError: no answer; what was known still counts.
        """
        async with self._asking:
            before = self._new_timer, self._new_lease
            # Whatever is noted from here on may be missing in the answer.
            self._new_timer = self._new_lease = None
            asked_at = self._clock.reading()
            try:
                self._known = await self._read()
            except BaseException:
                self._new_timer = _earliest(before[0], self._new_timer)
                self._new_lease = _earliest(before[1], self._new_lease)
                raise
            self._clock.set(self._known.now, asked_at=asked_at)
            self._earlier.set()

    @property
    def has_leases(self) -> bool:
        """Whether a command is held, as far as this process knows."""
        return self._next_lease() is not None

    @property
    def has_pending(self) -> bool:
        """Whether commands were unclaimed at the last question; true before the first one."""
        return self._known is None or self._known.pending is not None

    def is_timer_due(self) -> bool:
        """Return whether a timer is due, or nothing is known."""
        return self._known is None or self._is_over(self._next_timer())

    def is_lease_over(self) -> bool:
        """Return whether a lease has ended, or nothing is known."""
        return self._known is None or self._is_over(self._next_lease())

    async def wait_for_timer(self, longest_seconds: float) -> bool:
        """Wait until a timer is due, for a time; return whether one is."""
        loop = asyncio.get_running_loop()
        end = loop.time() + longest_seconds
        while not self.is_timer_due():
            left = end - loop.time()
            due = self._next_timer()
            if due is not None:
                left = min(left, (due - self._clock.now()).total_seconds())
            if loop.time() >= end:
                return False
            self._earlier.clear()
            try:
                async with asyncio.timeout(max(left, _SHORTEST_SECONDS)):
                    await self._earlier.wait()
            except TimeoutError:
                continue
        return True

    def _next_timer(self) -> datetime | None:
        return _earliest(None if self._known is None else self._known.timer, self._new_timer)

    def _next_lease(self) -> datetime | None:
        return _earliest(None if self._known is None else self._known.lease, self._new_lease)

    def _is_over(self, moment: datetime | None) -> bool:
        return moment is not None and moment <= self._clock.now()


def _earliest(*moments: datetime | None) -> datetime | None:
    return min((moment for moment in moments if moment is not None), default=None)
