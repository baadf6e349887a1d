"""Permits: a counting semaphore of deliveries in progress, released while they only wait.

A permit is room for one delivery in progress. A handler that waits for other work releases its
permit to another delivery meanwhile, and takes it back when its wait is over.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol

# The permits of the delivery that the running task handles, and its holder.
_CURRENT: ContextVar["Permits | None"] = ContextVar("permits", default=None)
_HOLDER: ContextVar["Holder | None"] = ContextVar("holder", default=None)


class Holder(Protocol):
    """Notified when a waiting delivery releases its permit, and when it is at work again."""

    def lends(self) -> None:
        """Note that the delivery waits, and that its permit is free for another one."""

    def is_back(self) -> None:
        """Note that the delivery is at work again."""


class Permits:
    """A semaphore whose holders may release their permit while they wait; one task acquires.

    Args:
        count: permits.
        most_lent: waiting holders without a permit at once; beyond that, they keep their permits.
        on_free: called when a permit has become free.

    Attributes:
        is_over: no more deliveries are taken: those at work are the last.
    """

    def __init__(
        self, count: int, *, most_lent: int, on_free: Callable[[], None] = lambda: None
    ) -> None:
        # Below zero when a holder takes its permit back while all are in use.
        self._left = count
        self._most_lent = most_lent
        self._on_free = on_free
        self._freed = asyncio.Event()
        self._back: deque[asyncio.Future[None]] = deque()
        self.lent = 0
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
        # There are more holders than permits: this permit goes to the first that takes it back.
        while self._back:
            back = self._back.popleft()
            if not back.done():
                back.set_result(None)
                return

    @property
    def is_crowded(self) -> bool:
        """Whether a holder that released its permit for a wait is waiting to reacquire it."""
        return bool(self._back)

    async def regain(self, seconds: float) -> bool:
        """Wait, after the end of a `Loan`, until there are no more holders than permits.

        Return False after the timeout.
        """
        if self._left >= 0:
            return True
        back: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._back.append(back)
        try:
            async with asyncio.timeout(seconds):
                await back
        except TimeoutError:
            return back.done() and not back.cancelled()
        finally:
            if back in self._back:
                self._back.remove(back)
        return True

    def enter(self) -> None:
        """Make these the permits of the running task."""
        _CURRENT.set(self)

    def lend(self) -> "Loan":
        """Release the permit to another delivery while the block waits.

        At its end the block goes on at once, even if all permits are in use by then: its wait is
        over and little is left to do.
        """
        return Loan(self)

    def give(self) -> bool:
        """Release a permit until it is taken back; return False if the limit forbids it."""
        if self.lent >= self._most_lent:
            return False
        self.lent += 1
        self.release()
        return True

    def take_back(self) -> None:
        """Take a released permit back, even if all are in use by then."""
        self.lent -= 1
        self._left -= 1


class Loan:
    """The context in which a permit is released, if there is one and the limit allows it."""

    __slots__ = ("_holder", "_lender")

    def __init__(self, permits: Permits | None) -> None:
        self._lender = permits
        self._holder = _HOLDER.get()

    def __enter__(self) -> None:
        if self._lender is not None and not self._lender.give():
            self._lender = None
        if self._lender is not None and self._holder is not None:
            self._holder.lends()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._lender is not None:
            self._lender.take_back()
            if self._holder is not None:
                self._holder.is_back()


def tell_of_lending(holder: Holder) -> None:
    """Set the holder that is notified of waits by the delivery that this task works on."""
    _HOLDER.set(holder)


def current_permits() -> Permits | None:
    """Return the permits of the delivery this task works on; None outside of one."""
    return _CURRENT.get()


def permit_lent() -> Loan:
    """Release the permit of the delivery this task works on, if it has one, during a wait."""
    return Loan(_CURRENT.get())
