"""Rows of steps, folded up to the end of the log."""

from dataclasses import dataclass
from datetime import datetime

from noetl_contract.http.executions.steps import StepState
from noetl_pg.database import Store


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an execution; all fields but totals are of its newest run."""

    step: str
    state: StepState
    first_position: int
    runs: int
    first_started_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int
    total: int | None
    is_cursor: bool
    done: int
    failed: int
    open: int
    error: str | None
    worker_id: str | None


@dataclass(frozen=True, slots=True)
class StepsRead:
    """Steps and status of an execution; ``behind`` counts log rows that may be left out."""

    path: str
    status: str
    ended_at: datetime | None
    behind: int
    steps: list[Step]


class StepStore(Store):
    """One method per statement."""

    async def list_steps(
        self, execution_id: int, *, after: int, state: str | None, limit: int
    ) -> StepsRead | None:
        """Return steps in the order in which they began; None without an execution."""
        rows = await self._db.fetch("list_steps", execution_id, after, state, limit)
        if not rows:
            return None
        head = rows[0]
        return StepsRead(
            path=head["path"],
            status=head["status"],
            ended_at=head["execution_ended_at"],
            behind=head["behind"],
            steps=[
                Step(**{name: row[name] for name in Step.__slots__})
                for row in rows
                if row["step"] is not None
            ],
        )
