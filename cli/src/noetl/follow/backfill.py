"""Walk a schedule's past times: start a few, wait until they end, start the next ones."""

import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from noetl_contract.http.catalog.schedules import BackfillAnswer, ScheduleBody

from noetl.stack.errors import StackError

if TYPE_CHECKING:
    from noetl_client import Client

_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 2.0
_TIMEOUT_SECONDS = 120.0
_COUNTS = ("total", "completed", "failed", "cancelled", "unknown", "left", "started")


@dataclass
class Walk:
    """A backfill as this command sees it; the server knows how far it is.

    Attributes:
        server: where the schedule is.
        schedule: which one.
        begin: the first time that counts.
        end: times from here on don't.
        parallel: executions that run at once.
        counts: of the parts of the range that are over, and of the present one.
    """

    server: "Client"
    schedule: ScheduleBody
    begin: datetime
    end: datetime
    parallel: int
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    _shown: str = ""

    def run(self) -> str | None:
        """Walk to the end; return why a start was refused, if one was.

        Raises:
            StackError: the server refuses the backfill, or stays away.
        """
        cursor, pause = self.begin, _FIRST_PAUSE_SECONDS
        over = dict(self.counts)
        while True:
            answer = self._asked(cursor)
            self.counts = {
                name: over[name] + getattr(answer, name) for name in _COUNTS if name != "started"
            } | {"started": self.counts["started"] + answer.started}
            self._show(answer)
            if answer.refused:
                return answer.reason
            if answer.is_over:
                over = dict(self.counts)
                cursor = datetime.fromisoformat(answer.until)
                if cursor >= self.end:
                    return None
                continue
            pause = _FIRST_PAUSE_SECONDS if answer.started else pause * 1.5
            time.sleep(min(pause, _LONGEST_PAUSE_SECONDS))

    @property
    def is_good(self) -> bool:
        """Whether all that was started has completed, as far as is known."""
        return not self.counts["failed"] and not self.counts["cancelled"]

    def summary(self) -> str:
        """Return the counts by state, in one line."""
        counts = self.counts
        words = [f"{counts['completed']} completed"]
        words += [
            f"{counts[name]} {word}"
            for name, word in (
                ("failed", "failed"),
                ("cancelled", "cancelled"),
                ("unknown", "no longer known"),
                ("left", "queued by the clock"),
            )
            if counts[name]
        ]
        return (
            f"{self.schedule.path}: {counts['total']} firings, {', '.join(words)}; "
            f"{counts['started']} of them started by this command"
        )

    def _asked(self, cursor: datetime) -> BackfillAnswer:
        """Ask for the next step, through restarts of the server."""
        from noetl_client import Busy, Unreachable  # noqa: PLC0415 -- the client loads slowly

        until = time.monotonic() + _TIMEOUT_SECONDS
        while True:
            try:
                return self.server.schedules.backfill(
                    self.schedule.schedule_id, cursor, self.end, parallel=self.parallel
                )
            except (Unreachable, Busy) as error:
                if time.monotonic() > until:
                    raise StackError(f"{error}; the same command goes on later") from error
                self._say(f"waiting for the server: {error}")
                time.sleep(_LONGEST_PAUSE_SECONDS)

    def _show(self, answer: BackfillAnswer) -> None:
        counts = self.counts
        done = counts["completed"] + counts["failed"] + counts["cancelled"] + counts["unknown"]
        text = f"{done}/{counts['total']} done, {answer.running} running"
        if counts["failed"]:
            text += f", {counts['failed']} failed"
        if datetime.fromisoformat(answer.until) < self.end:
            text += f" (up to {answer.until})"
        self._say(text)

    def _say(self, text: str) -> None:
        """Show progress: in place on a terminal, by lines elsewhere."""
        if text == self._shown:
            return
        self._shown = text
        ending = "\x1b[K\r" if sys.stderr.isatty() else "\n"
        sys.stderr.write(text + ending)
        sys.stderr.flush()
