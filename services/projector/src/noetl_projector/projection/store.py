"""Writes of the read model: rows are moved to the positions of their logs, or rebuilt."""

from collections.abc import Sequence
from datetime import datetime

from noetl_contract.http.system.internal import RebuildAnswer
from noetl_pg.database import Database, Session, Store

from noetl_projector.projection.failures import note_failures

_FIRST_ID = -(1 << 63)
_LAST_ID = (1 << 63) - 1
_MOST_ROWS = 20_000
"""Rows of logs whose steps are folded by one transaction."""
_FEW_ROWS = 200
"""Fewer log rows than this are not folded into steps: most executions end before that, their
readers fold them as quickly, and folding costs more than everything else that a move does."""
FAR_BEHIND = 2000
"""Rows that a read folds by itself; an execution with more is moved by its reader."""


class ProjectionStore(Store):
    """One method per statement or transaction.

    Args:
        few_rows: with so many rows of the log behind them steps are folded.
    """

    def __init__(self, database: Database, *, few_rows: int = _FEW_ROWS) -> None:
        super().__init__(database)
        self._few_rows = few_rows
        self._db = database.with_statements(__package__, "queries.sql", "failures.sql", "steps.sql")

    async def move_executions(self, execution_ids: Sequence[int]) -> int:
        """Move rows of the read model, and those of steps, to the positions of their logs.

        Repeating it changes nothing. Returns how many rows of executions moved.
        """
        moved, behind = await self._move_once(list(execution_ids))
        while behind:
            _, behind = await self._move_once(behind)
        return moved

    async def approach(self, execution_id: int, *, times: int) -> None:
        """Move an execution towards the position of its log, by a bounded number of rows."""
        behind = [execution_id]
        for _ in range(times):
            _, behind = await self._move_once(behind)
            if not behind:
                break

    async def _move_once(self, ids: list[int]) -> tuple[int, list[int]]:
        async with self._db.transaction() as session:
            await session.execute("add_missing_executions", ids)
            return await self._move(session, ids, rewrite=False)

    async def _move(
        self, session: Session, ids: list[int], *, rewrite: bool
    ) -> tuple[int, list[int]]:
        """Return how many rows moved, and the executions whose steps are still behind."""
        few = 1 if rewrite else self._few_rows
        row = await session.fetchone("move_executions", ids, rewrite, _MOST_ROWS, few)
        if row["steps"]:
            # The rows of executions are held now: a statement of its own sees what they stand for.
            columns = (list(column) for column in zip(*row["steps"], strict=True))
            await session.execute("keep_steps", *columns)
        if row["failed"]:
            await note_failures(session, row["failed"])
        return int(row["moved"]), list(row["cut_off"] or ())

    async def read_clock(self) -> datetime:
        """Return the database's time."""
        moment: datetime = await self._db.fetchval("read_clock")
        return moment

    async def find_lagging(self, *, ended_after: datetime, limit: int) -> list[int]:
        """Return executions whose row is behind their log."""
        rows = await self._db.fetch("find_lagging", ended_after, limit)
        return [row["execution_id"] for row in rows]

    async def rebuild_page(self, *, after: int | None, limit: int) -> RebuildAnswer:
        """Rewrite one page of rows, and delete rows of executions that are gone.

        ``after`` of the answer is where the next page begins, None at the end.

        Pages go by execution id, not by event id: late commits carry old event ids. The
        projection may go on meanwhile: a row that is ahead stays as it is.
        """
        first = _FIRST_ID if after is None else after
        async with self._db.transaction() as session:
            page = await session.fetch("page_executions", first, limit)
            ids = [row["execution_id"] for row in page]
            is_last = len(ids) < limit
            last = _LAST_ID if is_last else ids[-1]
            await session.execute("add_missing_executions", ids)
            await session.execute("delete_steps", ids)
            rewritten, behind = await self._move(session, ids, rewrite=True)
            removed = await session.fetchval("delete_orphans", first, last)
        while behind:
            _, behind = await self._move_once(behind)
        return RebuildAnswer(rewritten=rewritten, removed=removed, after=None if is_last else last)

    async def recount(self) -> None:
        """Recompute the counters from all rows, as updates by differences keep earlier errors."""
        async with self._db.transaction() as session:
            await session.execute("limit_lock_wait")
            await session.execute("lock_rows")
            await session.execute("delete_counters")
            await session.execute("recount")
