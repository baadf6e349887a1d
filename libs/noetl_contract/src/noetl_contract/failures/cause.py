"""The first cause of a failure in events, rows and answers, and its sentence."""

from collections.abc import Sequence
from typing import Literal

from noetl_contract.json import Json
from noetl_contract.model import Model, example

type CauseKind = Literal[
    "tool", "soft", "template", "timeout", "lost", "callback", "child", "evaluate", "ended"
]
"""Kind of a failure.

``tool`` the tool raised, ``soft`` it answered with an error, ``template`` a template failed at the
worker, ``timeout`` a time limit, ``lost`` every worker that had it stopped answering, ``callback``
none came, ``child`` a child execution failed, ``evaluate`` a decision between two steps was
impossible, ``ended`` it was ended from outside.
"""

LONGEST_MESSAGE = 1000
"""Characters of a cause's message; the event of the failure has all of it."""
_MOST_STEPS = 10
_TRACEBACK = "Traceback (most recent call last)"
_BEGINNINGS: tuple[tuple[str, CauseKind], ...] = (
    ("Template error", "template"),
    ("Execution timed out", "timeout"),
    ("Command lost", "lost"),
    ("Outcome unknown", "lost"),
    ("No callback came", "callback"),
    ("Child execution", "child"),
)


class Cause(Model):
    """The earliest failure of an execution, or its earliest soft error.

    Attributes:
        step: the step, None for a failure that no step had.
        kind: what kind of failure.
        message: its text, the last line of an exception's trace; at most 1000 characters.
        task: label of the pipeline's task.
        iteration: index of the loop's iteration, from 0.
        line: line of the playbook, from 1, that step or task begins on.
        position: that of its event in the log.
    """

    model_config = example(
        step="start",
        kind="tool",
        message="HTTP error: 503 Service Unavailable",
        task="fetch",
        iteration=3,
        line=12,
        position=41,
    )

    step: str | None
    kind: CauseKind
    message: str
    task: str | None = None
    iteration: int | None = None
    line: int | None = None
    position: int | None = None

    def sentence(self) -> str:
        """Return place and reason as one sentence: ``step 'start' failed in iteration 3: …``."""
        if self.step is None:
            return self.message
        line = "" if self.line is None else f" (line {self.line})"
        places = []
        if self.iteration is not None:
            places.append(f" in iteration {self.iteration}")
        if self.task:
            places.append(f" task '{self.task}'" if places else f" in task '{self.task}'")
        verb = "answered with an error" if self.kind == "soft" else "failed"
        return f"step '{self.step}'{line} {verb}{','.join(places)}: {self.message}"


def cause_of(value: Json) -> Cause | None:
    """Return the cause in a value of an event or a row; None for any other value."""
    if not isinstance(value, dict):
        return None
    try:
        return Cause.model_validate(value)
    except ValueError:
        return None


def kind_of_message(message: str) -> CauseKind:
    """Return the kind of a hard failure, by the beginning of its text."""
    return next((kind for start, kind in _BEGINNINGS if message.startswith(start)), "tool")


def brief(text: str) -> str:
    """Return the essential part of an error: a trace's last line, or the beginning of a text."""
    shown = text.strip()
    if _TRACEBACK in shown:
        shown = shown.splitlines()[-1].strip()
    return shown if len(shown) <= LONGEST_MESSAGE else f"{shown[: LONGEST_MESSAGE - 1]}…"


def with_other_steps(sentence: str, failed: Sequence[str]) -> str:
    """Return a sentence about the first failed step with the names of the others."""
    others = failed[1:]
    if not others:
        return sentence
    names = ", ".join(others[:_MOST_STEPS])
    more = f" and {len(others) - _MOST_STEPS} more" if len(others) > _MOST_STEPS else ""
    return f"{sentence} (failed too: {names}{more})"
