"""Rows of open waits, which the orchestrator writes."""

from dataclasses import dataclass
from datetime import datetime

from noetl_contract.json import Json
from noetl_pg.database import Store
from noetl_pg.sql.text import patterns_below

_WAIT, _SLEEP = "wait", "sleep"
# Running executions whose waits are looked for one by one.
_FEW = 2000


@dataclass(frozen=True, slots=True)
class OpenWait:
    """An open wait; its time is UTC without a zone."""

    event_id: int
    execution_id: int
    path: str
    version: int
    step: str
    iteration: int | None
    context: Json
    created_at: datetime


class WaitStore(Store):
    """One method per statement."""

    async def list_waits(
        self,
        *,
        after: int,
        execution_id: int | None,
        path: str | None,
        signal: str | None,
        kind: str | None,
        stems: list[str] | None,
        limit: int,
    ) -> list[OpenWait]:
        """Return open waits by their ids, which is the order of their beginning."""
        below = None if path is None else patterns_below([path])[0]
        reached = None if stems is None else patterns_below(stems)
        page = (after, below, reached, limit)
        ids = None if execution_id is None else [execution_id]
        if ids is None and (below is not None or reached is not None):
            ids = await self._open_below(below, reached)
        if ids is not None:
            for_signals = None if kind is None else kind == _WAIT
            rows = await self._db.fetch("list_of", *page, ids, signal, for_signals)
        elif signal is not None and kind != _SLEEP:
            rows = await self._db.fetch("list_for_signal", *page, signal)
        elif kind == _SLEEP:
            rows = await self._db.fetch("list_for_signal", *page, "") if not signal else []
        elif kind == _WAIT:
            rows = await self._db.fetch("list_for_signals", *page)
        else:
            rows = await self._db.fetch("list_all", *page)
        return [OpenWait(**row) for row in rows]

    async def _open_below(self, below: str | None, reached: list[str] | None) -> list[int] | None:
        """Return the executions that run below paths; None if these are many.

        Then the next waits in the list are not far from each other.
        """
        found = await self._db.fetch("find_open", below, reached, _FEW + 1)
        return None if len(found) > _FEW else [row["execution_id"] for row in found]
