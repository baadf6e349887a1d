"""Timer rows whose time has come become inputs (W10)."""

import asyncio
from collections.abc import Callable

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_engine.inputs import CallbackTimedOut, Continued, Input, StepTimedOut
from noetl_engine.outputs import Answer

from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import DueTimer
from noetl_orchestrator.turn.dispatch import Dispatcher
from noetl_orchestrator.turn.encode import CONTINUE_TIMER
from noetl_orchestrator.turn.inputs import Work

_log = get_logger()

STEP_TIMEOUT_TIMER = "step_timeout"
CALLBACK_TIMER = "callback_timeout"


class TimerCaller:
    """Does away with a timer whose execution is gone; otherwise the commit does."""

    def __init__(self, store: Store, timer_id: int) -> None:
        self._store = store
        self._timer_id = timer_id

    @property
    def is_waiting(self) -> bool:
        """Always."""
        return True

    def taken(self) -> None:
        """Nothing to note."""

    async def answered(self, answer: Answer) -> None:
        """Drop the timer of an unknown execution."""
        if answer.status == 404:
            await self._drop()

    async def refused(self, reason: str, answer: Answer) -> None:
        """Drop a timer that can't be worked on; its execution has been failed."""
        del answer
        _log.error("timer_refused", timer_id=self._timer_id, reason=reason)
        await self._drop()

    async def given_back(self, delay_seconds: float) -> None:
        """The row is due again by itself."""

    async def _drop(self) -> None:
        try:
            await self._store.delete_timers([self._timer_id])
        except NoetlError as error:
            _log.warning("timer_not_dropped", error=error.message)


async def take_due_timers(
    store: Store, dispatcher: Dispatcher, *, lease_seconds: float, limit: int
) -> int:
    """Make inputs of timers that are due; returns how many there were."""
    timers = await store.take_timers(lease_seconds=lease_seconds, limit=limit)
    for timer in timers:
        message = _input_of(timer)
        if message is None:
            # An older process of a mixed fleet: the newer one knows it. Due again later.
            _log.error("timer_unknown", timer_id=timer.timer_id, kind=timer.kind)
            continue
        caller = TimerCaller(store, timer.timer_id)
        dispatcher.submit(Work(timer.execution_id, message, caller, timer_id=timer.timer_id))
    return len(timers)


def _input_of(timer: DueTimer) -> Input | None:
    payload = timer.payload if isinstance(timer.payload, dict) else {}
    event_id = payload.get("event_id")
    match timer.kind:
        case kind if kind == STEP_TIMEOUT_TIMER:
            holds = payload.get("holds")
            return StepTimedOut(event_id, holds) if isinstance(event_id, int) else None
        case kind if kind == CALLBACK_TIMER:
            return CallbackTimedOut(event_id) if isinstance(event_id, int) else None
        case kind if kind == CONTINUE_TIMER:
            return Continued()
        case _:
            return None


async def run_timers(
    store: Store,
    dispatcher: Dispatcher,
    *,
    interval_seconds: float,
    lease_seconds: float,
    limit: int,
    beat: Callable[[], None] = lambda: None,
) -> None:
    """Look again and again until cancelled."""
    while True:
        beat()
        try:
            found = await take_due_timers(
                store, dispatcher, lease_seconds=lease_seconds, limit=limit
            )
        except NoetlError as error:
            _log.warning("timers_not_read", error=error.message)
            found = 0
        if found < limit:
            await asyncio.sleep(interval_seconds)
