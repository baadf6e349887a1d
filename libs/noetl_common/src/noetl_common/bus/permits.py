"""Permits: the bound on deliveries at work, and lending by those that only wait."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol

# The permits of the delivery that the running task handles, and who counts what holds them.
_CURRENT: ContextVar["Permits | None"] = ContextVar("permits", default=None)
_HOLDER: ContextVar["Holder | None"] = ContextVar("holder", default=None)


class Holder(Protocol):
    """Learns when the permit of a delivery is lent, and when that is over."""

    def lends(self) -> None:
        """The delivery waits, and another one has its permit."""

    def is_back(self) -> None:
        """The delivery is at work again."""


class Permits:
    """A semaphore whose holders may lend their permit while they wait; one task acquires.

    Args:
        count: permits.
        most_lent: permits that may be lent at once; beyond that, waiting occupies its permit.
        on_free: called when one has become free.

    Attributes:
        is_over: no more deliveries are taken: those at work are the last.
    """

    def __init__(
        self, count: int, *, most_lent: int, on_free: Callable[[], None] = lambda: None
    ) -> None:
        # Below zero when a lender takes its permit back while all are in use.
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
        """Give a permit back."""
        self._left += 1
        if self._left > 0:
            self._freed.set()
            self._on_free()
            return
        # More holders are there than permits: this one's goes to the first that is back.
        while self._back:
            back = self._back.popleft()
            if not back.done():
                back.set_result(None)
                return

    @property
    def is_crowded(self) -> bool:
        """Whether some that have lent their permits are back and wait for one."""
        return bool(self._back)

    async def regain(self, seconds: float) -> bool:
        """Wait, after lending, until no more are at work than there are permits.

        Return whether that came about within the time.
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
        """Let another delivery have the permit while the block waits.

        At its end the block goes on at once, even if all permits are in use by then: its wait is
        over and little is left to do.
        """
        return Loan(self)

    def give(self) -> bool:
        """Lend a permit until it is taken back; tell whether that may be."""
        if self.lent >= self._most_lent:
            return False
        self.lent += 1
        self.release()
        return True

    def take_back(self) -> None:
        """End a loan."""
        self.lent -= 1
        self._left -= 1


class Loan:
    """The context in which a permit is lent, if there is one and one more may be lent."""

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
    """Let the holder know of lending by the delivery that this task works on."""
    _HOLDER.set(holder)


def current_permits() -> Permits | None:
    """Return the permits of the delivery this task works on; None outside of one."""
    return _CURRENT.get()


def permit_lent() -> Loan:
    """Lend the permit of the delivery this task works on, if it has one, for a wait."""
    return Loan(_CURRENT.get())
