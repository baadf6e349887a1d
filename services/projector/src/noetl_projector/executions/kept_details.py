"""Cache of encoded details of ended executions."""

from collections import OrderedDict

from noetl_contract.events import ExecutionStatus
from noetl_contract.rpc.projector import DetailRequest

from noetl_projector.executions.store import State

_LARGEST_PART = 16


class KeptDetails:
    """A cache of encoded details, bounded in bytes; the least recently used are dropped.

    An answer of an ended execution depends on its log and its state row only, and whatever is
    appended to the log moves the row's position. So it is good as long as the row is the same.

    Args:
        most_bytes: of all answers; one may have a sixteenth of it.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[int, bool], tuple[State, bytes]] = OrderedDict()

    def find(self, request: DetailRequest, state: State) -> bytes | None:
        """Return the cached answer to a request; None if there is none or it is stale."""
        if request.page is not None:
            return None
        key = (state.execution_id, request.has_command_contexts)
        found = self._kept.get(key)
        if found is None:
            return None
        if found[0] != state:
            self._forget(key)
            return None
        self._kept.move_to_end(key)
        return found[1]

    def keep(self, request: DetailRequest, state: State, body: bytes) -> None:
        """Cache an encoded answer, if its execution has ended."""
        is_over = state.status != ExecutionStatus.RUNNING and state.ended_at is not None
        if request.page is not None or not is_over or len(body) > self._most // _LARGEST_PART:
            return
        key = (state.execution_id, request.has_command_contexts)
        self._forget(key)
        self._kept[key] = state, body
        self._bytes += len(body)
        while self._bytes > self._most:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: tuple[int, bool]) -> None:
        found = self._kept.pop(key, None)
        if found is not None:
            self._bytes -= len(found[1])
