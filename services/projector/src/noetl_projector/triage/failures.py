"""Failures as rows of the read model."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from noetl_contract.http.executions.failures import FailureState
from noetl_pg.database import Database
from noetl_pg.sql.text import patterns_below

_LOOKED_AT = 10_000


@dataclass(frozen=True, slots=True)
class Group:
    """Failures with one fingerprint; the texts are those of the newest."""

    fingerprint: str
    failures: int
    first_at: datetime
    last_at: datetime
    path: str
    step: str | None
    kind: str
    message: str
    execution_ids: list[int]
    looked_at: int

    @property
    def is_complete(self) -> bool:
        """Whether the group covers all failures, not only the newest."""
        return self.looked_at < _LOOKED_AT


class FailureStore:
    """One method per statement."""

    def __init__(self, database: Database) -> None:
        self._db = database.with_statements(__package__, "queries.sql", "groups.sql")

    async def group(
        self,
        *,
        state: FailureState,
        path_part: str | None,
        step: str | None,
        since: datetime | None,
        stems: list[str] | None,
        limit: int,
        offset: int,
    ) -> list[Group]:
        """Return groups of failures, the most recent failure first."""
        rows = await self._db.fetch(
            f"group_{state}",
            *(path_part, step, since),
            None if stems is None else patterns_below(stems),
            *(_LOOKED_AT, limit, offset),
        )
        return [Group(**row) for row in rows]

    async def find(self, fingerprint: str, *, stems: list[str] | None, limit: int) -> list[int]:
        """Return the executions of a group's open failures, oldest first."""
        rows = await self._db.fetch("failures_of", fingerprint, stems, limit)
        return [row["execution_id"] for row in rows]

    async def dismiss(self, execution_ids: Sequence[int], *, actor: str | None) -> int:
        """Dismiss failures; return how many were not dismissed before."""
        return int(await self._db.fetchval("dismiss", list(execution_ids), actor))
