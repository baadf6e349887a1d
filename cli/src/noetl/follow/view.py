"""Displays of an execution on the terminal: plain lines here, the live table in `live`.

Everything goes to stderr; stdout is for the result alone, which `print_result` prints.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

from noetl_contract.json import Json

from noetl.follow.progress import Progress, StepProgress, StepState
from noetl.follow.words import MARKS, describe
from noetl.printed import PrintedLine


class View(Protocol):
    """Something that shows progress."""

    def say(self, text: str) -> None:
        """Show one line of prose."""

    def changed(self, progress: Progress, step: StepProgress) -> None:
        """Show that a step changed."""

    def printed(self, line: PrintedLine) -> None:
        """Show a line that a step has printed."""

    def aside(self) -> AbstractContextManager[object]:
        """Leave the terminal free for input, for the block."""


class PlainView:
    """One line per change, for pipes and logs."""

    def say(self, text: str) -> None:
        """Print the line."""
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def printed(self, line: PrintedLine) -> None:
        """Print the line behind its time, step and stream."""
        self.say(f"    {line}")

    def aside(self) -> AbstractContextManager[object]:
        """Do nothing: lines don't disturb."""
        return nullcontext()

    def changed(self, progress: Progress, step: StepProgress) -> None:
        """Print the line of the step; of a loop only every tenth iteration."""
        del progress
        if step.is_loop and step.state is StepState.RUNNING and not _is_tenth(step):
            return
        self.say(f"  {MARKS[step.state]} {describe(step)}")


@contextmanager
def terminal_view() -> Iterator[View]:
    """Return the view for a terminal or for a file, as stderr is."""
    if not sys.stderr.isatty():
        yield PlainView()
        return
    from noetl.follow.live import LiveView  # noqa: PLC0415 -- slow to load; a pipe never needs it

    view = LiveView()
    with view.live:
        yield view
        view.finish()


def _is_tenth(step: StepProgress) -> bool:
    done, expected = len(step.done_commands), step.expected or 1
    return done == 0 or done % max(expected // 10, 1) == 0


def print_result(result: Json) -> None:
    """Print a result: a text as it is, nothing for none, everything else as JSON."""
    if isinstance(result, str):
        sys.stdout.write(result + "\n")
    elif result is not None:
        sys.stdout.write(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()
