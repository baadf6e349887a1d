"""A step's state as one line of words."""

from datetime import datetime

from noetl.follow.progress import StepProgress, StepState

MARKS = {
    StepState.WAITING: "·",
    StepState.RUNNING: "…",
    StepState.DONE: "✓",
    StepState.SKIPPED: "-",
    StepState.FAILED: "✗",
}
TIMED = frozenset({StepState.DONE, StepState.FAILED})
NAMED = frozenset({StepState.SKIPPED, StepState.FAILED})
MINUTE = 60
LONGEST_ERROR = 100


def describe(step: StepProgress, now: datetime | None = None) -> str:
    """Return name, loop progress, time and errors of a step, timed until `now`."""
    parts = [step.name]
    if step.is_loop:
        parts.append(f"{len(step.done_commands)}/{step.expected}")
    if step.state in TIMED or (now is not None and step.state is StepState.RUNNING):
        parts.append(duration(step.seconds(now)))
    if step.state in NAMED:
        parts.append(str(step.state))
    if step.runs > 1:
        parts.append(f"(run {step.runs})")
    if step.error and step.state is StepState.DONE:
        parts.append(f"(error in the answer: {_first_line(step.error)})")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """Return a duration in words."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < MINUTE:
        return f"{seconds:.1f} s"
    return f"{seconds // MINUTE:.0f} min {seconds % MINUTE:.0f} s"


def _first_line(text: str) -> str:
    line = next(iter(text.strip().splitlines()), "")
    return line if len(line) <= LONGEST_ERROR else line[: LONGEST_ERROR - 1] + "…"
