"""Lines of running steps for one reader: each once, in order, with the number of those missing."""

from collections import OrderedDict
from collections.abc import Callable, Iterator

from noetl_contract.http.workers.output import OutputBatch, OutputLine, StepOutput

MOST_WAITING_BYTES = 1 << 20
"""Most bytes that wait for a slow reader; further output is left out."""
_MOST_RUNS = 4096
_LINE_BYTES = 64
_PATIENCE = 5
"""Batches of an unknown run that are left out while what it printed before is asked for."""


class OutputLines:
    """Takes batches of workers, which may be repeated or lost.

    Args:
        wake: called when there is something to write.
        ask_again: called when the beginning of a run's lines has not come.
    """

    def __init__(self, *, wake: Callable[[], None], ask_again: Callable[[], None]) -> None:
        self._wake = wake
        self._ask_again = ask_again
        # By command and attempts: the number of the last line that was taken.
        self._taken: OrderedDict[tuple[int, int], int] = OrderedDict()
        self._unknown: OrderedDict[tuple[int, int], int] = OrderedDict()
        self._waiting: list[StepOutput] = []
        self._size = 0

    def take(self, batch: OutputBatch) -> None:
        """Take a batch."""
        run = (batch.event_id, batch.attempts)
        taken = self._taken.get(run)
        if taken is None:
            if not batch.is_whole and self._is_worth_waiting(run):
                self._ask_again()
                return
            taken = 0
        if self._size > MOST_WAITING_BYTES:
            return  # not noted, so that the next ones tell of the gap
        found = list(_pieces(batch, taken))
        if not found:
            return
        self._note(self._taken, run, batch.last)
        self._waiting += found
        self._size += sum(_LINE_BYTES + len(line.text) for one in found for line in one.lines)
        self._wake()

    def shown(self) -> list[StepOutput]:
        """Return what waits, and forget it."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        return waiting

    def _is_worth_waiting(self, run: tuple[int, int]) -> bool:
        count = self._unknown.get(run, 0) + 1
        self._note(self._unknown, run, count)
        return count <= _PATIENCE

    @staticmethod
    def _note(known: OrderedDict[tuple[int, int], int], run: tuple[int, int], number: int) -> None:
        known[run] = number
        known.move_to_end(run)
        while len(known) > _MOST_RUNS:
            known.popitem(last=False)


def _pieces(batch: OutputBatch, taken: int) -> Iterator[StepOutput]:
    """Yield lines behind one, divided where numbers are missing."""
    lines: list[OutputLine] = []
    begin = at = taken
    for line in batch.lines:
        if line.number <= at:
            continue
        if line.number != at + 1:
            if lines:
                yield _piece(batch, begin, lines)
            begin, lines = at, []
        lines.append(line)
        at = line.number
    if lines:
        yield _piece(batch, begin, lines)
    if batch.last > at:
        yield _piece(batch, at, [], up_to=batch.last + 1)


def _piece(
    batch: OutputBatch, behind: int, lines: list[OutputLine], *, up_to: int | None = None
) -> StepOutput:
    first = lines[0].number if up_to is None else up_to
    return StepOutput(
        execution_id=batch.execution_id,
        event_id=batch.event_id,
        command_id=batch.command_id,
        step=batch.step,
        attempts=batch.attempts,
        dropped=first - behind - 1,
        lines=lines,
    )
