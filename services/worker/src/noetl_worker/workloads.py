"""Large workloads, kept for further commands of their executions, which only name them."""

from collections import OrderedDict
from dataclasses import dataclass

from noetl_contract.json import JsonObject, encode


@dataclass(frozen=True, slots=True)
class KnownWorkload:
    """A workload, and the log position of the row that has it. Read it, never change it."""

    position: int
    workload: JsonObject


class Workloads:
    """The newest workload of each execution, those least recently used forgotten first.

    Args:
        most_bytes: of all together, as JSON.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[int, tuple[KnownWorkload, int]] = OrderedDict()

    def find(self, execution_id: int) -> KnownWorkload | None:
        """Return the known workload of an execution."""
        found = self._kept.get(execution_id)
        if found is None:
            return None
        self._kept.move_to_end(execution_id)
        return found[0]

    def position(self, execution_id: int) -> int:
        """Return the position of the known workload of an execution, 0 if there is none."""
        known = self.find(execution_id)
        return 0 if known is None else known.position

    def keep(self, execution_id: int, known: KnownWorkload) -> None:
        """Keep a workload, unless it is larger than all may be together."""
        size = len(encode(known.workload))
        if size > self._most_bytes:
            return
        _, before = self._kept.pop(execution_id, (None, 0))
        self._kept[execution_id] = known, size
        self._bytes += size - before
        while self._bytes > self._most_bytes:
            _, (_, forgotten) = self._kept.popitem(last=False)
            self._bytes -= forgotten
