"""`/api/executions/{execution_id}/steps`."""

from enum import StrEnum

from pydantic import Field

from noetl_contract.http.moments import Rfc3339
from noetl_contract.model import Model, example


class StepState(StrEnum):
    """State of a step. A step that was interrupted by the end of its execution is CANCELLED."""

    RUNNING = "RUNNING"
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"


class Iterations(Model):
    """Progress of the newest run of a loop; a cursor loop has no total."""

    model_config = example(total=10_000, done=2_431, failed=0)

    total: int | None
    done: int
    failed: int


class StepEntry(Model):
    """One step. All fields but `runs` and the first start are of its newest run."""

    model_config = example(
        step="load",
        state="RUNNING",
        runs=1,
        first_started_at="2026-06-15T12:00:00.123456Z",
        started_at="2026-06-15T12:00:00.123456Z",
        ended_at=None,
        duration_seconds=None,
        attempts=1,
        iterations={"total": 10_000, "done": 2_431, "failed": 0},
        error=None,
        worker_id="worker-7f9c",
    )

    step: str
    state: StepState
    runs: int = Field(description="how often it was entered; more than once in a cycle")
    first_started_at: Rfc3339 | None
    started_at: Rfc3339 | None
    ended_at: Rfc3339 | None
    duration_seconds: float | None = Field(description="from its start to its end")
    attempts: int = Field(
        description="the highest number of times that one of its commands was handed out"
    )
    iterations: Iterations | None = Field(description="of a loop")
    error: str | None = Field(description="the first line of its first failure")
    worker_id: str | None = Field(description="of the worker that was heard last")


class StepList(Model):
    """A page of steps, in the order in which they began; `next` is the `after` of the next page."""

    execution_id: int | str
    path: str
    status: str
    steps: list[StepEntry]
    next: str | None = None
