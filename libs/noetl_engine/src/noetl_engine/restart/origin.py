"""The log of the execution that a restarted one goes on from, as runs of its commands.

A run is known by step, visit and iteration, which are the same in both logs, and not by its
command id. Nothing here is part of a state: what is lost is read again.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from noetl_contract.events import EventRow, EventType
from noetl_contract.json import Json

from noetl_engine.state.failures import is_failure
from noetl_engine.state.memory import ends_run
from noetl_engine.state.model import State, TakeOver

_NO_NOTE: Mapping[str, Json] = {}
_OF_A_RUN = frozenset(
    {
        EventType.CALL_DONE,
        EventType.CALL_ERROR,
        EventType.COMMAND_COMPLETED,
        EventType.COMMAND_FAILED,
    }
)
ORIGIN_TYPES = _OF_A_RUN | {
    EventType.STEP_ENTER,
    EventType.COMMAND_ISSUED,
    EventType.WAIT_STARTED,
    EventType.COMMAND_CLAIMED,
    EventType.EXECUTION_RESTORED,
    EventType.SIGNAL_RECEIVED,
}
"""Types of the rows that a restarted execution reads of its origin's log."""


@dataclass(frozen=True, slots=True)
class OriginView:
    """An execution that ended, as its restart looks at it.

    Attributes:
        state: The fold of its log; None for an unknown execution.
        started: Its first row, with the workload.
        ended: Its terminal row; None while it runs.
    """

    state: State | None
    started: EventRow | None
    ended: EventRow | None


@dataclass(slots=True)
class RecordedRun:
    """One run of a command, from its issue to its end.

    Attributes:
        visit: How often its step had been entered.
        index: Its iteration, in a loop.
        cursor: Phase and frame, of a command of a cursor loop.
        collection: What the loop went over, None for a plain step.
        rows: What counted of its worker's reports, in their order.
        position: That of the row that ended it.
        is_again: It is to be run once more, so it is not taken over.
    """

    step: str
    visit: int
    kind: str
    index: int | None
    cursor: Json
    collection: Json
    rows: list[EventRow] = field(default_factory=list)
    position: int = 0
    is_again: bool = False


@dataclass(frozen=True, slots=True)
class NewWorkload:
    """The origin was a restarted execution itself, whose workload was changed here."""

    workload: Json
    position: int


@dataclass(frozen=True, slots=True)
class EarlySignal:
    """A signal that nothing had waited for when the origin ended."""

    row: EventRow

    @property
    def position(self) -> int:
        """That of its row."""
        return self.row.position


class OriginLog:
    """Reads the rows of an origin in order, and gives its runs in the order of their ends."""

    def __init__(self, wanted: TakeOver) -> None:
        self.position = 0
        """Position up to which the log was read."""
        self.runs: deque[RecordedRun | NewWorkload | EarlySignal] = deque()
        self._wanted = wanted
        self._visits: dict[str, int] = {}
        self._collections: dict[str, Json] = {}
        self._open: dict[int, RecordedRun] = {}
        self._undone_rows: set[int] = set()
        self._undone_visits: set[tuple[str, int]] = set()

    @property
    def is_read(self) -> bool:
        """Whether the whole log was read."""
        return self.position >= self._wanted.upto

    def read(self, rows: Iterable[EventRow], *, up_to: int) -> None:
        """Take the next rows of the log; of the types left out nothing is needed."""
        for row in rows:
            self._read(row)
        self.position = up_to

    def _read(self, row: EventRow) -> None:
        note = row.note if isinstance(row.note, dict) else _NO_NOTE
        match row.event_type:
            case EventType.STEP_ENTER:
                self._enter(row, note)
            case EventType.COMMAND_ISSUED | EventType.WAIT_STARTED:
                self._issue(row)
            case EventType.COMMAND_CLAIMED:
                run = self._open.get(note.get("command", 0))
                if run is not None:
                    # What the run before had reported doesn't count, but for a callback.
                    run.rows = [kept for kept in run.rows if "callback" in (kept.note or ())]
            case EventType.EXECUTION_RESTORED:
                if note.get("workload") and row.position > self._wanted.position:
                    workload = (row.context or {}).get("workload")
                    self.runs.append(NewWorkload(workload, row.position))
            case EventType.SIGNAL_RECEIVED:
                if row.position in self._wanted.signals and row.position > self._wanted.position:
                    self.runs.append(EarlySignal(row))
            case kind if kind in _OF_A_RUN:
                self._report(row, note)

    def _enter(self, row: EventRow, note: Mapping[str, Json]) -> None:
        name = row.node_name or ""
        visit = self._visits[name] = self._visits.get(name, 0) + 1
        self._collections[name] = note.get("collection")
        if row.parent_event_id in self._undone_rows:
            self._undone_visits.add((name, visit))

    def _issue(self, row: EventRow) -> None:
        name = row.node_name or ""
        meta = row.meta if isinstance(row.meta, dict) else {}
        visit = self._visits.setdefault(name, 1)  # a plain start has no step.enter
        self._open[row.event_id] = RecordedRun(
            name,
            visit,
            row.node_type or "",
            meta.get("iteration_index"),
            meta.get("cursor"),
            self._collections.get(name),
        )

    def _report(self, row: EventRow, note: Mapping[str, Json]) -> None:
        command = note.get("command", 0)
        run = self._open.get(command)
        if run is None:
            return
        run.rows.append(row)
        if not ends_run(row):
            return
        del self._open[command]
        run.position = row.position
        is_undone = (run.step, run.visit) in self._undone_visits
        run.is_again = is_undone or self._is_again(run, failed=is_failure(row))
        if is_undone or self._wanted.again.get(run.step) == run.visit:
            # What followed from it will follow once more.
            self._undone_rows.add(row.event_id)
        if row.position > self._wanted.position:
            self.runs.append(run)

    def _is_again(self, run: RecordedRun, *, failed: bool) -> bool:
        wanted = self._wanted
        if wanted.again.get(run.step) != run.visit:
            return False
        return (
            failed or run.step in wanted.whole or run.index in wanted.iterations.get(run.step, ())
        )
