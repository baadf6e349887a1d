"""Permits: a counting semaphore for deliveries in progress.

A handler holds one permit. While a handler waits for other work, it releases its permit, so that
another delivery can start; after the wait it reacquires a permit.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol

# The permits of the delivery that the current task handles, and the holder of its permit.
_CURRENT: ContextVar["Permits | None"] = ContextVar("permits", default=None)
_HOLDER: ContextVar["Holder | None"] = ContextVar("holder", default=None)


class Holder(Protocol):
    """An observer of a delivery that releases its permit while it waits."""

    def on_release(self) -> None:
        """Record that the delivery waits and has released its permit."""

    def on_resume(self) -> None:
        """Record that the delivery continues with a permit."""


class Permits:
    """A semaphore whose holders may release their permit while they wait; one task acquires.

    Args:
        count: number of permits.
        most_released: maximum number of holders that wait without a permit; further holders keep
            their permits while they wait.
        on_free: is called when a permit becomes free.

    Attributes:
        released: number of holders that wait without a permit.
        is_over: whether no more deliveries start.
    """

    def __init__(
        self, count: int, *, most_released: int, on_free: Callable[[], None] = lambda: None
    ) -> None:
        # Negative if a holder has reacquired its permit while all permits were in use.
        self._left = count
        self._most_released = most_released
        self._on_free = on_free
        self._freed = asyncio.Event()
        self._regaining: deque[asyncio.Future[None]] = deque()
        self.released = 0
        self.is_over = False

    async def acquire(self) -> None:
        """Wait for a permit."""
        while self._left <= 0:
            self._freed.clear()
            await self._freed.wait()
        self._left -= 1

    def release(self) -> None:
        """Release a permit."""
        self._left += 1
        if self._left > 0:
            self._freed.set()
            self._on_free()
            return
        # There are more holders than permits, so the first holder in `regain` gets this permit.
        while self._regaining:
            regained = self._regaining.popleft()
            if not regained.done():
                regained.set_result(None)
                return

    @property
    def is_crowded(self) -> bool:
        """Whether a holder waits in `regain`."""
        return bool(self._regaining)

    async def regain(self, seconds: float) -> bool:
        """After a wait without a permit, wait until there are no more holders than permits.

        Return False after the timeout.
        """
        if self._left >= 0:
            return True
        regained: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._regaining.append(regained)
        try:
            async with asyncio.timeout(seconds):
                await regained
        except TimeoutError:
            return regained.done() and not regained.cancelled()
        finally:
            if regained in self._regaining:
                self._regaining.remove(regained)
        return True

    def enter(self) -> None:
        """Set these permits as those of the current task."""
        _CURRENT.set(self)

    def released_while_waiting(self) -> "ReleasedPermit":
        """Release the permit while the block waits.

        After the block, the holder continues immediately, even if all permits are in use: its wait
        is over, and little work is left.
        """
        return ReleasedPermit(self)

    def release_for_wait(self) -> bool:
        """Release a permit until `reacquire`; return False if too many are released already."""
        if self.released >= self._most_released:
            return False
        self.released += 1
        self.release()
        return True

    def reacquire(self) -> None:
        """Reacquire a permit after a wait, even if all permits are in use."""
        self.released -= 1
        self._left -= 1


class ReleasedPermit:
    """The context in which a permit is released, if there is one and the limit allows it."""

    __slots__ = ("_holder", "_permits")

    def __init__(self, permits: Permits | None) -> None:
        self._permits = permits
        self._holder = _HOLDER.get()

    def __enter__(self) -> None:
        if self._permits is not None and not self._permits.release_for_wait():
            self._permits = None
        if self._permits is not None and self._holder is not None:
            self._holder.on_release()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._permits is not None:
            self._permits.reacquire()
            if self._holder is not None:
                self._holder.on_resume()


def notify_borrowed(holder: Holder) -> None:
    """Set the observer of the delivery that the current task handles."""
    _HOLDER.set(holder)


def current_permits() -> Permits | None:
    """Return the permits of the delivery that the current task handles, or None without one."""
    return _CURRENT.get()


def permit_released() -> ReleasedPermit:
    """Release the permit of the current task's delivery, if it has one, while the block waits."""
    return ReleasedPermit(_CURRENT.get())
