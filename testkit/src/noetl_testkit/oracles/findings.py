"""Figures and problems of a judged run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

    type Connection = asyncpg.Connection[asyncpg.Record]

TERMINAL: Mapping[str, str] = {
    "playbook.completed": "COMPLETED",
    "playbook_completed": "COMPLETED",
    "playbook.failed": "FAILED",
    "playbook_failed": "FAILED",
    "playbook_cancelled": "CANCELLED",
}
"""Types of events that end an execution, with the status that it has then."""


@dataclass
class Findings:
    """Results of the oracles; without `problems` nothing was lost, doubled or left.

    Attributes:
        executions: that were judged.
        events, commands: in their logs.
        reissued: second and later claims of commands.
        late_rows: outcomes that decided nothing.
        statuses: executions by status.
        unfinished: executions that have not ended.
        stall: longest time in seconds that an execution stood still with something to do.
        stalled: the execution and the event behind that time.
        effects: runs of tools by their effects.
        twice: runs of tools behind their first, `untold` those of them that no claim in the log is
            there for.
        late_runs: runs that began after the end of their execution.
        problems: a line each.
    """

    executions: int = 0
    events: int = 0
    commands: int = 0
    reissued: int = 0
    late_rows: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    unfinished: int = 0
    stall: float = 0.0
    stalled: str = ""
    effects: int = 0
    twice: int = 0
    untold: int = 0
    late_runs: int = 0
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the figures in a line."""
        where = f" ({self.stalled})" if self.stalled else ""
        return (
            f"{self.executions} executions {self.statuses}, {self.events} events, "
            f"{self.commands} commands, {self.reissued} handed out again, {self.late_rows} late "
            f"rows; {self.effects} effects of tools, {self.twice} twice ({self.untold} without a "
            f"claim), {self.late_runs} after the end; longest stall {self.stall:.2f} s{where}"
        )


__all__ = ["TERMINAL", "Findings"]
