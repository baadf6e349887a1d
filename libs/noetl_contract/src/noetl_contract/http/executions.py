"""`/api/executions*` (http-b 5 and 6)."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "CancelAnswer",
    "CancelRequest",
    "CancellationCheck",
    "DetailEvent",
    "EventsAnswer",
    "ExecutionDetail",
    "ExecutionEntry",
    "ExecutionProgress",
    "ExecutionStatusAnswer",
    "Pagination",
]

_TOLERANT = ConfigDict(frozen=True, extra="ignore")


class ExecutionEntry(BaseModel):
    """One execution in a list."""

    model_config = _TOLERANT

    execution_id: int | str
    catalog_id: int | str
    path: str | None
    version: int
    status: str
    started_at: str
    completed_at: str | None
    event_count: int
    start_time: str
    end_time: str | None
    duration_seconds: float
    duration_human: str
    progress: int
    parent_execution_id: int | str | None
    error: str | None
    soft_errors: int


class DetailEvent(BaseModel):
    """One event, secrets masked; `truncated` says that context or result were left out."""

    model_config = _TOLERANT

    event_id: int
    event_type: str
    node_id: str | None
    node_name: str | None
    status: str
    created_at: str
    timestamp: str
    context: Any
    result: Any
    error: str | None
    execution_id: int | str
    catalog_id: int | str
    parent_event_id: int | str | None
    parent_execution_id: int | str | None
    duration: float | None
    truncated: Literal[True] | None = None


class Pagination(BaseModel):
    """Where a page lies."""

    model_config = _TOLERANT

    page: int
    page_size: int
    total_events: int
    total_pages: int
    has_next: bool
    has_prev: bool


class EventsAnswer(BaseModel):
    """A page of events, newest first."""

    model_config = _TOLERANT

    execution_id: int | str
    path: str | None
    status: str
    events: list[DetailEvent]
    pagination: Pagination


class ExecutionDetail(BaseModel):
    """An execution with its events: ascending, or a descending page when one was asked for."""

    model_config = _TOLERANT

    execution_id: int | str
    catalog_id: int | str
    path: str | None
    version: int
    status: str
    started_at: str
    completed_at: str | None
    parent_execution_id: int | str | None
    workload: Any
    events: list[DetailEvent]
    start_time: str
    end_time: str | None
    duration_seconds: float
    duration_human: str
    progress: int
    result: Any
    error: str | None
    soft_errors: int
    events_included: bool
    events_endpoint: str
    pagination: Pagination


class ExecutionProgress(BaseModel):
    """Steps entered, done, running now, failed."""

    model_config = _TOLERANT

    total_steps: int
    completed_steps: int
    running_steps: int
    failed_steps: int


class ExecutionStatusAnswer(BaseModel):
    """How an execution stands (cli-contract A3); `error` is there only when there is one."""

    model_config = _TOLERANT

    execution_id: int | str
    status: str
    current_step: str | None
    progress: ExecutionProgress
    is_cancelled: bool
    completed: bool
    failed: bool
    completed_steps: list[str]
    start_time: str
    end_time: str | None
    duration_seconds: float
    duration_human: str
    soft_errors: int
    error: str | None = None


class CancelRequest(BaseModel):
    """Why, and whether all descendants end too."""

    model_config = _TOLERANT

    reason: str | None = None
    cascade: bool = False


class CancelAnswer(BaseModel):
    """The execution is cancelled; it and the others that ended with it, as strings."""

    model_config = _TOLERANT

    execution_id: int | str
    message: str
    status: str
    cancelled_executions: list[str] = Field(default_factory=list)


class CancellationCheck(BaseModel):
    """Whether an execution was cancelled; an unknown one was not."""

    model_config = _TOLERANT

    execution_id: int | str
    is_cancelled: bool
    cancelled: bool
    completed: bool
    failed: bool
    status: str | None
