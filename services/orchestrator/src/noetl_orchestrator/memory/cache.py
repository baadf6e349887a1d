"""Executions kept in memory, keyed by position, bounded by count and bytes."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic

from noetl_common.crypto.chain import Chain
from noetl_contract.events import EventRow, ExecutionStatus
from noetl_engine.execution import Execution

# Longer than repetitions of the last reports take that were not answered at first.
_ENDED_SECONDS = 15.0


@dataclass(slots=True)
class CachedExecution:
    """An execution in memory, with sizes and positions of its rows.

    Attributes:
        snapshot_position: position of the stored snapshot, 0 without one.
        snapshot_bytes: its size.
        tail_bytes: bytes of the events after the snapshot, roughly.
        newest: the position that another replica has sent.
        chain: of its log; None when part of the log was written without one.
        handed: commands that were dispatched with an answer and not reported since, by event id:
            the command whose outcome was answered.
    """

    execution: Execution
    catalog_id: int
    parent_execution_id: int | None = None
    snapshot_position: int = 0
    snapshot_bytes: int = 0
    tail_bytes: int = 0
    newest: int = 0
    chain: Chain | None = None
    handed: dict[int, int] = field(default_factory=dict)

    def extend_chain(self, rows: Iterable[EventRow]) -> None:
        """Add new rows of the log to its chain; after a gap there is none."""
        if self.chain is not None and not self.chain.extend(rows):
            self.chain = None

    @property
    def is_outdated(self) -> bool:
        """Return whether another replica has sent a newer position."""
        return self.newest > self.execution.position


class ExecutionCache:
    """Keep the most recently used executions; ended ones only for a moment.

    An entry is valid for its position; the commit checks whether it is still the newest. No two
    turns share an execution, and a failed commit drops its executions.
    """

    def __init__(
        self, *, max_executions: int, max_bytes: int, clock: Callable[[], float] = monotonic
    ) -> None:
        self._max_executions = max_executions
        self._max_bytes = max_bytes
        self._clock = clock
        self._entries: OrderedDict[int, tuple[CachedExecution, int]] = OrderedDict()
        self._ended: OrderedDict[int, float] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """Return the memory held, roughly."""
        return self._bytes

    def get(self, execution_id: int) -> CachedExecution | None:
        """Return an entry and mark it as the most recently used."""
        found = self._entries.get(execution_id)
        if found is None:
            return None
        self._entries.move_to_end(execution_id)
        return found[0]

    def peek(self, execution_id: int) -> CachedExecution | None:
        """Return an entry without marking it as used."""
        found = self._entries.get(execution_id)
        return None if found is None else found[0]

    def note_newer(self, execution_id: int, position: int) -> None:
        """Note that another replica has committed up to a position."""
        found = self._entries.get(execution_id)
        if found is not None and position > found[0].newest:
            found[0].newest = position

    def put(self, execution_id: int, entry: CachedExecution) -> None:
        """Keep an entry as of its commit, and drop the oldest beyond the bounds."""
        self.forget(execution_id)
        size = entry.execution.memory_size()
        self._entries[execution_id] = (entry, size)
        self._bytes += size
        if entry.execution.status is not ExecutionStatus.RUNNING:
            self._ended[execution_id] = self._clock()
        while self._entries and (
            len(self._entries) > self._max_executions or self._bytes > self._max_bytes
        ):
            self.forget(next(iter(self._entries)))

    def forget(self, execution_id: int) -> None:
        """Drop an entry whose state is in doubt (W8)."""
        found = self._entries.pop(execution_id, None)
        if found is not None:
            self._bytes -= found[1]
            self._ended.pop(execution_id, None)

    def forget_ended(self) -> None:
        """Drop executions that ended some time ago: later messages for them are rare."""
        latest = self._clock() - _ENDED_SECONDS
        while self._ended:
            execution_id, ended_at = next(iter(self._ended.items()))
            if ended_at > latest:
                return
            self.forget(execution_id)

    def forget_where(self, is_unwanted: Callable[[int], bool]) -> int:
        """Drop the entries of executions for which a predicate holds; return their number."""
        unwanted = [execution_id for execution_id in self._entries if is_unwanted(execution_id)]
        for execution_id in unwanted:
            self.forget(execution_id)
        return len(unwanted)
