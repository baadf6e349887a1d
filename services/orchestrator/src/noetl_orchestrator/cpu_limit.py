"""Bounds on the processor time of decisions, which run in the event loop."""

import asyncio
import atexit
import signal
import threading
from collections.abc import Callable
from time import perf_counter, thread_time
from types import FrameType
from typing import ClassVar

from noetl_common.errors import Permanent

_LOOK_SECONDS = 0.25
_UNBROKEN_SECONDS = 0.01
_COARSE_SECONDS = 0.001


class TookTooLong(Permanent):
    """A decision used more processor time than it may."""

    template = (
        "the decision took more than {seconds:g} s of processor time (NOETL_DECISION_SECONDS)"
    )


class _Over(BaseException):
    """The interrupt; no `Exception`, so that no handler inside of a decision catches it."""


class CpuLimit:
    """Interrupt calls that use too much processor time.

    The process's profiling timer triggers the check, a few times a second of processor time. It
    stands still while the process doesn't run, and costs a call no more than a look at the clock.
    The time of the main thread counts: work of other threads meanwhile, such as compiling
    templates, does not. The interrupt comes between two instructions of Python, so an instruction
    that never returns isn't reached: `hang_watch` ends the process then. Outside of the main thread
    nothing is limited.
    """

    _is_inside: ClassVar[bool] = False
    _end: ClassVar[float] = 0.0
    began: ClassVar[float] = 0.0
    """Processor time of the thread when the newest call began."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_limiting = threading.current_thread() is threading.main_thread()
        if self._is_limiting:
            signal.signal(signal.SIGPROF, _interrupt)
            every = min(_LOOK_SECONDS, seconds / 4)
            signal.setitimer(signal.ITIMER_PROF, every, every)
            # The interpreter takes our handler away while it ends; the next look would kill it.
            atexit.register(signal.setitimer, signal.ITIMER_PROF, 0)

    def run[**Given](
        self, call: Callable[Given, None], *args: Given.args, **kwargs: Given.kwargs
    ) -> None:
        """Call with the limit.

        Raises:
            TookTooLong: the time was over; the call was left where it stood.
        """
        CpuLimit.began = thread_time()
        if not self._is_limiting:
            call(*args, **kwargs)
            return
        try:
            try:
                CpuLimit._end = CpuLimit.began + self._seconds
                CpuLimit._is_inside = True
                # Interrupted again and again: the call may catch the first one and go on.
                call(*args, **kwargs)
            finally:
                CpuLimit._is_inside = False
        except _Over as over:
            # Here too, if the interrupt came on the way out.
            CpuLimit._is_inside = False
            raise TookTooLong(seconds=self._seconds) from over

    @classmethod
    def is_over(cls) -> bool:
        """Return whether a limited call is under way and has used up its time."""
        return cls._is_inside and thread_time() >= cls._end


class TurnTime:
    """Budget of processor time for all decisions of one turn (W29).

    In between everything else of the process goes on: messages are read, and workers answered.
    The processor's time is never more than the clock's, and is asked for only where that is too
    coarse: it costs a call of the system.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._used = self._unbroken = 0.0
        self._began_at: float | None = None

    def begin(self) -> None:
        """Note the begin of a call of `CpuLimit` that makes decisions."""
        self._began_at = perf_counter()

    def end(self) -> tuple[float, float]:
        """Note the end of the decisions; return their processor time and wall time, in seconds."""
        began_at, self._began_at = self._began_at, None
        seconds = 0.0 if began_at is None else perf_counter() - began_at
        took = seconds if seconds < _COARSE_SECONDS else thread_time() - CpuLimit.began
        self._used += took
        self._unbroken += took
        return took, seconds

    def is_over(self) -> bool:
        """Return whether the time is used up."""
        used = self._used
        if self._began_at is not None:
            if used + perf_counter() - self._began_at < self._seconds:
                return False
            used += thread_time() - CpuLimit.began
        return used >= self._seconds

    async def let_others(self) -> None:
        """Yield to the event loop if decisions have held it for a while."""
        if self._unbroken >= _UNBROKEN_SECONDS:
            self._unbroken = 0.0
            await asyncio.sleep(0)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if CpuLimit.is_over():
        raise _Over
