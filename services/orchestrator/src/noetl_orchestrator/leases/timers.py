"""Turn due timer rows into inputs (W10)."""

from collections.abc import Callable, Mapping
from time import monotonic

from noetl_common.errors import NoetlError
from noetl_common.logging import get_logger
from noetl_contract.json import JsonObject
from noetl_engine.inputs import (
    CallbackTimedOut,
    Continued,
    DeadlinePassed,
    Input,
    ReminderDue,
    StepTimedOut,
    WaitDue,
)
from noetl_engine.outputs import Answer
from noetl_engine.state.waiting import REMINDER_TIMER, WAIT_TIMER

from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import DueTimer
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.dispatch import Dispatcher
from noetl_orchestrator.turn.encode import CONTINUE_TIMER
from noetl_orchestrator.turn.inputs import Caller, TurnInput

_log = get_logger()

STEP_TIMEOUT_TIMER = "step_timeout"
CALLBACK_TIMER = "callback_timeout"
DEADLINE_TIMER = "deadline"
_INPUTS: Mapping[str, Callable[[int, JsonObject], Input]] = {
    STEP_TIMEOUT_TIMER: lambda event_id, said: StepTimedOut(event_id, said.get("holds")),
    CALLBACK_TIMER: lambda event_id, _: CallbackTimedOut(event_id),
    WAIT_TIMER: lambda event_id, _: WaitDue(event_id),
    REMINDER_TIMER: lambda event_id, said: ReminderDue(event_id, said.get("number", 0)),
}
_YOUNG_LEASES = 3
_BEGAN = monotonic()


def process_age_seconds() -> float:
    """Return the age of this process, in seconds."""
    return monotonic() - _BEGAN


class TimerCaller(Caller):
    """Delete a timer whose execution is gone; otherwise the commit deletes it."""

    def __init__(self, store: Store, timer_id: int, execution_id: int) -> None:
        self._store = store
        self._execution_id = execution_id
        self._timer_id = timer_id

    async def answered(self, answer: Answer) -> None:
        """Delete the timer of an unknown execution."""
        if answer.status == 404:
            await self._drop()

    async def refused(self, reason: str, answer: Answer) -> None:
        """Delete a timer that can't be decided; its execution has failed."""
        del answer
        _log.error(
            "timer_refused",
            execution_id=self._execution_id,
            timer_id=self._timer_id,
            reason=reason,
        )
        await self._drop()

    async def _drop(self) -> None:
        try:
            await self._store.delete_timers([self._timer_id])
        except NoetlError as error:
            _log.warning("timer_not_dropped", error=error.message)


async def take_due_timers(
    store: Store,
    dispatcher: Dispatcher,
    settings: Settings,
    beat: Callable[[], None] = lambda: None,
) -> int:
    """Submit due timers as inputs, in batches; return their number.

    Ends when a batch is not full, when as many inputs wait as may, or when the first batch may
    come due again: timers of turns that are held would be submitted over and over.
    """
    limit, found = settings.timer_batch, 0
    end = monotonic() + settings.timer_lease_seconds / 2
    while len(dispatcher) < settings.timer_inputs_max:
        beat()
        timers = await store.take_timers(lease_seconds=settings.timer_lease_seconds, limit=limit)
        found += len(timers)
        for timer in timers:
            message = _input_of(timer)
            if message is None:
                # In a mixed fleet a newer process knows the kind; the timer comes due again.
                _log.error("timer_unknown", timer_id=timer.timer_id, kind=timer.kind)
                continue
            caller = TimerCaller(store, timer.timer_id, timer.execution_id)
            turn_input = TurnInput(timer.execution_id, message, caller, timer_id=timer.timer_id)
            if process_age_seconds() < _YOUNG_LEASES * settings.timer_lease_seconds:
                # It may be why the process before died (W14); rows count no deliveries.
                turn_input.watch = f"timer:{timer.timer_id}"
            dispatcher.submit(turn_input)
        if len(timers) < limit or monotonic() >= end:
            break
    return found


def _input_of(timer: DueTimer) -> Input | None:
    payload = timer.payload if isinstance(timer.payload, dict) else {}
    event_id = payload.get("event_id")
    if timer.kind == CONTINUE_TIMER:
        return Continued()
    if timer.kind == DEADLINE_TIMER:
        return DeadlinePassed()
    make = _INPUTS.get(timer.kind)
    return make(event_id, payload) if make is not None and isinstance(event_id, int) else None
