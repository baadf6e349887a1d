"""Effects of a commit outside of the log: chosen before it, and sent after it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from noetl_engine.execution import Execution
from noetl_engine.outputs import Followup

from noetl_orchestrator.catalog.pauses import Pauses
from noetl_orchestrator.log.commit_parameters import OPEN_STATES, EventTexts, NewRows, pool_of
from noetl_orchestrator.log.outbox_row import OutboxRow
from noetl_orchestrator.publishing.outbox_rows import ChildToCancel, OutboxRows
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.traces import UnitSpans


class Wish(Protocol):
    """An outcome whose worker has room for a command."""

    @property
    def takes_named(self) -> bool:
        """Whether the command may name its workload."""


@dataclass(frozen=True, slots=True)
class HandedCommand:
    """A command that goes to a worker with the answer to an outcome.

    Attributes:
        reported: the command whose outcome it was.
        message: its notification, with the command inside.
    """

    event_id: int
    reported: int
    message: bytes


@dataclass(slots=True, eq=False)
class Effects:
    """Effects of one execution's commit: wanted by its decisions, then chosen and sent.

    Attributes:
        over: runs whose workers are told to stop, by command and attempts.
        cut_off: it is over although commands of it were open, and their workers are told so.
        cascades: a cancel reaches the children.
        abandoned: commands that ended without their worker, whose children are cancelled.
        cancels: those children, as far as they are known.
        ended_by: the terminal event.
        followups: what the end starts.
        wishes: outcomes whose workers want a command, by the command that each ended.
        outbox: what is to be published, with rows in the outbox or without.
        handed: commands that go to workers with the answers to these outcomes.
    """

    over: list[tuple[int, int]] = field(default_factory=list)
    cut_off: bool = False
    cascades: bool = False
    abandoned: list[int] = field(default_factory=list)
    cancels: list[ChildToCancel] = field(default_factory=list)
    ended_by: int | None = None
    followups: list[Followup] = field(default_factory=list)
    wishes: dict[int, Wish] = field(default_factory=dict)
    outbox: list[OutboxRow] = field(default_factory=list)
    handed: dict[Wish, HandedCommand] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """Choose what is published of a commit, and what goes with the answers instead."""

    rows: OutboxRows
    pauses: Pauses
    settings: Settings

    def choose(
        self,
        effects: Effects,
        new: NewRows,
        texts: Sequence[EventTexts],
        *,
        execution: Execution,
        spans: UnitSpans | None,
        now: datetime,
    ) -> None:
        """Fill ``outbox`` and ``handed``, in the order in which they are published.

        Args:
            effects: of the execution.
            new: its rows.
            texts: the JSON columns of its events.
            execution: that execution, as it is after the commit.
            spans: what is recorded of it, if it is traced.
            now: from here on a command may start unclaimed, for a while.
        """
        execution_id = execution.state.execution_id
        if new.events:
            trace = execution.state.trace if spans is None else spans.context
            effects.outbox.append(self.rows.commit_row(new.events, texts, trace=trace))
            if not self.settings.outbox_relay_events:
                effects.outbox += [self.rows.event_row(row) for row in new.events]
        answers_bring_it = spans is None and self.settings.takes("next-command")
        wishes = deque(effects.wishes.items() if answers_bring_it else ())
        for event_id, command in new.commands.items():
            change, pool = new.changes.get(event_id), pool_of(command)
            is_open = change is None or change.status in OPEN_STATES
            if not is_open or self.pauses.withholds(path=execution.path, pool=pool):
                continue
            found = self.rows.notification(
                execution_id,
                command,
                pool=pool,
                now=now,
                trace=None if spans is None else spans.of_command(command),
            )
            is_read = bool(wishes) and (not found.is_named or wishes[0][1].takes_named)
            if is_read and found.inlined is not None and change is None:
                reported, wish = wishes.popleft()
                effects.handed[wish] = HandedCommand(event_id, reported, found.inlined)
            else:
                effects.outbox.append(self.rows.command_row(found))
        effects.outbox += [
            self.rows.cancel_row(child, owner=execution_id) for child in effects.cancels
        ]
        if effects.ended_by is not None:
            effects.outbox += [
                self.rows.followup_row(one, origin=execution_id, event_id=effects.ended_by)
                for one in effects.followups
            ]
