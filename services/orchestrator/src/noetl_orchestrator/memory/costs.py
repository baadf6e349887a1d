"""Playbooks that are slow to decide, so that others need not wait behind their executions."""

from noetl_contract.ingress import ExecuteMessage
from noetl_engine.inputs import Input

from noetl_orchestrator.memory.cache import ExecutionCache

# Weight of the newest decision; a single outlier, such as a pause of the process, soon fades.
_NEWEST = 0.3
_LEAST_PART = 0.05
_MOST_PLAYBOOKS = 10_000


class Costs:
    """Processor time of decisions by playbook, on average, the newest ones counting most.

    Args:
        cache: knows the playbook of an execution.
        slow_seconds: average from which a playbook is slow.
    """

    def __init__(self, cache: ExecutionCache, *, slow_seconds: float) -> None:
        self._cache = cache
        self._slow_seconds = slow_seconds
        self._averages: dict[int, float] = {}

    def note(self, catalog_id: int, seconds: float) -> None:
        """Note the processor time of a decision."""
        if seconds < self._slow_seconds * _LEAST_PART and catalog_id not in self._averages:
            return
        average = self._averages.pop(catalog_id, 0.0)
        average += _NEWEST * (seconds - average)
        if average >= self._slow_seconds * _LEAST_PART:
            self._averages[catalog_id] = average
            if len(self._averages) > _MOST_PLAYBOOKS:
                del self._averages[next(iter(self._averages))]

    def is_slow(self, catalog_id: int) -> bool:
        """Return whether decisions of a playbook take long."""
        return self._averages.get(catalog_id, 0.0) >= self._slow_seconds

    def has_slow(self, execution_id: int, message: Input) -> bool:
        """Return whether an input belongs to an execution of a slow playbook, if that is known."""
        if not self._averages:
            return False
        if isinstance(message, ExecuteMessage):
            return self.is_slow(message.catalog_id)
        entry = self._cache.peek(execution_id)
        return entry is not None and self.is_slow(entry.catalog_id)
