"""Rows of open waits, which the orchestrator writes."""

from dataclasses import dataclass
from datetime import datetime

from noetl_common.pg.database import Store
from noetl_contract.json import Json


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
        rows = await self._db.fetch(
            "list_waits", after, execution_id, path, signal, kind, stems, limit
        )
        return [OpenWait(**row) for row in rows]
