"""The steps of an execution along its time: one bar a step, a loop is one bar."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from noetl_contract.http.executions.steps import StepEntry, StepState

from noetl_console.drawing.moments import moment_of, seconds_text

SCALE = 1000
"""Units of a whole timeline."""

_THINNEST = 3.0
_OPEN = frozenset({StepState.RUNNING, StepState.WAITING})


@dataclass(frozen=True, slots=True)
class Bar:
    """One step: where its bar begins, how long it is, and how much of it is done or has failed.

    ``x`` and ``width`` are in units of ``SCALE``; ``done`` and ``failed`` are parts of the width,
    None where the step is no loop.
    """

    step: StepEntry
    x: float
    width: float
    duration: str
    done: float | None
    failed: float | None


def draw_timeline(
    steps: Sequence[StepEntry], *, begin: str, end: str | None, now: datetime
) -> list[Bar]:
    """Return the bars of steps; steps that have not ended reach until now."""
    first = moment_of(begin) or now
    last = max(moment_of(end) or now, first)
    whole = max((last - first).total_seconds(), 0.001)
    return [_bar(step, first, last, whole) for step in steps]


def _bar(step: StepEntry, first: datetime, last: datetime, whole: float) -> Bar:
    started = moment_of(step.first_started_at or step.started_at)
    if started is None:
        return Bar(step, 0, 0, "", None, None)
    ended = last if step.state in _OPEN else moment_of(step.ended_at) or last
    x = min(max((started - first).total_seconds() / whole, 0), 1) * SCALE
    width = max((ended - started).total_seconds() / whole * SCALE, _THINNEST)
    x = min(x, SCALE - _THINNEST)
    seconds = step.duration_seconds
    if seconds is None:
        seconds = (ended - started).total_seconds()
    done, failed = _parts(step)
    width = min(width, SCALE - x)
    return Bar(step, round(x, 1), round(width, 1), seconds_text(seconds), done, failed)


def _parts(step: StepEntry) -> tuple[float | None, float | None]:
    iterations = step.iterations
    if iterations is None or not iterations.total:
        return None, None
    return iterations.done / iterations.total, iterations.failed / iterations.total
