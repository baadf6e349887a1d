"""Hints that wake replicas when schedules were changed; a hint may be lost."""

from collections.abc import Callable

from noetl_bus.broker import Bus
from noetl_contract.hints import ChangeHint
from noetl_contract.subjects import SCHEDULE_HINT


class ScheduleHints:
    """Sends and receives hints of changes."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def tell(self) -> None:
        """Wake all replicas."""
        await self._bus.send(SCHEDULE_HINT, ChangeHint().to_json())

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call a function at each hint, for as long as the connection lives."""
        await self._bus.subscribe(SCHEDULE_HINT, lambda _message: wake())
