"""Shares of a worker's slots: one execution doesn't hold them all while others wait (L7)."""

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from time import monotonic

from noetl_bus.consumers.delivery import Delivery
from noetl_bus.consumers.permits import notify_borrowed

from noetl_worker import metrics

_MOST_REMEMBERED = 1024
_LONGEST_PAUSE_DOUBLINGS = 3
_UNABLE_PAUSE_SECONDS = 2.0


class SlotShares:
    """Handle deliveries, and put off those of an execution that holds its share already.

    Put off means given back to the broker, which then delivers what waits behind. That is done only
    while something waits that was not delivered to anybody yet, and only to an execution whose
    commands hold their slots for long: where slots change hands quickly, all have their turn. A
    command that only waits, for a child or for the answer to its outcome, holds none; and one that
    follows another with that answer is a command of its own.

    While the worker can't begin scripts it gives everything back, so that others have it: what a
    machine has too little of is seldom lacking for scripts alone.
    """

    def __init__(
        self,
        handle: Callable[[Delivery], Awaitable[None]],
        *,
        slots: int,
        share: float,
        slow_seconds: float = 1.0,
        is_able: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._handle = handle
        self._most = max(1, int(slots * share))
        self._slow_seconds = slow_seconds
        self._is_able = is_able
        self._clock = clock
        self._held: Counter[str] = Counter()
        self._newest: dict[str, float] = {}
        self._took: OrderedDict[str, float] = OrderedDict()

    async def __call__(self, delivery: Delivery) -> None:
        """Handle a delivery, or give it back for a moment."""
        if not self._is_able():
            metrics.PUT_OFF.inc()
            await delivery.nak(_UNABLE_PAUSE_SECONDS)
            return
        execution = delivery.subject.rpartition(".")[2]
        if (
            self._held[execution] >= self._most
            and delivery.num_pending
            and self._is_slow(execution)
        ):
            metrics.PUT_OFF.inc()
            await delivery.nak(2.0 ** min(delivery.num_delivered - 1, _LONGEST_PAUSE_DOUBLINGS))
            return
        slot = _Slot(self, execution)
        notify_borrowed(slot)
        try:
            await self._handle(delivery)
        finally:
            slot.end()

    def take(self, execution: str) -> float:
        """Count a slot that is taken now; return the time."""
        now = self._newest[execution] = self._clock()
        self._held[execution] += 1
        return now

    def give(self, execution: str, since: float) -> None:
        """Count a slot that was taken at a time as free."""
        self._held[execution] -= 1
        if not self._held[execution]:
            del self._held[execution], self._newest[execution]
        self._remember(execution, self._clock() - since)

    def _is_slow(self, execution: str) -> bool:
        """Return whether slots of an execution don't change hands."""
        standing = self._clock() - self._newest[execution]
        return max(standing, self._took.get(execution, 0.0)) >= self._slow_seconds

    def _remember(self, execution: str, seconds: float) -> None:
        """Keep how long commands of an execution take; a refused one among them counts little."""
        self._took[execution] = max(seconds, self._took.pop(execution, 0.0) / 2)
        if len(self._took) > _MOST_REMEMBERED:
            self._took.popitem(last=False)


class _Slot:
    """The slot of a delivery, while it is not released."""

    def __init__(self, shares: SlotShares, execution: str) -> None:
        self._shares = shares
        self._execution = execution
        self._waits = 0
        self._since: float | None = shares.take(execution)

    def on_release(self) -> None:
        """The slot is another delivery's; waits inside of a wait count once."""
        self._waits += 1
        self.end()

    def on_resume(self) -> None:
        """The wait is over."""
        self._waits -= 1
        if not self._waits:
            self._since = self._shares.take(self._execution)

    def end(self) -> None:
        """Give the slot up, if it is held."""
        if self._since is not None:
            self._shares.give(self._execution, self._since)
            self._since = None
