"""News of commits that have no outbox row (O6)."""

import asyncio

from noetl_bus.broker import Bus
from noetl_contract.events import CommitMessage
from noetl_contract.subjects import COMMITS_ROOT, commit_subject

_GATHER_SECONDS = 0.05
_MOST_UNTOLD = 10_000


class CommitNews:
    """Announcements to readers of the log of commits that have no outbox row.

    A step may be several commits in quick succession, and who reads the log for one of them reads
    it for all. So an execution's are gathered for a moment and told of in one message; a commit
    with a row tells of those before it. Without a connection they wait for the next one.

    Args:
        bus: the connection.
        shard: whose log it is.
        gather_seconds: how long they are gathered.
    """

    def __init__(self, bus: Bus, *, shard: int, gather_seconds: float = _GATHER_SECONDS) -> None:
        self._bus = bus
        self._shard = shard
        self._gather_seconds = gather_seconds
        self._untold: dict[int, tuple[int, int]] = {}
        self._telling: asyncio.TimerHandle | None = None

    def take(self, execution_id: int, *, first: int, last: int) -> None:
        """Take the positions that a commit wrote; too many executions are lost, for a while."""
        known = self._untold.get(execution_id)
        if known is None and len(self._untold) >= _MOST_UNTOLD:
            return
        self._untold[execution_id] = (first if known is None else known[0], last)
        self._tell_later()

    def leave(self, execution_id: int) -> None:
        """Forget the commits that the row of a later one announces."""
        self._untold.pop(execution_id, None)

    def _tell_later(self) -> None:
        if self._telling is None:
            loop = asyncio.get_running_loop()
            self._telling = loop.call_later(self._gather_seconds, self._tell_or_wait)

    def _tell_or_wait(self) -> None:
        self._telling = None
        self._tell()
        if self._untold:
            self._tell_later()

    def _tell(self) -> None:
        if not self._bus.is_connected:
            return
        untold, self._untold = self._untold, {}
        if COMMITS_ROOT in self._bus.forbidden:
            return  # the login lacks the right: readers look by themselves
        for execution_id, (first, last) in untold.items():
            told = CommitMessage(execution_id=str(execution_id), first=first, last=last)
            subject = commit_subject(execution_id, shard=self._shard)
            self._bus.send_nowait(subject, told.to_json())

    def close(self) -> None:
        """Announce what is left."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._tell()
