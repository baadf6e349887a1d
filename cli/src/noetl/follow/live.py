"""The live table of a running execution."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from rich.console import Console, ConsoleRenderable, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from noetl.follow.progress import Progress, StepProgress, StepState
from noetl.follow.words import MARKS, describe
from noetl.printed import PrintedLine

COLOURS = {
    StepState.WAITING: "dim",
    StepState.RUNNING: "",
    StepState.DONE: "green",
    StepState.SKIPPED: "dim",
    StepState.FAILED: "red",
}
LIVE_STEPS = 30
REFRESHES_PER_SECOND = 10


class LiveView:
    """A table that is drawn again and again while the execution runs."""

    def __init__(self) -> None:
        self._spinner = Spinner("dots", style="cyan")
        self._text = ""
        self._progress = Progress()
        self._is_finished = False
        self.live = Live(
            console=Console(stderr=True),
            get_renderable=self._render,
            refresh_per_second=REFRESHES_PER_SECOND,
        )

    def say(self, text: str) -> None:
        """Show a line above the steps."""
        self._text = text

    def changed(self, progress: Progress, step: StepProgress) -> None:
        """Draws the change with the next refresh."""
        del step
        self._progress = progress

    def printed(self, line: PrintedLine) -> None:
        """Print the line above the table."""
        self.live.console.print(Text(f"    {line}", style="dim"))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Stop drawing for the block, and draw a new table below the typed lines."""
        self.live.stop()
        try:
            yield
        finally:
            self.live.start(refresh=True)

    def finish(self) -> None:
        """Leaves the last picture without a spinner."""
        self._is_finished = True

    def _render(self) -> ConsoleRenderable:
        head = Table.grid(padding=(0, 1))
        # Until the first step moves, the spinner says that something is going on.
        is_quiet = not self._progress.steps and not self._is_finished
        head.add_row(*([self._spinner] if is_quiet else []), Text(self._text))
        table = Table.grid(padding=(0, 1))
        now = datetime.now(UTC)
        for step in list(self._progress.steps.values())[-LIVE_STEPS:]:
            colour = COLOURS[step.state]
            is_running = step.state is StepState.RUNNING
            mark = self._spinner if is_running else Text(MARKS[step.state], colour)
            table.add_row("", mark, Text(describe(step, now), colour))
        return Group(head, table)
